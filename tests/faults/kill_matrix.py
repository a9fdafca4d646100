"""What a worker holds when it is killed, what must become of it, and the table of what did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trigger_celery import Run

MESSAGES = ("old.early", "old.late", "old.back")
"""Methods that go through the broker: plain tasks that are recorded."""
RUNS = ("taken.early", "taken.late", "trigger", "delay", "child", "member", "chain", "chord")
"""Methods that go through the run queue."""

LABELS = {
    "old.early": "plain task, acknowledged early",
    "old.late": "plain task, acks_late",
    "old.back": "plain task, acks_late and task_reject_on_worker_lost",
    "taken.early": "taken over, .delay()",
    "taken.late": "taken over, .delay(), acks_late",
    "taken.countdown": "taken over, apply_async(countdown)",
    "trigger": "@task .trigger()",
    "delay": "@task .delay()",
    "child": "child of trigger_and_wait",
    "parent": "parent in trigger_and_wait",
    "member": "run of a batch",
    "batch": "parent of a batch",
    "chain": "step of a chain",
    "chord": "header of a chord",
}
STATES = ("queued", "delayed", "executing", "waiting", "between", "finishing", "follows")


@dataclass(frozen=True)
class Way:
    """A pool, what of it is killed, and what its processes are at then: as much as they can be at."""

    name: str
    pool: str
    busy: tuple[tuple[str, str], ...]
    child: bool = False
    """Its pool processes are killed; else the whole worker."""
    spawns: bool = False
    rests: tuple[tuple[str, str], ...] = ()
    """What it holds besides."""

    @property
    def prefetches(self) -> bool:
        """Whether its worker fetches messages that it cannot execute yet."""
        return self.pool in ("asyncio", "prefork", "threads")

    @property
    def slots(self) -> int:
        """How many runs and tasks it executes at once: all of them are taken."""
        return len(self.busy)

    def calls(self, what: str) -> tuple[tuple[str, str], ...]:
        """Return the methods and states of the calls that are to be made at a step."""
        if what == "busy":
            return self.busy
        if what == "on top":
            # Some have a slot, and are not in the pool: messages take their places there.
            aside = [call for call in self.busy if self._is_aside(*call)]
            return (("old.early", "executing"),) * len(aside)
        return tuple(call for call in self.rests if call[1] == what)

    def _is_aside(self, method: str, state: str) -> bool:
        """Whether a run is where no message could be: between attempts, or on an event loop."""
        return state == "between" or (self.pool == "asyncio" and method == "trigger")


_EXECUTING = tuple((method, "executing") for method in (*MESSAGES, *RUNS))
_FINISHING = tuple(
    (method, "finishing") for method in ("old.early", "old.late", "trigger", "delay")
)
_ALL_BUSY = (*_EXECUTING, *_FINISHING, ("trigger", "between"))
_QUEUED = tuple(
    (method, "queued")
    for method in (
        "old.early",
        "old.late",
        "taken.early",
        "taken.late",
        "trigger",
        "delay",
        "chain",
    )
)
_WAITING = (("trigger", "waiting"), ("delay", "waiting"))
_DELAYED = (("old.early", "delayed"), ("old.late", "delayed"), ("taken.countdown", "delayed"))
_BETWEEN = tuple(
    (method, "between")
    for method in ("old.early", "old.late", "taken.early", "taken.late", "delay", "chain")
)
_ALL_RESTS = (*_WAITING, *_BETWEEN, *_QUEUED, *_DELAYED)
_WITHOUT_MESSAGES = tuple(
    (method, state)
    for method, state in _ALL_RESTS
    if method not in MESSAGES or state not in ("queued", "delayed")
)
_FEW = tuple((method, "executing") for method in ("old.early", "old.back", "taken.late", "trigger"))

WAYS = (
    Way("asyncio", "asyncio", _ALL_BUSY, rests=_ALL_RESTS),
    Way("prefork", "prefork", _ALL_BUSY, rests=_ALL_RESTS),
    Way("prefork-child", "prefork", (*_EXECUTING, *_FINISHING), child=True, rests=_WAITING),
    Way("spawn", "prefork", _FEW, spawns=True, rests=(*_WAITING, *_QUEUED)),
    Way("spawn-child", "prefork", _FEW, child=True, spawns=True, rests=_WAITING),
    Way("threads", "threads", _ALL_BUSY, rests=_ALL_RESTS),
    Way("gevent", "gevent", _ALL_BUSY, rests=_ALL_RESTS),
    # One thing at a time: a worker each. While it executes a run, a message that Redis hands over is lost
    # with it: kombu has not noted it yet.
    Way("solo-runs", "solo", (("child", "executing"),), rests=_WITHOUT_MESSAGES),
    Way("solo-early", "solo", (("old.early", "executing"),)),
    Way("solo-late", "solo", (("old.late", "finishing"),), rests=_QUEUED),
)
COLUMNS = {
    "asyncio": "asyncio", "prefork": "prefork", "prefork-child": "prefork, its process",
    "spawn": "spawn", "spawn-child": "spawn, its process", "threads": "threads", "gevent": "gevent",
    "solo-runs": "solo", "solo-early": "solo", "solo-late": "solo",
}  # fmt: skip


@dataclass
class Cell:
    """One run, and the place in the matrix that it was in."""

    way: Way
    method: str
    state: str
    name: str
    """What its code writes into the ledger."""
    run_id: str = ""
    """The run's, or Celery's of its task."""
    begins: int = 0
    before: int = 1
    """How often it had begun when its worker was killed, if it had."""
    run: Run | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def is_message(self) -> bool:
        """Whether the broker has it."""
        return self.method in MESSAGES

    @property
    def is_early(self) -> bool:
        """Whether what began does not begin again. On solo Celery acknowledges at the end only."""
        return self.method.endswith(".early") and not (self.is_message and self.way.pool == "solo")

    @property
    def expected(self) -> tuple[str, int]:
        """Return the status that it must end in, and how often its code must have begun."""
        early = self.is_early
        killed = self.state in ("executing", "finishing")
        if self.state in ("between", "waiting"):
            return "COMPLETED", self.before + 1
        if not killed:
            return "COMPLETED", 1
        if self.is_message and self.state == "finishing":
            # Its result was stored. Redelivered is what was not acknowledged.
            return "COMPLETED", 1 if early or self.way.child else 2
        if early or (self.way.child and self.method == "old.late"):
            return "CRASHED", 1
        return "COMPLETED", 2

    @property
    def attempts(self) -> int:
        """Return how many attempts it must have used."""
        if self.is_message:
            return self.before + 1 if self.state == "between" else 1
        status, begins = self.expected
        if (self.method, self.state) == ("trigger", "between"):
            # The delay was its worker's to wait for, and is over: the attempt counts as begun.
            return begins + 1
        return 1 if status == "CRASHED" or self.state == "waiting" else begins

    @property
    def is_as_expected(self) -> bool:
        """Whether it has become what it must."""
        run = self.run
        if run is None or not run.is_completed:
            return False
        return (str(run.status), self.begins, run.attempt_count) == (*self.expected, self.attempts)

    def __str__(self) -> str:
        status = self.run and self.run.status
        count = self.run and self.run.attempt_count
        return f"{self.name} {self.method} {self.state}: {status}, begun {self.begins} times, {count} attempts"


def table(cells: Iterable[Cell]) -> str:
    """Return the counts of each place: runs, lost, executed more than once, CRASHED."""
    places: dict[tuple[str, str], dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        places[cell.method, cell.state][COLUMNS[cell.way.name]].append(cell)
    columns = list(dict.fromkeys(COLUMNS.values()))
    rows = [["method", "killed while", *columns]]
    for method, label in LABELS.items():
        for state in STATES:
            found = places.get((method, state))
            if found:
                counts = (_counts(found.get(column, ())) for column in columns)
                rows.append([label, state, *counts])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    everything = [cell for found in places.values() for some in found.values() for cell in some]
    legend = "runs/lost/executed twice/CRASHED"
    return "\n".join([f"kill -9: {legend}", *lines, f"all: {_counts(everything)}"])


def _counts(cells: Sequence[Cell]) -> str:
    if not cells:
        return "-"
    lost = sum(cell.run is None or not cell.run.is_completed for cell in cells)
    twice = sum(cell.begins > _calls_of_its_own(cell) for cell in cells)
    crashed = sum(cell.run is not None and cell.run.status == "CRASHED" for cell in cells)
    return f"{len(cells)}/{lost}/{twice}/{crashed}"


def _calls_of_its_own(cell: Cell) -> int:
    """How often its code begins when nothing is killed: a retry, and a replay, are no repeats."""
    return cell.before + 1 if cell.state in ("between", "waiting") else 1
