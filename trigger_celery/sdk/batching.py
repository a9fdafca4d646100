"""What every way of triggering many runs shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.durable import current_durable, durable_wait, require_run
from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.bridge.request import build_run
from trigger_celery.bridge.tracing import send, sent_flow
from trigger_celery.engine.batching import batch_calls, read_batch
from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.querying import read_outcomes
from trigger_celery.engine.triggering import NewRun, Origin, put_payloads_away
from trigger_celery.errors import BatchTriggerError, InputError, PayloadTooLargeError, StoreError
from trigger_celery.model.batch import BatchItemError, BatchStatus
from trigger_celery.model.ids import batch_id, derived_id, run_id
from trigger_celery.model.packet import JSON, Packet, check_item
from trigger_celery.model.run import RunError
from trigger_celery.model.wait import WaitInfo
from trigger_celery.sdk.batch_items import BatchItem, at_index
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.results import BatchResult, ResultOp, result_of
from trigger_celery.sdk.triggering import asked, may_find
from trigger_celery.store.op import Call, Flow, Op

Target = tuple[TaskDefinition | None, str]
"""The task of an item: what is known of it here, and its id."""


_NO_PAYLOAD = Packet("", JSON)


class _NewBatch:
    """The runs of a batch to come, and the items that cannot be triggered."""

    def __init__(
        self, bound: TriggerCelery, items: Sequence[tuple[Target, BatchItem]], *, strict: bool
    ) -> None:
        self.id = ""
        self.runs: list[NewRun] = []
        self.count = len(items)
        self.errors: list[BatchItemError] = []
        self._strict = strict
        for index, (target, item) in enumerate(items):
            self._add(bound, index, target, item)

    def _add(self, bound: TriggerCelery, index: int, target: Target, item: BatchItem) -> None:
        definition, task_id = target
        try:
            run = build_run(bound, definition, task_id, item.payload, item.options)
            check_item(run.payload)
            self.runs.append(run)
        except PayloadTooLargeError as problem:
            if self._strict:
                raise at_index(problem, index) from problem
            # Its place in the batch is kept by a run that has failed already.
            code = "PAYLOAD_TOO_LARGE"
            self.errors.append(BatchItemError(index, task_id, str(problem), code))
            error = dump_error(RunError.internal(code, str(problem)))
            place = bound.placement(definition, task_id)
            self.runs.append(NewRun(run_id(), place, _NO_PAYLOAD, failed=error))
        except InputError as problem:
            raise at_index(problem, index) from problem

    def place(self, path: str = "", call: str = "", *, noted: bool = True) -> Origin:
        """Give the batch and its runs their ids: in a run, those of their place in it."""
        durable = current_durable()
        if durable is None:
            self.id = batch_id()
            return Origin(batch=self.id)
        self.id = durable.id_of("batch", path)
        for index, run in enumerate(self.runs):
            run.id = derived_id("run", durable.run_id, f"{durable.attempt}:{path}:{index}")
        return durable.origin(path if noted else "", call if noted else "", self.id)

    def calls(self, bound: TriggerCelery, origin: Origin) -> list[Call]:
        """Return the calls that make it."""
        return batch_calls(
            bound.scope, self.id, self.runs, self.errors, bound.settings.run_retention, origin
        )

    def make(self, bound: TriggerCelery, origin: Origin) -> Flow[tuple[RunHandle, ...]]:
        """Make it and return its runs, in the order of the items."""
        yield from put_payloads_away(bound.scope, self.runs)
        yield self.calls(bound, origin)
        if not may_find(*self.runs):
            return tuple(RunHandle(run.id, run.placement.task) for run in self.runs)
        found = (yield from read_batch(bound.scope, self.id)).runs
        return tuple(
            RunHandle(run_id, run.placement.task, run_id != run.id)
            for run_id, run in zip(found, self.runs, strict=True)
        )

    def failure(self, phase: str, problem: object) -> BatchTriggerError:
        """Return the error of a batch that could not be triggered."""
        return BatchTriggerError(
            f"the batch {self.id} of {self.count:,} runs could not be triggered: {problem}",
            phase=phase,
            batch_id=self.id,
            item_count=self.count,
        )


def batch_trigger(
    items: Sequence[tuple[Target, BatchItem]], name: str, *, strict: bool
) -> Op[BatchHandle]:
    """Return the operation that makes a run per item; bad input raises now, naming the item.

    Unless *strict*, an item whose payload is too large is kept by a run that failed.
    """
    bound = context.current()
    batch = _NewBatch(bound, items, strict=strict)

    def flow() -> Flow[BatchHandle]:
        durable = current_durable()
        call = asked(name, *batch.runs) if durable is not None else name
        path = durable.begin(call)[0] if durable is not None else ""
        origin = batch.place(path, call)
        sent = send(bound, origin, path, batch.runs)
        try:
            made_at = origin if sent is None else sent.origin
            handles = yield from sent_flow(sent, batch.make(bound, made_at))
        except StoreError as problem:
            raise batch.failure("create", problem) from problem
        return BatchHandle(batch.id, handles)

    return bound.op(flow(), name)


def batch_trigger_and_wait(
    items: Sequence[tuple[Target, BatchItem]], name: str
) -> ResultOp[BatchResult[Any], list[Any]]:
    """Return the operation that makes a run per item and waits until all of them are final."""
    bound = context.current()
    require_run(f"{name}()")
    batch = _NewBatch(bound, items, strict=False)
    return ResultOp(bound.store, _wait_flow(bound, batch, name), name)


def _wait_flow(bound: TriggerCelery, batch: _NewBatch, name: str) -> Flow[BatchResult[Any]]:
    durable = require_run(f"{name}()")
    call = asked(name, *batch.runs)
    position = durable.begin(call)
    origin = batch.place(position[0], noted=False)
    info = WaitInfo("batch", batch_id=batch.id, run_count=batch.count)
    if not durable.knows(position[0]):
        try:
            yield from put_payloads_away(bound.scope, batch.runs)
        except StoreError as problem:
            raise batch.failure("create", problem) from problem
    sent = send(bound, origin, position[0], batch.runs)
    calls = batch.calls(bound, origin if sent is None else sent.origin)
    batch.runs.clear()  # the calls have all of it, until they are sent
    try:
        yield from durable_wait(durable, bound.scope, position, call, batch.id, info, calls, sent)
    except StoreError as problem:
        raise batch.failure("create", problem) from problem
    found = yield from read_batch(bound.scope, batch.id)
    if found.status is BatchStatus.ABORTED:
        raise batch.failure("wait", "its runs were not all created within 30 minutes")
    outcomes = yield from read_outcomes(bound.scope, found.runs)
    return BatchResult(batch.id, [result_of(outcome) for outcome in outcomes])
