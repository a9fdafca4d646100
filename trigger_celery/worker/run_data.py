"""Metadata and streams of an attempt: read when it begins, stored before it ends."""

from __future__ import annotations

import logging
import time

from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.piping import drain
from trigger_celery.engine.attempts import Grant
from trigger_celery.errors import StoreError, StoreUnavailableError
from trigger_celery.store.op import Flow, Sleep

logger = logging.getLogger("trigger_celery.metadata")

LEAVE_BUDGET = 60.0
"""Seconds for which the end of an attempt waits for a server that is away."""
_TRY_AGAIN = 0.3


def may_have_data(grant: Grant) -> bool:
    """Whether the run may have metadata already: first attempts know."""
    return grant.has_data or grant.attempt > 1 or grant.resumed


def has_data(durable: Durable) -> bool:
    """Whether the attempt has something that must be stored before it ends."""
    return durable.metadata is not None or durable.pipes is not None


def store_data(durable: Durable) -> Flow[None]:
    """Wait for the pipes of the attempt, then for its metadata. What is given up is logged."""
    if durable.pipes is not None:
        yield from drain(durable.run_id, durable.pipes)
    if durable.metadata is None:
        return
    deadline = time.monotonic() + LEAVE_BUDGET
    while True:
        try:
            yield from durable.metadata.flush()
            return
        except StoreError as problem:
            late = time.monotonic() > deadline or durable.parking.stopped is not None
            if late or not isinstance(problem, StoreUnavailableError):
                logger.error(
                    "the last changes of the metadata of run %s are lost: %s",
                    durable.run_id,
                    problem,
                    extra={"action": "metadata_lost", "run_id": durable.run_id},
                )
                return
        yield Sleep(_TRY_AGAIN)
