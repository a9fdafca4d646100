"""How a run waits: the call is noted, the run's slot given back, and what is refused explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trigger_celery.bridge.durable import Durable, Scope, mismatch
from trigger_celery.engine import waiting
from trigger_celery.engine.waitpoints import no_token
from trigger_celery.errors import (
    RunLeaseLostError,
    StateError,
    TooManyCallsError,
    WaitCycleError,
)
from trigger_celery.model.ids import is_token_id
from trigger_celery.model.wait import WaitInfo
from trigger_celery.store.op import Call, Flow, Perform

if TYPE_CHECKING:
    from trigger_celery.bridge.tracing import Sent


def durable_wait(
    durable: Durable,
    scope_name: str,
    position: tuple[str, Scope],
    call: str,
    target: str,
    info: WaitInfo,
    prepare: list[Call] | None = None,
    sent: Sent | None = None,
) -> Flow[None]:
    """Wait for *target* in a run. *prepare* is sent in the same round trip, and emptied by it.

    *sent*: the span of what is sent, if telemetry is on.
    """
    path, scope = position
    if scope.beside:
        raise StateError(
            f"{call}: what wait_until() was given by a sync task cannot wait durably: the task's "
            "thread would not know of it. Wait in the task itself, or make it `async def`."
        )
    if durable.metadata is not None or durable.pipes is not None:
        yield from durable.store_effects()
    parking = durable.parking
    ticket = parking.begin(target, scope, info)
    rests = durable.rests() if ticket.park else {}
    try:
        wait_for = waiting.wait_for(
            scope_name, durable.run_id, durable.epoch, path, call, target, parking.post,
            ticket.park, rests,
        )  # fmt: skip
        answer: waiting.Answer = (yield [*(prepare or ()), wait_for])[-1]
    except BaseException as problem:
        if sent is not None:
            sent.end(problem)
        yield Perform(ticket.abandon, ticket.abandon_sync)
        raise
    if sent is not None:
        sent.end()
    if answer.word not in ("waiting", "parked"):
        ticket.drop()
        raise_refusal(durable, answer, path, call, target)
        if durable.telemetry is not None and durable.is_last_known(path, scope):
            durable.telemetry.resumed(info.type, target)
        return
    if answer.word == "parked":
        durable.noted(rests)
    # A run may wait for days: what was sent, such as the payloads of a batch, goes.
    del wait_for, answer, rests
    if prepare:
        prepare.clear()
    if durable.telemetry is None:
        yield Perform(ticket.wait, ticket.wait_sync)
    else:
        yield from durable.telemetry.wait(info.type, target, Perform(ticket.wait, ticket.wait_sync))


def raise_refusal(
    durable: Durable, answer: waiting.Answer, path: str, call: str, target: str
) -> None:
    """Raise the error of an answer that refuses the call."""
    if answer.word == "stale":
        durable.parking.check()
        raise RunLeaseLostError(f"run {durable.run_id} belongs to another worker now")
    if answer.word == "mismatch":
        raise mismatch(durable.run_id, path, answer.more[0].partition("\x1f")[0], call)
    if answer.word == "cycle":
        chain = " <- ".join(answer.more[0].split())
        raise WaitCycleError(
            f"run {durable.run_id} would wait for itself"
            if target == durable.run_id
            else f"run {durable.run_id} would wait for {target}, which waits for it: {chain}"
        )
    if answer.word == "unknown" and is_token_id(target):
        raise no_token(target)
    if answer.word == "unknown":
        raise StateError(f"there is no {target} to wait for")
    if answer.word == "full":
        raise TooManyCallsError(
            f"run {durable.run_id} makes more than 10,000 durable calls in one attempt: split it "
            "into child runs"
        )
