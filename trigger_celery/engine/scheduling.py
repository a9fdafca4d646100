"""Schedules that are due: read, worked out, fired. Any number of processes may do it at once.

`fire_due` is a round of it: two round trips for up to 500 schedules. Schedulers call it until nothing
is due, then sleep until `Round.next_ms`. A firing is decided by the script that makes the runs:
it counts only if the schedule still waits for the occurrence that the firing is for, so who comes
second, or sends a call again, makes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from trigger_celery.engine import keys
from trigger_celery.engine.admission import Extras, pack
from trigger_celery.engine.occurrences import DueSchedule, Firing, payloads, plan
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.triggering import MAX_RUNS_PER_CALL, Placement
from trigger_celery.model.ids import occurrence_id, op_id
from trigger_celery.model.packet import SUPER_JSON
from trigger_celery.model.redbeat_entry import meta
from trigger_celery.store.op import Arg, Call, Flow

logger = logging.getLogger("trigger_celery.schedules")

MAX_DUE = 500
"""A round reads at most so many schedules."""
MAX_RUNS = 1000
"""A round makes not many more runs than this: after an outage, a schedule may have 100 to make."""

_READ = (
    "gen", "active", "task", "cron", "tz", "type", "ext", "next", "last", "runs", "catch", "most",
)  # fmt: skip
_MAY_LACK = frozenset({"ext", "last", "runs"})


@dataclass(frozen=True, slots=True)
class BrokenSchedule:
    """A schedule that cannot be fired: somebody else wrote into its record."""

    name: str
    generation: str
    problem: str


@dataclass(frozen=True, slots=True)
class DueSchedules:
    """The schedules that are due, the longest due first. Moments are in ms, by the server's clock.

    `next_ms` is when the first of those is due that are not due yet; None when there are none.
    """

    now: int
    schedules: tuple[DueSchedule, ...]
    broken: tuple[BrokenSchedule, ...] = ()
    next_ms: int | None = None


def due_schedules(scope: str, limit: int = MAX_DUE) -> Flow[DueSchedules]:
    """Return up to *limit* schedules that are due; one round trip, which changes nothing."""
    reply: Sequence[Any] = yield SCRIPTS.read_due(scope, _READ, None, count=min(limit, MAX_DUE))
    schedules: list[DueSchedule] = []
    broken: list[BrokenSchedule] = []
    start = len(keys.key(scope, "redbeat", ""))
    for row in reply[2:]:
        name, *values = row.decode("utf-8", "replace").split("\x1f")
        try:
            schedules.append(_due(name[start:], values))
        except ValueError as problem:
            broken.append(BrokenSchedule(name, values[0], str(problem)))
    return DueSchedules(int(reply[0]), tuple(schedules), tuple(broken), _ms(reply[1]))


def next_due(scope: str) -> Flow[tuple[int, int | None]]:
    """Return the present and when the next schedule is due (ms, by the server's clock); None: never."""
    reply: Sequence[Any] = yield SCRIPTS.read_due(scope, ("next",), None, count=1)
    present = int(reply[0])
    return present, present if len(reply) > 2 else _ms(reply[1])


def _ms(seconds: bytes) -> int | None:
    return round(float(seconds) * 1000) if seconds else None


def _due(schedule_id: str, values: Sequence[str]) -> DueSchedule:
    """Return a schedule that is due. Raises ValueError for a record that is not one of ours."""
    if len(values) != len(_READ):
        raise ValueError("its record has a separator in a field")
    for name, value in zip(_READ, values, strict=True):
        if not value and name not in _MAY_LACK:
            raise ValueError(f"its record has no field {name!r}")
    if values[1] != "1":
        raise ValueError("its record says that it is not active")
    gen, _, task, cron, zone, kind, external, nominal, last, runs, catch, most = values
    return DueSchedule(
        id=schedule_id,
        task=task,
        cron=cron,
        timezone=zone,
        type=kind,
        external_id=external or None,
        generation=gen,
        nominal=int(nominal),
        last=int(last) if last else None,
        run_count=int(runs or 0),
        catch_up=catch,  # type: ignore[arg-type]
        catch_up_limit=int(most),
    )


@dataclass(frozen=True, slots=True)
class Fired:
    """What became of a firing.

    `counted` is False when it had fired before, was changed or deleted. `runs` are those that were made,
    `lost` the occurrences for which the queue had no place.
    """

    firing: Firing
    counted: bool
    runs: tuple[str, ...] = ()
    lost: tuple[int, ...] = ()


def fire_schedules(
    scope: str,
    firings: Sequence[Firing],
    place_of: Callable[[str], Placement],
    retention: int,
) -> Flow[list[Fired]]:
    """Make the runs of firings and move their schedules on: a script call per 250 runs of a task.

    Each schedule moves on in the same step in which its runs are made. *place_of* says where runs go
    whose task no worker has declared.
    """
    ordered = sorted(firings, key=lambda firing: firing.schedule.task)
    parts = [
        part
        for _, same in groupby(ordered, key=lambda firing: firing.schedule.task)
        for part in _parts(list(same))
    ]
    calls = [_call(scope, part, place_of(part[0].schedule.task), retention) for part in parts]
    replies: list[Any] = (yield calls) if calls else []
    return [
        _fired(firing, answer.decode())
        for part, answers in zip(parts, replies, strict=True)
        for firing, answer in zip(part, answers, strict=True)
    ]


def _parts(firings: Sequence[Firing]) -> Iterator[list[Firing]]:
    """Cut firings into pieces of so many runs as one call makes, one firing at least."""
    part: list[Firing] = []
    runs = 0
    for firing in firings:
        if part and (runs + len(firing.nominals) > MAX_RUNS_PER_CALL or len(part) == MAX_DUE):
            yield part
            part, runs = [], 0
        part.append(firing)
        runs += len(firing.nominals)
    yield part


def _call(scope: str, firings: Sequence[Firing], place: Placement, retention: int) -> Call:
    items: list[Arg] = []
    runs: list[Arg] = []
    for firing in firings:
        due, nominals = firing.schedule, firing.nominals
        last = nominals[-1] if nominals else due.last
        items += (
            due.id,
            due.generation,
            due.nominal,
            firing.following,
            nominals[-1] if nominals else "",
            meta(due.nominal if last is None else last, due.run_count + len(nominals)),
            "1" if firing.missed else "0",
            len(nominals),
        )
        extras = Extras(place.ttl_ms, place.machine, schedule=due.id)
        details = f"{pack(extras, place.task, None)}\x1enow\x1e0\x1e0\x1e{SUPER_JSON}\x1e\x1e"
        for nominal, payload in zip(nominals, payloads(firing), strict=True):
            runs += (occurrence_id(due.id, nominal), payload.data, details)
    return SCRIPTS.fire_schedules(
        scope,
        items + runs,
        None,
        op_id=op_id(),
        task=place.task,
        worker_queue=place.worker_queue,
        machine=place.preset,
        size_limit=place.size_limit,
        retention=retention,
        count=len(firings),
    )


def _fired(firing: Firing, answer: str) -> Fired:
    word, _, digits = answer.partition(" ")
    if word != "fired":
        return Fired(firing, False)
    runs = tuple(
        occurrence_id(firing.schedule.id, nominal)
        for nominal, digit in zip(firing.nominals, digits, strict=True)
        if digit == "1"
    )
    lost = (nominal for nominal, digit in zip(firing.nominals, digits, strict=True) if digit == "0")
    return Fired(firing, True, runs, tuple(lost))


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did. `now` and `next_ms` are in ms by the server's clock.

    `more`: further schedules are due, so go on at once. `next_ms`: when the next is due; it may be
    None, or have come meanwhile.
    """

    now: int
    fired: list[Fired] = field(default_factory=list)
    broken: tuple[BrokenSchedule, ...] = ()
    more: bool = False
    next_ms: int | None = None

    @property
    def run_count(self) -> int:
        """How many runs this round made."""
        return sum(len(one.runs) for one in self.fired)


def fire_due(
    scope: str,
    place_of: Callable[[str], Placement],
    retention: int,
    limit: int = MAX_DUE,
) -> Flow[Round]:
    """Fire up to *limit* schedules that are due, and log what is lost, passed over or broken.

    A schedule that cannot be fired is taken out, so that it does not hold up the others.
    """
    found = yield from due_schedules(scope, limit)
    firings: list[Firing] = []
    broken = list(found.broken)
    runs = 0
    for due in found.schedules:
        if runs >= MAX_RUNS:
            break
        try:
            firings.append(plan(due, found.now))
            runs += len(firings[-1].nominals)
        except ValueError as problem:
            name = keys.key(scope, "redbeat", due.id)
            broken.append(BrokenSchedule(name, due.generation, str(problem)))
    if broken:
        replies = yield [shelve_call(scope, one) for one in broken]
        broken = [one for one, reply in zip(broken, replies, strict=True) if reply == b"ok"]
    fired = yield from fire_schedules(scope, firings, place_of, retention)
    for one in fired:
        _log(one)
    for wrong in broken:
        logger.error(
            "the schedule %s is set aside until it is created or updated again: %s",
            wrong.name,
            wrong.problem,
            extra={"action": "schedule_broken", "schedule": wrong.name},
        )
    following = [found.next_ms, *(one.firing.following for one in fired if one.counted)]
    known = [moment for moment in following if moment is not None]
    more = len(found.schedules) + len(found.broken) >= min(limit, MAX_DUE) or runs >= MAX_RUNS
    more = more or any(moment <= found.now for moment in known)
    return Round(found.now, fired, tuple(broken), more, min(known, default=None))


def shelve_call(scope: str, broken: BrokenSchedule) -> Call:
    """Return the call that takes a broken schedule out; its record says what the problem is.

    It answers `ok`; `changed`: somebody has mended it; or `paused`: a tool of RedBeat's had made it
    wait, and it is not broken.
    """
    return SCRIPTS.shelve_schedule(
        scope, name=broken.name, gen=broken.generation, problem=broken.problem
    )


def _log(fired: Fired) -> None:
    if not fired.counted:
        return
    firing = fired.firing
    due = firing.schedule
    if fired.lost:
        logger.error(
            "schedule %s of task %s lost %d occurrence(s), because the queue is full: %s",
            due.id,
            due.task,
            len(fired.lost),
            ", ".join(map(_shown, fired.lost[:5])),
            extra={"action": "schedule_lost", "schedule": due.id, "count": len(fired.lost)},
        )
    if firing.missed:
        logger.warning(
            "schedule %s of task %s passed over its occurrences from %s to %s, which nothing fired "
            "in time; catch_up is %r",
            due.id,
            due.task,
            *map(_shown, firing.missed),
            due.catch_up,
            extra={"action": "schedule_missed", "schedule": due.id},
        )


def _shown(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
