"""Schedules: created, read, changed, deleted; and kept in step with what the code declares.

What changes a schedule reads it first, with the server's clock, works the next occurrence out and
stores both if nobody has changed it since; otherwise it looks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trigger_celery.engine.codec import fields_of, instant_of
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import (
    DeclarativeScheduleError,
    InvalidCronError,
    ScheduleNotFoundError,
    StateError,
)
from trigger_celery.model.cron import Cron, parse_cron
from trigger_celery.model.ids import op_id, token
from trigger_celery.model.redbeat_entry import definition, meta
from trigger_celery.model.schedule import CATCH_UP_LIMIT, CatchUp, Schedule, ScheduleType
from trigger_celery.store.op import Call, Flow

TRIES = 20
"""How often a change is worked out anew because others changed the schedule meanwhile."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a schedule is to be."""

    task: str
    cron: Cron
    type: ScheduleType = ScheduleType.IMPERATIVE
    deduplication_key: str | None = None
    external_id: str | None = None
    catch_up: CatchUp = "latest"
    catch_up_limit: int = CATCH_UP_LIMIT

    def fields(self) -> dict[str, str]:
        """Return what of it is stored as it is."""
        return {
            "task": self.task,
            "cron": self.cron.pattern,
            "tz": self.cron.timezone,
            "type": self.type.value,
            "key": self.deduplication_key or "",
            "ext": self.external_id or "",
            "catch": self.catch_up,
            "most": str(self.catch_up_limit),
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What was read: the present (ms), a schedule's id and fields, and what workers say of a task."""

    now: int
    id: str
    fields: Mapping[str, str]
    task: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is a schedule, which the code has not ceased to declare."""
        return "gen" in self.fields and "gone" not in self.fields

    @property
    def schedule(self) -> Schedule:
        """The schedule. Raises ScheduleNotFoundError."""
        if not self.exists:
            raise not_found(self.id)
        return schedule_of(self.id, self.fields)


def not_found(schedule_id: str) -> ScheduleNotFoundError:
    """Return the error for a schedule that is not there."""
    return ScheduleNotFoundError(
        f"no schedule {schedule_id!r:.60}: it was never created in this environment, or it was "
        "deleted. `schedules.list()` shows those that there are."
    )


def find_call(scope: str, *, schedule: str = "", key: str = "", task: str = "") -> Call:
    """Return the call that reads a schedule by its id or deduplication key, and about a task."""
    return SCRIPTS.read_schedule(
        scope, (), _found, id=schedule, key=_key_token(key) if key else "", task=task
    )


def _found(reply: Any) -> Found:
    return Found(int(reply[0]), reply[1].decode(), fields_of(reply[2]), reply[3].decode())


def _key_token(key: str) -> str:
    return token(f"schedule {key}")


def schedule_of(schedule_id: str, fields: Mapping[str, str]) -> Schedule:
    """Return a schedule from its fields."""
    known = dict(fields)
    pattern, zone = fields.get("cron", ""), fields.get("tz", "")
    try:
        description = parse_cron(pattern, zone).description
    except InvalidCronError:
        description = ""  # broken; `problem` says how
    return Schedule(
        id=schedule_id,
        task=fields.get("task", ""),
        type=ScheduleType(fields.get("type", "IMPERATIVE")),
        cron=pattern,
        timezone=zone,
        active=fields.get("active") == "1",
        deduplication_key=fields.get("key"),
        external_id=fields.get("ext"),
        description=description,
        next_run=instant_of(known, "next"),
        last_run=instant_of(known, "last"),
        last_run_id=fields.get("run"),
        run_count=int(fields.get("runs", 0)),
        lost_count=int(fields.get("lost", 0)),
        missed_count=int(fields.get("missed", 0)),
        catch_up=fields.get("catch", "latest"),  # type: ignore[arg-type]
        catch_up_limit=int(fields.get("most", CATCH_UP_LIMIT)),
        created_at=instant_of(known, "created"),
        updated_at=instant_of(known, "updated"),
        problem=fields.get("problem"),
    )


def is_as(found: Found, wanted: Wanted) -> bool:
    """Whether the schedule is as it is wanted, so that there is nothing to store."""
    same = all(found.fields.get(name, "") == value for name, value in wanted.fields().items())
    return found.exists and same and "problem" not in found.fields


def put_call(scope: str, found: Found, wanted: Wanted, *, active: bool, by: str = "") -> Call:
    """Return the call that stores a schedule. It answers the schedule, or None: it has changed.

    An occurrence that is due stays due, as long as the cron stays the same.
    """
    before = found.fields
    following = ""
    if active:
        same = (before.get("cron"), before.get("tz")) == (wanted.cron.pattern, wanted.cron.timezone)
        waits = same and before.get("active") == "1" and before.get("next")
        following = "same" if waits else str(wanted.cron.next_after(found.now))
    fields = wanted.fields() | {
        "active": "1" if active else "0",
        "definition": definition(
            schedule=found.id,
            task=wanted.task,
            cron=wanted.cron,
            external_id=wanted.external_id,
            active=active,
            after_ms=found.now,
        ),
    }
    if "meta" not in before:
        fields["meta"] = meta(found.now, 0)
    return SCRIPTS.put_schedule(
        scope,
        [part for pair in fields.items() for part in pair],
        lambda reply: None if len(reply) == 1 else schedule_of(found.id, fields_of(reply[1])),
        op_id=op_id(),
        id=found.id,
        key=_key_token(wanted.deduplication_key) if wanted.deduplication_key else "",
        by=by,
        gen=before.get("gen", ""),
        next=following,
    )


def upsert(scope: str, found: Found, wanted: Wanted, new_id: str) -> Flow[Schedule]:
    """Create a schedule, or replace the one with its deduplication key; *found* is what is there."""
    for _ in range(TRIES):
        if found.exists and is_as(found, wanted):
            return found.schedule
        if not found.exists:
            found = Found(found.now, new_id, {})
        active = found.fields.get("active", "1") == "1" or "problem" in found.fields
        stored: Schedule | None = yield put_call(scope, found, wanted, active=active)
        if stored is not None:
            return stored
        found = yield find_call(scope, key=wanted.deduplication_key or "")
    raise _contended(found.id)


def update(scope: str, found: Found, wanted: Wanted) -> Flow[Schedule]:
    """Replace all of a schedule but its id and deduplication key, and its task if none is wanted."""
    for _ in range(TRIES):
        before = imperative(found, "change")
        kept = Wanted(
            wanted.task or before.task,
            wanted.cron,
            before.type,
            before.deduplication_key,
            wanted.external_id,
            wanted.catch_up,
            wanted.catch_up_limit,
        )
        if is_as(found, kept):
            return before
        active = before.active or before.problem is not None
        stored: Schedule | None = yield put_call(scope, found, kept, active=active)
        if stored is not None:
            return stored
        found = yield find_call(scope, schedule=found.id)
    raise _contended(found.id)


def set_active(scope: str, schedule_id: str, active: bool) -> Flow[Schedule]:
    """Pause a schedule, or let it fire again from its next occurrence on."""
    for _ in range(TRIES):
        found: Found = yield find_call(scope, schedule=schedule_id)
        before = imperative(found, "activate" if active else "deactivate")
        if before.active is active:
            return before
        wanted = Wanted(
            before.task,
            parse_cron(before.cron, before.timezone),
            before.type,
            before.deduplication_key,
            before.external_id,
            before.catch_up,
            before.catch_up_limit,
        )
        stored: Schedule | None = yield put_call(scope, found, wanted, active=active)
        if stored is not None:
            return stored
    raise _contended(schedule_id)


def delete(scope: str, schedule_id: str) -> Flow[None]:
    """Remove a schedule with all that names it."""
    for _ in range(TRIES):
        found: Found = yield find_call(scope, schedule=schedule_id)
        before = imperative(found, "delete")
        if (yield remove_call(scope, found, before.deduplication_key)) == b"ok":
            return
    raise _contended(schedule_id)


def remove_call(scope: str, found: Found, key: str | None = None, kept_ms: int = 0) -> Call:
    """Return the call that removes a schedule; *kept_ms*: it can be had back so long."""
    return SCRIPTS.remove_schedule(
        scope,
        id=found.id,
        gen=found.fields.get("gen", ""),
        key=_key_token(key) if key else "",
        kept=kept_ms or "",
    )


def imperative(found: Found, what: str) -> Schedule:
    """Return the schedule, if it may be changed. Raises DeclarativeScheduleError."""
    schedule = found.schedule
    if schedule.is_declarative:
        raise DeclarativeScheduleError(
            f"cannot {what} schedule {schedule.id!r}: it is declared by @scheduled_task("
            f"id={schedule.task!r}) in code. Change its cron there and start a worker."
        )
    return schedule


def _contended(schedule_id: str) -> StateError:
    return StateError(
        f"schedule {schedule_id!r} was changed by others {TRIES} times while this change was "
        "worked out: try again"
    )


@dataclass(frozen=True, slots=True)
class Listed:
    """Some schedules, newest first, and how many there are in all."""

    now: datetime
    count: int
    found: tuple[Found, ...]

    @property
    def schedules(self) -> list[Schedule]:
        """Those that are still there."""
        return [one.schedule for one in self.found if one.exists]


def list_schedules(scope: str, skip: int, count: int, task: str = "", by: str = "") -> Flow[Listed]:
    """Return schedules: all, those of a task, or those that an app declares."""
    label = token(task) if task else by
    reply: Sequence[Any] = yield SCRIPTS.list_schedules(scope, label=label, skip=skip, count=count)
    now = int(reply[0])
    found = tuple(
        Found(now, name.decode(), fields_of(flat))
        for name, flat in zip(reply[2::2], reply[3::2], strict=True)
    )
    return Listed(datetime.fromtimestamp(now / 1000, UTC), int(reply[1]), found)
