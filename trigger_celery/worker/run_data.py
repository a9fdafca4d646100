"""What an attempt begins with, read for it; its metadata, streams and output, stored before it ends."""

from __future__ import annotations

import logging
import time

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.celery_side import load_side
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.live_metadata import load
from trigger_celery.bridge.piping import drain
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine import waiting
from trigger_celery.engine.attempts import Ending, Grant, fetch_payload
from trigger_celery.engine.continuing import read_celery, was_lost
from trigger_celery.engine.offloading import put_away
from trigger_celery.errors import RunLeaseLostError, StoreError, StoreUnavailableError
from trigger_celery.model.packet import MAX_INLINE, Packet
from trigger_celery.store.op import Flow, Sleep

logger = logging.getLogger("trigger_celery.metadata")

LEAVE_BUDGET = 60.0
"""Seconds for which the begin and the end of an attempt wait for a server that is away."""
_TRY_AGAIN = 0.3


def has_more(grant: Grant) -> bool:
    """Whether the attempt begins with something that did not come with its run."""
    return _may_have_data(grant) or grant.payload_apart


def _may_have_data(grant: Grant) -> bool:
    """Whether the run may have metadata already: first attempts know."""
    return grant.has_data or grant.attempt > 1 or grant.resumed


def _is_plain(grant: Grant) -> bool:
    """Whether the run is of a Celery task, which may have given it back itself."""
    definition = REGISTRY.tasks.get(grant.task)
    return definition is not None and definition.plain is not None


def read_more(durable: Durable, trigger: TriggerCelery, grant: Grant) -> Flow[None]:
    """Read what the attempt begins with. That the server is away is no failure of the run.

    Raises RunLeaseLostError when it stays away: the run goes back to its queue.
    """
    deadline = time.monotonic() + LEAVE_BUDGET
    while True:
        durable.parking.check()
        try:
            yield from _read(durable, trigger, grant)
            return
        except StoreUnavailableError as problem:
            logger.warning(
                "run %s waits for the server before it begins: %s",
                durable.run_id,
                problem,
                extra={"action": "begin_waits", "run_id": durable.run_id},
            )
            if time.monotonic() > deadline:
                raise RunLeaseLostError(f"run {durable.run_id} could not begin") from problem
        yield Sleep(_TRY_AGAIN)


def _read(durable: Durable, trigger: TriggerCelery, grant: Grant) -> Flow[None]:
    if grant.resumed:
        durable.record = yield from waiting.read_record(trigger.scope, grant.id)
    if _may_have_data(grant):
        yield from load(durable, trigger, resumed=grant.resumed)
    if grant.has_data or (grant.attempt > 1 and _is_plain(grant)):
        side = load_side((yield from read_celery(trigger.scope, grant.id)))
        if grant.attempt > 1 and "delivery_info" in side:
            info = side["delivery_info"]
            info["redelivered"] = info.get("redelivered") or (
                yield from was_lost(trigger.scope, grant.id)
            )
        grant.celery = side
    yield from fetch_payload(trigger.scope, grant)


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


def may_have_large_output(ending: Ending) -> bool:
    """Whether the output may belong in the payload store: quick, and no for nearly all runs."""
    return len(ending.data) * 4 > MAX_INLINE and ending.kind == "done"


def put_output_away(scope: str, ending: Ending) -> Flow[None]:
    """Move a large output to the payload store, if there is one.

    While that cannot be used, the output stays in the ending: Redis keeps it, and nothing is lost.
    """
    packet = Packet(ending.data, str(ending.detail))
    try:
        [kept] = yield from put_away(scope, [(ending.run_id, packet)])
    except StoreError as problem:
        logger.warning(
            "the output of run %s is kept in Redis, because the payload store cannot be used: %s",
            ending.run_id,
            problem,
            extra={"action": "output_kept_in_redis", "run_id": ending.run_id},
        )
        return
    ending.detail, ending.data = kept.type, kept.data
