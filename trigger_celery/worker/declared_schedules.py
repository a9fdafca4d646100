"""At its start a worker says which schedules the code declares."""

from __future__ import annotations

import logging

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.context import EnvironmentContext
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.declared_schedules import sync_declared
from trigger_celery.engine.schedules import Wanted
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.schedule import ScheduleType
from trigger_celery.model.schedule_options import is_meant

logger = logging.getLogger("trigger_celery.schedules")


def declared_schedules(env: str) -> list[Wanted]:
    """Return the schedules that the code of this process declares for an environment."""
    kind = EnvironmentContext(env).type
    found = []
    for definition in REGISTRY.tasks.values():
        cron = definition.cron
        if cron is None or (cron.environments and not is_meant(cron.environments, env, kind)):
            continue
        found.append(
            Wanted(
                definition.id,
                parse_cron(cron.pattern, cron.timezone),
                ScheduleType.DECLARATIVE,
                catch_up=cron.catch_up,
                catch_up_limit=cron.catch_up_limit,
            )
        )
    return found


class DeclaredSchedules:
    """The schedules of this worker's code, which it declares once. `done`: it has."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger
        self.done = False

    def sync(self) -> None:
        """Declare them; a failure is logged, and tried again when the worker renews its lease."""
        trigger = self._trigger
        try:
            wanted = declared_schedules(trigger.settings.env)
            flow = sync_declared(trigger.scope, trigger.app.main or "", wanted)
            synced = trigger.store.run_blocking(flow)
        except Exception as problem:
            # Whatever it is: runs do not wait for schedules.
            logger.error(
                "the schedules of the code could not be declared, and will be tried again: %s",
                problem,
                exc_info=True,
                extra={"action": "schedules_not_declared"},
            )
            return
        self.done = True
        if synced:
            logger.info(
                "schedules of the code: %s",
                "; ".join(
                    f"{what} {', '.join(tasks)}"
                    for what, tasks in (
                        ("added", synced.added),
                        ("changed", synced.changed),
                        ("removed", synced.removed),
                    )
                    if tasks
                ),
                extra={"action": "schedules_declared"},
            )
