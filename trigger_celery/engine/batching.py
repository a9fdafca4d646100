"""Batches: runs that are made, read and waited for together."""

from __future__ import annotations

import json
from collections.abc import Sequence

from trigger_celery.engine.codec import fields_of, instant_of
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.triggering import NewRun, Origin, create_calls
from trigger_celery.errors import BatchNotFoundError
from trigger_celery.model.batch import Batch, BatchItemError, BatchStatus
from trigger_celery.store.op import Call, Flow


def batch_calls(
    scope: str,
    batch_id: str,
    runs: Sequence[NewRun],
    errors: Sequence[BatchItemError],
    retention: int,
    origin: Origin,
) -> list[Call]:
    """Return the calls that make a batch: it is announced, its runs are created, it is sealed.

    Sent again, whole or from where it broke off, they make nothing twice.
    """
    return [
        announce_batch(scope, batch_id, runs, errors, retention, origin),
        *fill_calls(scope, batch_id, runs, retention, origin),
    ]


def fill_calls(
    scope: str, batch_id: str, runs: Sequence[NewRun], retention: int, origin: Origin
) -> list[Call]:
    """Return the calls that create the runs of an announced batch and seal it."""
    return [
        *create_calls(scope, runs, retention, origin),
        SCRIPTS.seal_batch(scope, id=batch_id),
    ]


def announce_batch(
    scope: str,
    batch_id: str,
    runs: Sequence[NewRun],
    errors: Sequence[BatchItemError],
    retention: int,
    origin: Origin,
    keyed: str = "",
) -> Call:
    """Return the call that announces a batch; answers which batch counts, another one if *keyed*."""
    described = [
        [error.index, error.task_identifier, error.error, error.error_code] for error in errors
    ]
    return SCRIPTS.create_batch(
        scope,
        [run.id for run in runs],
        lambda reply: reply[1].decode(),
        id=batch_id,
        retention=retention,
        parent=origin.parent,
        errors=json.dumps(described, ensure_ascii=False) if described else "",
        keyed=keyed,
    )


def no_batch(batch_id: str) -> BatchNotFoundError:
    """Return the error for a batch that is not there."""
    return BatchNotFoundError(
        f"no batch {batch_id!r}: it was never triggered in this environment, or its retention "
        "has passed"
    )


def read_batch(scope: str, batch_id: str) -> Flow[Batch]:
    """Return the batch with the ids of its runs. Raises BatchNotFoundError."""
    reply = yield SCRIPTS.read_batch(scope, id=batch_id)
    if not reply:
        raise no_batch(batch_id)
    fields = fields_of(reply[0])
    return Batch(
        id=batch_id,
        status=BatchStatus(fields["status"]),
        run_count=int(fields["count"]),
        runs=tuple(run.decode() for run in reply[1]),
        errors=tuple(BatchItemError(*error) for error in json.loads(fields.get("errors", "[]"))),
        parent_id=fields.get("parent"),
        idempotency_key=fields.get("key"),
        is_sealed="sealed" in fields,
        created_at=instant_of(fields, "created"),
        completed_at=instant_of(fields, "completed"),
    )
