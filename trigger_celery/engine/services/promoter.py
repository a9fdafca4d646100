"""Promoter: does what is due: delays, retries, waits, timeouts of tokens, cancels of children."""

from __future__ import annotations

from trigger_celery.engine import sessions
from trigger_celery.store.op import Flow

BATCH = 200
LOOK_EVERY = 1.0
"""Seconds between looks when nothing is due. Timers due sooner are announced when they are set."""


class Promoter:
    """Fires timers at their time: sleeps until the next is due, at most a second."""

    name = "promoter"

    def __init__(self, scope: str, retention: int) -> None:
        self._scope = scope
        self._retention = retention

    def tick(self) -> Flow[float]:
        """Fire what is due, at most 200 timers a tick."""
        fired, due_in = yield from sessions.fire_timers(self._scope, BATCH, self._retention)
        if fired >= BATCH:
            return 0.0
        return LOOK_EVERY if due_in is None else min(LOOK_EVERY, due_in / 1000)
