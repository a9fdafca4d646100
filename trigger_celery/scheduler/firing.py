"""Firing what is due of our schedules: rounds of 500, by whichever beat comes to it first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.scheduling import due_schedules, fire_due
from trigger_celery.engine.triggering import Placement
from trigger_celery.store.op import Flow

_T = TypeVar("_T")
logger = logging.getLogger("trigger_celery.beat")

GRACE_MS = 2000
"""A beat that stands by fires what is later than this: the leading one is frozen, cut off or gone."""
RIVALRY = 0.1
"""Seconds left to a beat that fires the same and was faster throughout a round."""
BUDGET = 5.0
"""Seconds of a tick after which RedBeat's entries have their turn."""


class Firing:
    """Fires due schedules of one environment. Keeps nothing: the store says what is due."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger

    def tick(self, leads: bool, between: Callable[[], None]) -> float | None:
        """Fire everything that is due; return the seconds until the next is, None: nothing known.

        A beat that does not lead leaves it to the others, unless they are late. *between* is
        called between two rounds.
        """
        began = time.monotonic()
        if not leads:
            seconds = self._run(self._is_left_to_others())
            if seconds is not None:
                return seconds
        while True:
            done = self._run(
                fire_due(self._trigger.scope, self._place_of, self._trigger.settings.run_retention)
            )
            if done.run_count:
                logger.info(
                    "fired %d schedules, %d runs",
                    sum(one.counted for one in done.fired),
                    done.run_count,
                    extra={"action": "schedules_fired", "count": done.run_count},
                )
            moved = done.broken or any(one.counted for one in done.fired)
            if not done.more or not moved or time.monotonic() - began > BUDGET:
                break
            between()
        if done.more:
            return 0.0 if moved else RIVALRY
        if done.next_ms is None:
            return None
        return max(0.0, (done.next_ms - done.now) / 1000 - (time.monotonic() - began))

    def _is_left_to_others(self) -> Flow[float | None]:
        """Return how long to leave it to them, None when they are late."""
        found = yield from due_schedules(self._trigger.scope, 1)
        if found.broken:
            return None
        if found.schedules:
            left = found.schedules[0].nominal + GRACE_MS - found.now
            return left / 1000 if left > 0 else None
        return GRACE_MS / 1000

    def _run(self, flow: Flow[_T]) -> _T:
        return self._trigger.store.run_blocking(flow)

    def _place_of(self, task: str) -> Placement:
        return self._trigger.placement(REGISTRY.tasks.get(task), task)
