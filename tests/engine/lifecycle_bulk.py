"""A flow like that of `lifecycle.py`, of bulk actions."""

from __future__ import annotations

from typing import Any

from tests.driving import RETENTION
from tests.engine.lifecycle import Life
from trigger_celery.engine import bulk
from trigger_celery.engine.listing import RunFilter
from trigger_celery.engine.triggering import Placement
from trigger_celery.model.bulk import BulkType
from trigger_celery.model.ids import bulk_id
from trigger_celery.store.op import Flow


def place_of(task: str) -> Placement:
    return Placement(task, declared=True, worker_queue="celery", queue=f"task/{task}")


class Bulk(Life):
    """The flow. `answers` has how many runs each action did, and failed to do."""

    def flow(self) -> Flow[list[Any]]:
        """Replay, cancel, and stop doing so."""
        yield from self._register("w1", "t")
        yield from self._create(3)
        found = RunFilter(tasks=("t",))
        for kind in (BulkType.REPLAY, BulkType.CANCEL):
            yield from bulk.create_bulk(self.scope, bulk.NewBulk(bulk_id(), kind, found))
            claim = yield from bulk.claim_bulk(self.scope)
            while claim is not None:
                step = yield from bulk.carry_on(self.scope, claim, place_of, RETENTION)
                self.answers.append((step.success, step.failure))
                claim = step.claim
        made = bulk.NewBulk(bulk_id(), BulkType.CANCEL, None, ("run_1",))
        yield from bulk.create_bulk(self.scope, made)
        stopped = yield from bulk.abort_bulk(self.scope, made.id, RETENTION)
        self.answers.append(stopped.status)
        return self.answers
