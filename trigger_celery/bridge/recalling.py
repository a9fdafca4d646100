"""What a run has noted in the store, read when its code first needs it."""

from __future__ import annotations

from trigger_celery.bridge.durable import Durable
from trigger_celery.engine.waiting import Record, read_record
from trigger_celery.store.op import Flow


def record_of(scope: str, durable: Durable) -> Flow[Record]:
    """Return the run's record; a later attempt reads what the steps of the earlier ones left."""
    if durable.record is None:
        found = Record()
        if durable.attempt > 1:
            stored = yield from read_record(scope, durable.run_id)
            found = Record({}, stored.steps)
        if durable.record is None:  # else another task of the run was faster
            durable.record = found
    return durable.record
