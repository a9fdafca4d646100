"""Pruner: removes final runs whose retention has passed, and the names of unused queues."""

from __future__ import annotations

from trigger_celery.engine import sessions
from trigger_celery.store.op import Flow

BATCH = 100
LOOK_EVERY = 10.0


class Pruner:
    """Removes at most 100 runs a tick, with their index entries, and goes on at once while there are more.

    Looks at the names of some 500 queues a tick.
    """

    name = "pruner"

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._cursor = b"0"

    def tick(self) -> Flow[float]:
        """Remove what is due."""
        self._cursor = yield from sessions.prune_queues(self._scope, self._cursor)
        removed = yield from sessions.prune(self._scope, BATCH)
        return 0.01 if removed >= BATCH else LOOK_EVERY
