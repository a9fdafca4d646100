"""`@scheduled_task`: a task that runs by the clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Unpack, cast

from trigger_celery.bridge.hooks import TaskHooks
from trigger_celery.bridge.registry import REGISTRY, Queue
from trigger_celery.bridge.schema import Schema
from trigger_celery.errors import DefinitionError, InvalidOptionError
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.machine import Machine
from trigger_celery.model.retry import Retry
from trigger_celery.model.schedule import (
    CATCH_UP_LIMIT,
    MANUAL_ID,
    UPCOMING,
    CatchUp,
    CronOptions,
    DeclaredCron,
    ScheduleType,
    moment_of,
    payload_of,
)
from trigger_celery.model.schedule_options import check_catch_up, check_cron
from trigger_celery.sdk.declaring import declared, refuse_unknown, require_id
from trigger_celery.sdk.decorators import ScheduledTaskDecorator
from trigger_celery.sdk.task import Task


def scheduled_task(
    function: None = None,
    /,
    *,
    id: str = "",
    cron: str | CronOptions | None = None,
    catch_up: CatchUp = "latest",
    catch_up_limit: int = CATCH_UP_LIMIT,
    retry: Retry | Mapping[str, Any] | None = None,
    queue: Queue | Mapping[str, Any] | str | None = None,
    max_duration: float | str | None = None,
    ttl: int | str | None = None,
    machine: Machine | Mapping[str, Machine] | None = None,
    description: str | None = None,
    worker_queue: str | None = None,
    **hooks: Unpack[TaskHooks],
) -> ScheduledTaskDecorator:
    """Declare a task that runs by the clock. Its function gets a SchedulePayload.

    When a worker starts, its schedule is made, changed or removed as the code says; a beat fires it.
    Runs may overlap: give it `queue={"concurrency_limit": 1}` if they must not.

    Args:
        function: nothing; there to say what is missing when `@scheduled_task` stands without an id.
        id: unique in the project.
        cron: five fields, such as "0 */2 * * *" (in UTC), or `{"pattern", "timezone",
            "environments"}`. `environments` names those in which it runs: PRODUCTION, STAGING,
            DEVELOPMENT, PREVIEW, or what the setting `env` says; without it, in all. Without a cron
            the task runs by the schedules of `schedules.create` only.
        catch_up: what follows when nothing fired schedules for a while: "latest" makes up for
            the last missed occurrence, "all" for each, "none" for none.
        catch_up_limit: the most that "all" makes up for, the latest ones; 1 to 1,000.
        retry: and the others are those of `task`.
        queue: as of `task`.
        max_duration: as of `task`.
        ttl: as of `task`.
        machine: as of `task`.
        description: as of `task`.
        worker_queue: as of `task`.
        hooks: as of `task`.

    Raises DefinitionError and DuplicateTaskIdError, at import.
    """
    require_id(function, "scheduled_task", id)
    refuse_unknown(hooks, "scheduled_task", id)
    declared_cron = _declared_cron(id, cron, catch_up, catch_up_limit)
    checked = declared(
        id,
        retry=retry,
        queue=queue,
        max_duration=max_duration,
        ttl=ttl,
        machine=machine,
        description=description,
        worker_queue=worker_queue,
        schema=Schema(_reader(declared_cron), f"scheduled_task(id={id!r})"),
        hooks=hooks,
    )

    def decorate(target: Any) -> Task[Any, Any]:
        definition = replace(checked.define(target), scheduled=True, cron=declared_cron)
        REGISTRY.add_task(definition)
        return Task(definition)

    return cast("ScheduledTaskDecorator", decorate)


def _declared_cron(
    task_id: str, cron: object, catch_up: object, catch_up_limit: object
) -> DeclaredCron | None:
    where = f"scheduled_task(id={task_id!r})"
    try:
        policy, limit = check_catch_up(catch_up, catch_up_limit)
        if cron is None:
            if (policy, limit) != ("latest", CATCH_UP_LIMIT):
                raise InvalidOptionError(
                    "catch_up is of the schedule that cron makes, and there is no cron: pass it to "
                    "schedules.create"
                )
            return None
        found, environments = check_cron(cron, what=where)
    except ValueError as problem:
        text = str(problem)
        raise DefinitionError(text if text.startswith(where) else f"{where}: {text}") from None
    return DeclaredCron(found.pattern, found.timezone, environments or (), policy, limit)


def _reader(cron: DeclaredCron | None) -> Callable[[Any], Any]:
    """Return what makes the payload of a run out of what is stored, or given by hand."""

    def read(given: Any) -> Any:
        complete = isinstance(given, Mapping) and "timestamp" in given and "upcoming" in given
        return payload_of(given, {} if complete else _by_hand(cron, given))

    read.__name__ = "SchedulePayload"
    return read


def _by_hand(cron: DeclaredCron | None, given: Any) -> dict[str, Any]:
    at = given.get("timestamp") if isinstance(given, Mapping) else None
    at = datetime.now(UTC) if at is None else moment_of(at)
    upcoming: list[datetime] = []
    if cron is not None:
        moments = parse_cron(cron.pattern, cron.timezone).upcoming(
            int(at.timestamp() * 1000), UPCOMING
        )
        upcoming = [datetime.fromtimestamp(ms / 1000, UTC) for ms in moments]
    return {
        "schedule_id": MANUAL_ID,
        "type": ScheduleType.IMPERATIVE.value,
        "timestamp": at,
        "timezone": "UTC" if cron is None else cron.timezone,
        "upcoming": upcoming,
    }
