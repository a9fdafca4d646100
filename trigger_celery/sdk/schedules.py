"""`schedules`: when tasks run by the clock, made and changed at run time."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine import schedules as engine
from trigger_celery.engine.keys import key as key_name
from trigger_celery.engine.schedules import Found, Wanted, find_call
from trigger_celery.errors import InvalidOptionError, UnknownTaskError, closest
from trigger_celery.model import schedule_options as check
from trigger_celery.model.ids import is_schedule_id, schedule_id
from trigger_celery.model.schedule import (
    CATCH_UP_LIMIT,
    CatchUp,
    CronOptions,
    Schedule,
    ScheduleType,
)
from trigger_celery.model.task_options import check_task_id
from trigger_celery.model.time_zone import time_zones
from trigger_celery.sdk.replaying import once
from trigger_celery.sdk.scheduled import scheduled_task as scheduled_task
from trigger_celery.sdk.task import Task
from trigger_celery.store.op import Flow, Op, command

task = scheduled_task

MAX_PER_PAGE = 100
MAX_SKIP = 2**50
"""Schedules before a page; no environment has so many, and the server counts up to 2^63."""
_CREATE = (
    "task", "cron", "deduplication_key", "timezone", "external_id", "catch_up", "catch_up_limit",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """One page of schedules, newest first. `pages` and `count` are those of all; iterates over them."""

    schedules: builtins.list[Schedule]
    page: int
    pages: int
    count: int

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self.schedules)

    def __len__(self) -> int:
        return len(self.schedules)


def create(
    *,
    task: str | Task[Any, Any],
    cron: str | CronOptions | None = None,
    deduplication_key: str | None = None,
    timezone: str | None = None,
    external_id: str | None = None,
    catch_up: CatchUp = "latest",
    catch_up_limit: int = CATCH_UP_LIMIT,
    **unknown: Any,
) -> Op[Schedule]:
    """Make a schedule, or replace all of the one that has the deduplication key.

    It belongs to this environment and fires first at its next occurrence. Replacing it does not
    activate one that is paused, and an occurrence that is due stays due unless the cron changes. In
    a run it is made once: a run that is executed again after a wait gets it as it is.

    Args:
        task: the id of a scheduled task, or the task, with or without a cron of its own.
        cron: five fields, or an alias such as "@daily".
        deduplication_key: 1 to 128 characters, required, such as the id of a user and what for.
        timezone: an IANA name; "UTC" unless given.
        external_id: up to 512 characters that the payload of the runs repeats.
        catch_up: as of `scheduled_task`.
        catch_up_limit: as of `scheduled_task`.
        unknown: refused, with the closest option.

    Raises InvalidCronError, InvalidOptionError, UnknownOptionError, and UnknownTaskError for a
    task that neither this process nor a worker has declared with `@scheduled_task`.
    """
    check.refuse_options(unknown, "schedules.create", _CREATE)
    wanted = _wanted(
        "schedules.create", task, cron, timezone, external_id, catch_up, catch_up_limit
    )
    wanted = replace(wanted, deduplication_key=check.check_deduplication_key(deduplication_key))
    bound = context.current()

    def flow() -> Flow[Schedule]:
        durable = current_durable()
        name = durable.step_name("schedules.create") if durable is not None else ""
        new_id = once("sched", durable, name) or schedule_id()
        had = durable is not None and durable.had_before()
        found: Found = yield find_call(
            bound.scope, key=wanted.deduplication_key or "", task=wanted.task
        )
        if had:
            return found.schedule if found.exists else _deleted(new_id, wanted)
        yield from _require_scheduled(bound.scope, wanted.task, found.task)
        return (yield from engine.upsert(bound.scope, found, wanted, new_id))

    return bound.op(flow(), "schedules.create")


def update(
    schedule: str | Schedule,
    /,
    *,
    task: str | Task[Any, Any] | None = None,
    cron: str | CronOptions | None = None,
    deduplication_key: str | None = None,
    timezone: str | None = None,
    external_id: str | None = None,
    catch_up: CatchUp = "latest",
    catch_up_limit: int = CATCH_UP_LIMIT,
    **unknown: Any,
) -> Op[Schedule]:
    """Replace all of a schedule but its id and deduplication key; what is left out is reset.

    The task stays if it is left out. A *deduplication_key* may be named if it is the one that the
    schedule has: it never changes. Raises what `create` raises, ScheduleNotFoundError, and
    DeclarativeScheduleError.
    """
    check.refuse_options(unknown, "schedules.update", _CREATE)
    wanted = _wanted(
        "schedules.update", task, cron, timezone, external_id, catch_up, catch_up_limit
    )
    known = _id(schedule)
    bound = context.current()

    def change() -> Flow[Schedule]:
        found: Found = yield find_call(bound.scope, schedule=known, task=wanted.task)
        _same_key(engine.imperative(found, "update"), deduplication_key)
        if wanted.task:
            yield from _require_scheduled(bound.scope, wanted.task, found.task)
        return (yield from engine.update(bound.scope, found, wanted))

    return bound.op(_once(change, bound.scope, known), "schedules.update")


def retrieve(schedule: str | Schedule, /) -> Op[Schedule]:
    """Return a schedule as it is now. Raises ScheduleNotFoundError."""
    known = _id(schedule)
    bound = context.current()
    return bound.op(_read(bound.scope, known), "schedules.retrieve")


def list(
    *, page: int = 1, per_page: int = 20, task: str | Task[Any, Any] | None = None
) -> Op[SchedulePage]:
    """Return a page of the schedules, newest first; of one task, with *task*.

    A page past the end is empty. *per_page* is 1 to 100.
    """
    if type(page) is not int or page < 1:
        raise InvalidOptionError(f"page={page!r}: pages are counted from 1")
    if type(per_page) is not int or not 1 <= per_page <= MAX_PER_PAGE:
        raise InvalidOptionError(f"per_page={per_page!r}: a page has 1 to {MAX_PER_PAGE} schedules")
    of_task = "" if task is None else _task_id(task)
    bound = context.current()

    def flow() -> Flow[SchedulePage]:
        first = min((page - 1) * per_page, MAX_SKIP)
        found = yield from engine.list_schedules(bound.scope, first, per_page, of_task)
        return SchedulePage(found.schedules, page, -(-found.count // per_page), found.count)

    return bound.op(flow(), "schedules.list")


def activate(schedule: str | Schedule, /) -> Op[Schedule]:
    """Let a paused schedule fire again, from its next occurrence on; none is made up for. Idempotent.

    Raises ScheduleNotFoundError, DeclarativeScheduleError.
    """
    return _set_active(schedule, True)


def deactivate(schedule: str | Schedule, /) -> Op[Schedule]:
    """Pause a schedule; runs that it has made go on. Idempotent.

    Raises ScheduleNotFoundError, DeclarativeScheduleError.
    """
    return _set_active(schedule, False)


def delete(schedule: str | Schedule, /) -> Op[None]:
    """Remove a schedule; runs that it has made stay.

    Raises ScheduleNotFoundError, DeclarativeScheduleError.
    """
    known = _id(schedule)
    bound = context.current()

    def flow() -> Flow[None]:
        durable = current_durable()
        if durable is None or not durable.had_before():
            yield from engine.delete(bound.scope, known)

    return bound.op(flow(), "schedules.delete")


del_ = delete


def timezones(*, exclude_utc: bool = False) -> Op[builtins.list[str]]:
    """Return the names of the time zones that schedules may have, sorted; needs no server."""
    bound = context.current()

    def flow() -> Flow[builtins.list[str]]:
        yield from ()
        return time_zones(exclude_utc)

    return bound.op(flow(), "schedules.timezones")


def _set_active(schedule: str | Schedule, active: bool) -> Op[Schedule]:
    known = _id(schedule)
    bound = context.current()
    flow = _once(lambda: engine.set_active(bound.scope, known, active), bound.scope, known)
    return bound.op(flow, f"schedules.{'' if active else 'de'}activate")


def _same_key(found: Schedule, wanted: str | None) -> None:
    if wanted is not None and wanted != found.deduplication_key:
        raise InvalidOptionError(
            f"deduplication_key={wanted!r:.60}: schedule {found.id} keeps the key that it was created "
            f"with, {found.deduplication_key!r}. Create another with the new key and delete this one"
        )


def _once(change: Callable[[], Flow[Schedule]], scope: str, known: str) -> Flow[Schedule]:
    """Make a change; a run that is executed again, and made it before it waited, only looks."""
    durable = current_durable()
    had = durable is not None and durable.had_before()
    return (yield from _read(scope, known) if had else change())


def _read(scope: str, known: str) -> Flow[Schedule]:
    found: Found = yield find_call(scope, schedule=known)
    return found.schedule


def _deleted(new_id: str, wanted: Wanted) -> Schedule:
    """Return what a run had made before it was executed again, and somebody deleted since."""
    fields = {name: value for name, value in wanted.fields().items() if value}
    return engine.schedule_of(new_id, fields)


def _wanted(
    what: str,
    task: object,
    cron: object,
    timezone: object,
    external_id: object,
    catch_up: object,
    catch_up_limit: object,
) -> Wanted:
    found, environments = check.check_cron(cron, timezone, what=what)
    if environments is not None:
        raise InvalidOptionError(
            f"{what}: a schedule belongs to the environment that creates it; environments are for "
            "@scheduled_task(cron=…)"
        )
    policy, limit = check.check_catch_up(catch_up, catch_up_limit)
    return Wanted(
        "" if task is None and what == "schedules.update" else _task_id(task),
        found,
        ScheduleType.IMPERATIVE,
        None,
        check.check_external_id(external_id),
        policy,
        limit,
    )


def _task_id(task: object) -> str:
    return check_task_id(task.id if isinstance(task, Task) else task)


def _id(schedule: str | Schedule) -> str:
    known = getattr(schedule, "id", schedule)
    if not isinstance(known, str):
        raise InvalidOptionError(
            f"{schedule!r:.60} is not a schedule: pass what schedules.create returned, or its id"
        )
    if not is_schedule_id(known):
        raise engine.not_found(known)
    return known


def _require_scheduled(scope: str, task_id: str, declared: str) -> Flow[None]:
    """Refuse a task that takes no schedules. What this process has imported counts before workers."""
    here = REGISTRY.tasks.get(task_id)
    if here.scheduled if here is not None else '"scheduled":true' in declared:
        return
    if here is not None or declared:
        raise UnknownTaskError(
            f"{task_id!r} is not a scheduled task: declare it with @scheduled_task(id={task_id!r}), "
            "which needs no cron, and start a worker"
        )
    names: builtins.list[bytes] = yield command("HKEYS", key_name(scope, "tasks"))
    known = sorted({*REGISTRY.tasks, *(name.decode() for name in names)})
    raise UnknownTaskError(
        f"no task {task_id!r} is known.{closest(task_id, known)} A schedule is for a task that this "
        "process has imported, or that a worker has declared since it started."
    )
