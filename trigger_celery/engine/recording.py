"""Writes down what happens to tasks that Celery's broker carries: facts become recorded runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from trigger_celery.engine import keys
from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.ids import op_id, run_id_of
from trigger_celery.model.run import RunError
from trigger_celery.store.op import Arg, Call, Flow, command

MAX_FACTS_PER_CALL: Final = 200
MAX_BYTES_PER_CALL: Final = 512 * 1024
SWEPT_PER_CALL: Final = 100

_LOST: Final = dump_error(
    RunError.internal(
        "TASK_RUN_WORKER_SILENT",
        "The process that executed the task has not been heard of for longer than worker_lease. It "
        "was presumably killed. If its message is delivered again, or it speaks again, this run "
        "goes on.",
    )
)


class About:
    """What a run is, as a message says: *task_id* is Celery's. Immutable.

    *kind*: the packet type of the payload, '' without one. *blind*: whoever says so does not know
    the task's function, and so not which arguments are secrets by their name. *sent*: how the
    message was sent (`model/message.py`). *again*: what it repeats, see `repeats`.
    """

    __slots__ = ("text",)

    def __init__(
        self,
        task_id: str,
        task: str,
        queue: str,
        parent: str | None,
        root: str | None,
        kind: str,
        *,
        blind: bool = False,
        sent: str = "",
        again: str = "",
    ) -> None:
        parts = (
            task_id,
            task,
            queue,
            run_id_of(parent) if parent else "",
            run_id_of(root) if root and root != task_id else "",
            kind,
            "1" if blind else "",
            sent,
            again,
        )
        text = "\x1f".join(parts)
        if text.count("\x1f") > len(parts) - 1:
            text = "\x1f".join(part.replace("\x1f", "?") for part in parts)
        self.text = text if text.isascii() else text.encode("utf-8", "replace").decode()


def repeats(run_id: str, tags: Sequence[str], bulk: str = "") -> str:
    """Return what a message repeats: a run, with these tags, perhaps for a bulk action."""
    return "\x1e".join((run_id, bulk, *tags))


class Fact:
    """One thing that happened to a task: published, started, ended; or started and ended.

    Moments are those of the monotonic clock: the server is told how long ago they were. *payload*,
    *detail* and *body* are those of `record_runs.lua`.
    """

    __slots__ = (
        "about", "at", "body", "detail", "end_at", "execution", "kinds", "payload", "position",
        "run_id", "taken",
    )  # fmt: skip

    def __init__(
        self,
        run_id: str,
        kinds: str,
        position: str,
        at: float,
        *,
        execution: str = "",
        about: About | None = None,
        payload: str = "",
        detail: str = "",
        body: str = "",
    ) -> None:
        self.run_id = run_id
        self.kinds = kinds
        self.position = position
        self.at = self.end_at = at
        self.execution = execution
        self.about = about
        self.payload = payload
        self.detail = detail
        self.body = body
        self.taken = False
        """It is on its way, and cannot be added to."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 500 + len(self.payload) + len(self.body)

    def to_args(self, now: float) -> tuple[Arg, ...]:
        """Return the item of the script's call that is made at *now*."""
        return (
            self.run_id,
            self.kinds,
            self.position,
            self.execution,
            _age(self.at, now),
            _age(self.end_at, now),
            "" if self.about is None else self.about.text,
            self.payload,
            self.detail,
            self.body,
        )


def _age(at: float, now: float) -> int:
    return max(0, round((now - at) * 1000))


def published_detail(due: str, notes: Sequence[str] = ()) -> str:
    """Return the detail of a publish. *due*: in how many ms, '' for now."""
    return f"{due}\x1f{','.join(notes)}" if notes else due


def start_detail(worker: str, redelivered: bool) -> str:
    """Return the detail of a start."""
    return f"{worker}\x1f{'1' if redelivered else ''}"


def end_detail(outcome: str, more: str = "", note: str = "") -> str:
    """Return the detail of an end. *more*: delay of a retry in ms, packet type of an output."""
    return f"{outcome}\x1f{more}\x1f{note}"


def ended(fact: Fact, at: float, detail: str, body: str) -> None:
    """Let the fact of a start tell of the end as well."""
    fact.kinds = "se"
    fact.end_at = at
    fact.detail = f"{fact.detail}\x1f{detail}"
    fact.body = body


def record_calls(
    scope: str, facts: Sequence[Fact], now: float, lease: int, retention: int, dropped: int = 0
) -> list[Call]:
    """Return the calls that write facts down: one pipeline. A repeat adds nothing.

    *dropped* facts could not be kept; their number is kept with the environment.
    """
    calls: list[Call] = []
    rest: list[Arg] = []
    size = 0
    for fact in facts:
        if rest and (len(rest) >= 10 * MAX_FACTS_PER_CALL or size + fact.size > MAX_BYTES_PER_CALL):
            calls.append(_call(scope, rest, lease, retention, 0))
            rest, size = [], 0
        rest += fact.to_args(now)
        size += fact.size
    if rest or dropped:
        calls.append(_call(scope, rest, lease, retention, dropped))
    return calls


def _call(scope: str, rest: list[Arg], lease: int, retention: int, dropped: int) -> Call:
    return SCRIPTS.record_runs(
        scope,
        rest,
        None,
        op_id=op_id(),
        lease=lease,
        retention=retention,
        error=_LOST,
        dropped=dropped,
    )


def renew_call(
    scope: str, executions: Iterable[tuple[str, str, str]], lease: int, retention: int
) -> Call:
    """Return the call that says that executions, by run id, position and name, are under way."""
    rest = [part for execution in executions for part in execution]
    return SCRIPTS.renew_recorded(scope, rest, None, lease=lease, retention=retention, error=_LOST)


@dataclass(frozen=True, slots=True)
class RecordedSweep:
    """What a look at recorded runs found: those that lost their process, and whether to look on."""

    lost: tuple[str, ...]
    more: bool


def sweep_recorded(scope: str, lease: int, retention: int) -> Flow[RecordedSweep]:
    """Look at up to 100 recorded runs that execute in silence, or are delayed and due."""
    looked, *lost = yield SCRIPTS.sweep_recorded(
        scope, count=SWEPT_PER_CALL, lease=lease, retention=retention, error=_LOST
    )
    return RecordedSweep(tuple(name.decode() for name in lost), int(looked) == SWEPT_PER_CALL)


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """How many facts could not be recorded since the environment exists, and when the last were."""

    count: int
    at: datetime | None


def read_unrecorded(scope: str) -> Flow[Unrecorded]:
    """Return what producers and workers had to drop, as far as they could say so."""
    count, at = yield command("HMGET", keys.key(scope, "env"), "unrecorded", "unrecorded_at")
    moment = datetime.fromtimestamp(int(at) / 1000, UTC) if at else None
    return Unrecorded(int(count or 0), moment)
