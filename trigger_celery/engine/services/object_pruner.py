"""Object pruner: deletes objects of the payload store whose run or token is gone."""

from __future__ import annotations

from trigger_celery.engine.offloading import prune_objects
from trigger_celery.store.op import Flow

BATCH = 64
LOOK_EVERY = 30.0


class ObjectPruner:
    """Looks at 64 runs and tokens a tick; only in workers that have the payload store."""

    name = "objects"

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def tick(self) -> Flow[float]:
        """Delete what is not needed any more."""
        looked, _ = yield from prune_objects(self._scope, BATCH)
        return 0.01 if looked >= BATCH else LOOK_EVERY
