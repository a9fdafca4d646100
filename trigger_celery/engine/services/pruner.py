"""Pruner: removes final runs whose retention has passed."""

from __future__ import annotations

from trigger_celery.engine import sessions
from trigger_celery.store.op import Flow

BATCH = 100
LOOK_EVERY = 10.0


class Pruner:
    """Removes at most 100 runs a tick, with their index entries; goes on at once while there are more."""

    name = "pruner"

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def tick(self) -> Flow[float]:
        """Remove what is due."""
        removed = yield from sessions.prune(self._scope, BATCH)
        return 0.01 if removed >= BATCH else LOOK_EVERY
