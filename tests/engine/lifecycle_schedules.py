"""A flow like that of `lifecycle.py`, of schedules. They fire at New Year, whenever the test is run."""

from __future__ import annotations

from typing import Any

from tests.driving import DAY, RETENTION
from tests.driving_schedules import place_of, wanted
from tests.engine.lifecycle import Life
from trigger_celery.engine import keys, schedules, scheduling
from trigger_celery.engine.declared_schedules import sync_declared
from trigger_celery.engine.schedules import Found, Wanted, find_call
from trigger_celery.store.op import Flow, command

YEARLY = "0 0 1 1 *"


class Schedules(Life):
    """The flow. `answers` collects what must not depend on lost replies."""

    def _make(self, new: Wanted) -> Flow[str]:
        found: Found = yield find_call(self.scope, key=new.deduplication_key or "")
        made = yield from schedules.upsert(
            self.scope, found, new, f"sched_{next(self._numbers):026}"
        )
        self.answers.append((made.id, made.next_run, made.active))
        return made.id

    def _fire(self) -> Flow[None]:
        round_ = yield from scheduling.fire_due(self.scope, place_of, RETENTION)
        self.answers.append(sorted((one.counted, one.runs, one.lost) for one in round_.fired))
        self.answers.append([one.problem for one in round_.broken])

    def flow(self) -> Flow[list[Any]]:
        """Create, change, pause, fire and delete; declare and cease to declare."""
        yield from self._register("w1", "t", "u")
        all_ = yield from self._make(wanted("all", YEARLY, catch_up="all"))
        paused = yield from self._make(wanted("paused", YEARLY, external_id="x"))
        gone = yield from self._make(wanted("gone", YEARLY, task="u"))
        yield from self._make(wanted("gone", YEARLY, task="t"))
        yield from schedules.set_active(self.scope, paused, False)
        for declared in ([wanted(None, YEARLY)], [wanted(None, YEARLY, task="u")]):
            synced = yield from sync_declared(self.scope, "shop", declared)
            self.answers.append(synced)
        yield from self._pass(2 * 366 * DAY)
        yield from self._fire()
        yield from schedules.set_active(self.scope, paused, True)
        yield from schedules.delete(self.scope, gone)
        yield command("HSET", keys.key(self.scope, "redbeat", all_), "cron", "never")
        yield from self._pass(366 * DAY)
        yield from self._fire()
        yield from self._fire()
        return self.answers
