"""What every way of triggering many runs shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.blocking import durable_wait, raise_refusal
from trigger_celery.bridge.durable import Durable, current_durable, require_run
from trigger_celery.bridge.placing import asked
from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.bridge.request import build_run, check_key
from trigger_celery.bridge.tracing import send, sent_flow
from trigger_celery.engine import waiting
from trigger_celery.engine.batching import (
    announce_batch,
    batch_calls,
    fill_calls,
    read_batch,
)
from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.querying import read_outcomes
from trigger_celery.engine.triggering import NewRun, Origin, put_payloads_away
from trigger_celery.errors import (
    BatchTriggerError,
    InputError,
    PayloadTooLargeError,
    StoreError,
)
from trigger_celery.model.batch import BatchItemError, BatchStatus
from trigger_celery.model.idempotency import DEFAULT_TTL_MS, BatchKey
from trigger_celery.model.ids import batch_id, derived_id, run_id
from trigger_celery.model.packet import JSON, Packet, check_item
from trigger_celery.model.run import RunError
from trigger_celery.model.task_options import check_idempotency_ttl
from trigger_celery.model.wait import WaitInfo
from trigger_celery.sdk.batch_items import BatchItem, at_index
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.making import MakingOp
from trigger_celery.sdk.results import BatchResult, ResultOp, result_of
from trigger_celery.sdk.triggering import may_find
from trigger_celery.store.op import Call, Flow, Op

Target = tuple[TaskDefinition | None, str]
"""The task of an item: what is known of it here, and its id."""

Keys = str | Sequence[str]
"""An idempotency key: text, the parts of one, or what `idempotency_keys.create` made."""

TimeToLive = str | float | timedelta


_NONE: frozenset[str] = frozenset()
_NO_PAYLOAD = Packet("", JSON)


class _NewBatch:
    """The runs of a batch to come, and the items that cannot be triggered."""

    def __init__(
        self,
        bound: TriggerCelery,
        items: Sequence[tuple[Target, BatchItem]],
        key: BatchKey | None = None,
        *,
        strict: bool,
    ) -> None:
        self.id = ""
        self.key = key
        self.tasks = {task_id for (_, task_id), _ in items}
        self.runs: list[NewRun] = []
        self.count = len(items)
        self.errors: list[BatchItemError] = []
        self._strict = strict
        for index, (target, item) in enumerate(items):
            self._add(bound, index, target, item)

    def _add(self, bound: TriggerCelery, index: int, target: Target, item: BatchItem) -> None:
        definition, task_id = target
        try:
            run = build_run(bound, definition, task_id, item.payload, self._options(index, item))
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

    def _options(self, index: int, item: BatchItem) -> Mapping[str, Any]:
        if self.key is None or item.options.get("idempotency_key") is not None:
            return item.options
        own = {
            "idempotency_key": self.key.item(index),
            "idempotency_key_ttl": self.key.ttl_ms / 1000,
        }
        return {**item.options, **own}

    def place(self, path: str = "", call: str = "", *, noted: bool = True) -> Origin:
        """Give the batch and its runs their ids: in a run, those of their place in it."""
        durable = current_durable()
        if durable is None:
            self.id = self.id or batch_id()
            return Origin(batch=self.id)
        self.id = durable.id_of("batch", path)
        for index, run in enumerate(self.runs):
            run.id = derived_id("run", durable.run_id, f"{durable.attempt}:{path}:{index}")
        return durable.origin(path if noted else "", call if noted else "", self.id)

    def fill(self, bound: TriggerCelery, origin: Origin) -> list[Call]:
        """Return the calls that make its runs, once it is announced."""
        if self.id != origin.batch:  # another run began it: this one notes what it found instead
            origin = replace(origin, batch=self.id, path="", call="")
        return fill_calls(bound.scope, self.id, self.runs, bound.settings.run_retention, origin)

    def calls(self, bound: TriggerCelery, origin: Origin) -> list[Call]:
        """Return the calls that make it."""
        return batch_calls(
            bound.scope, self.id, self.runs, self.errors, bound.settings.run_retention, origin
        )

    def make(self, bound: TriggerCelery, origin: Origin) -> Flow[BatchHandle]:
        """Make it and return its runs, in the order of the items."""
        yield from put_payloads_away(bound.scope, self.runs)
        yield self.calls(bound, origin)
        if not may_find(*self.runs):
            made = tuple(RunHandle(run.id, run.placement.task) for run in self.runs)
            return BatchHandle(self.id, made)
        return (yield from self.handle(bound, frozenset(run.id for run in self.runs)))

    def handle(
        self, bound: TriggerCelery, made: frozenset[str] = _NONE, *, is_cached: bool = False
    ) -> Flow[BatchHandle]:
        """Return the handle of what is stored; runs that were not *made* were found."""
        stored = (yield from read_batch(bound.scope, self.id)).runs
        tasks = [run.placement.task for run in self.runs]
        if len(stored) != len(tasks):  # of a batch with the same key and other items
            tasks = ["" for _ in stored]
        handles = [
            RunHandle(run_id, task_id, run_id not in made)
            for run_id, task_id in zip(stored, tasks, strict=True)
        ]
        return BatchHandle(self.id, tuple(handles), is_cached)

    def claim(self, bound: TriggerCelery, origin: Origin) -> Flow[bool]:
        """Announce it, or become the batch that has its key; then tells whether that is whole.

        One whose maker broke off, or is at it, is not: making it goes on here.
        """
        assert self.key is not None  # noqa: S101 - callers looked
        self.id = yield announce_batch(
            bound.scope,
            self.id,
            self.runs,
            self.errors,
            bound.settings.run_retention,
            origin,
            self.key.text_of(self.tasks),
        )
        if self.id == origin.batch:
            return False
        found = yield from read_batch(bound.scope, self.id)
        if found.is_sealed or found.run_count != len(self.runs):
            return True
        for run, stored in zip(self.runs, found.runs, strict=True):
            run.id = stored
        return False

    def failure(self, phase: str, problem: object) -> BatchTriggerError:
        """Return the error of a batch that could not be triggered."""
        return BatchTriggerError(
            f"the batch {self.id} of {self.count:,} runs could not be triggered: {problem}",
            phase=phase,
            batch_id=self.id,
            item_count=self.count,
        )


def _key_of(key: Keys | None, ttl: TimeToLive | None) -> BatchKey | None:
    ttl_ms = check_idempotency_ttl(ttl, DEFAULT_TTL_MS, key)
    return None if key is None else BatchKey(check_key(key), ttl_ms)


def batch_trigger(
    items: Sequence[tuple[Target, BatchItem]],
    name: str,
    key: Keys | None = None,
    ttl: TimeToLive | None = None,
    *,
    strict: bool,
) -> MakingOp[BatchHandle]:
    """Return the operation that makes a run per item; bad input raises now, naming the item.

    Unless *strict*, an item whose payload is too large is kept by a run that failed. A batch that
    has the *key* already is returned as it is.
    """
    bound = context.current()
    batch = _NewBatch(bound, items, _key_of(key, ttl), strict=strict)

    return MakingOp(
        bound.store,
        _creation(bound, batch, name),
        name,
        lambda: _placed_later(bound, batch, name),
    )


def _placed_later(
    bound: TriggerCelery, batch: _NewBatch, name: str
) -> tuple[BatchHandle, Callable[[], Op[BatchHandle]]]:
    """Give a batch to come its place and its ids; return its handle, and what makes it."""
    durable = current_durable()
    path = durable.scope_of(name).next_path() if durable is not None else ""
    batch.place(path)
    runs = tuple(RunHandle(run.id, run.placement.task) for run in batch.runs)
    handle = BatchHandle(batch.id, runs)
    return handle, lambda: bound.op(_creation(bound, batch, name, path), name)


def _creation(
    bound: TriggerCelery, batch: _NewBatch, name: str, path: str = ""
) -> Flow[BatchHandle]:
    """Make a batch; in a run at the next place, or at the one it was given."""
    durable = current_durable()
    call = asked(name, *batch.runs) if durable is not None else name
    if durable is not None:
        path, _ = durable.begin(call, path)
    origin = batch.place(path, call)
    sent = send(bound, origin, path, batch.runs)
    try:
        made_at = origin if sent is None else sent.origin
        making = (
            batch.make(bound, made_at)
            if batch.key is None
            else _make_once(bound, batch, made_at, path, call)
        )
        return (yield from sent_flow(sent, making))
    except StoreError as problem:
        raise batch.failure("create", problem) from problem


def _make_once(
    bound: TriggerCelery, batch: _NewBatch, origin: Origin, path: str, call: str
) -> Flow[BatchHandle]:
    """Make a batch that has a key, or find it."""
    durable = current_durable()
    if durable is not None and (found := durable.found_at(path)):
        batch.id = found
        return (yield from batch.handle(bound, is_cached=True))
    is_whole = yield from batch.claim(bound, origin)
    is_own = batch.id == origin.batch
    if durable is not None and not is_own:
        text = f"{call}\x1f{batch.id}"
        answer = yield waiting.wait_for(bound.scope, durable.run_id, durable.epoch, path, text)
        raise_refusal(durable, answer, path, text, "")
    if not is_whole:
        yield from put_payloads_away(bound.scope, batch.runs)
        yield batch.fill(bound, origin)
    made = frozenset(run.id for run in batch.runs) if is_own else _NONE
    return (yield from batch.handle(bound, made, is_cached=not is_own))


def batch_trigger_and_wait(
    items: Sequence[tuple[Target, BatchItem]],
    name: str,
    key: Keys | None = None,
    ttl: TimeToLive | None = None,
) -> ResultOp[BatchResult[Any], list[Any]]:
    """Return the operation that makes a run per item and waits until all of them are final.

    It waits for the batch that has the *key* already, if there is one.
    """
    bound = context.current()
    require_run(f"{name}()")
    batch = _NewBatch(bound, items, _key_of(key, ttl), strict=False)
    return ResultOp(bound.store, _wait_flow(bound, batch, name), name)


def _wait_flow(bound: TriggerCelery, batch: _NewBatch, name: str) -> Flow[BatchResult[Any]]:
    durable = require_run(f"{name}()")
    call = asked(name, *batch.runs)
    position = durable.begin(call)
    origin = batch.place(position[0], noted=False)
    sent = send(bound, origin, position[0], batch.runs)
    try:
        made_at = origin if sent is None else sent.origin
        calls = yield from _calls_to_wait(bound, batch, made_at, durable, position[0])
        batch.runs.clear()  # the calls have all of it, until they are sent
        text = call if batch.id == origin.batch else f"{call}\x1f{batch.id}"
        info = WaitInfo("batch", batch_id=batch.id, run_count=batch.count)
        yield from durable_wait(durable, bound.scope, position, text, batch.id, info, calls, sent)
    except StoreError as problem:
        raise batch.failure("create", problem) from problem
    found = yield from read_batch(bound.scope, batch.id)
    if found.status is BatchStatus.ABORTED:
        raise batch.failure("wait", "its runs were not all created within 30 minutes")
    outcomes = yield from read_outcomes(bound.scope, found.runs)
    return BatchResult(batch.id, [result_of(outcome) for outcome in outcomes])


def _calls_to_wait(
    bound: TriggerCelery, batch: _NewBatch, origin: Origin, durable: Durable, path: str
) -> Flow[list[Call]]:
    """Return the calls that make the batch to wait for; none when it is there."""
    if found := durable.found_at(path):
        batch.id = found
        return []
    is_known = durable.knows(path)
    if batch.key is not None and not is_known and (yield from batch.claim(bound, origin)):
        return []
    if not is_known:
        yield from put_payloads_away(bound.scope, batch.runs)
    if batch.key is not None and not is_known:
        return batch.fill(bound, origin)
    return batch.calls(bound, origin)
