"""`batch`: many runs at once, of one task or of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.engine.batching import no_batch, read_batch
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.batch import Batch
from trigger_celery.model.ids import is_batch_id
from trigger_celery.model.task_options import check_task_id
from trigger_celery.sdk import batching
from trigger_celery.sdk.batch_items import BatchItem, check_size
from trigger_celery.sdk.batching import Target
from trigger_celery.sdk.handle import BatchHandle
from trigger_celery.sdk.results import BatchResult, ResultOp
from trigger_celery.sdk.task import Task
from trigger_celery.sdk.triggering import unvalidated
from trigger_celery.store.op import Op


def trigger(
    items: Iterable[Mapping[str, Any]],
    /,
    *,
    idempotency_key: batching.Keys | None = None,
    idempotency_key_ttl: batching.TimeToLive | None = None,
) -> Op[BatchHandle]:
    """Make a run for each of up to 1,000 items `{"id": task id, "payload": …, "options": {…}}`.

    An item whose payload is over the limit does not refuse the batch: its place is taken by a run
    that failed (SYSTEM_FAILURE), and the batch ends as PARTIAL_FAILED. Any other bad item
    refuses the whole batch before anything is stored. Raises BatchTriggerError when the server
    cannot be reached.

    With an *idempotency_key* the batch that has the key already, for the same set of tasks, is
    returned as it is, with `is_cached`: the items of this call are checked and dropped. Bare text
    counts in the run, outside of one everywhere. It counts for *idempotency_key_ttl*, by default
    30 days, as long as the batch is kept; that of an ABORTED batch is free again. Items without a
    key of their own get `<key>-<index>`.
    """
    return batching.batch_trigger(
        _by_id(items), "batch.trigger", idempotency_key, idempotency_key_ttl, strict=False
    )


def trigger_and_wait(
    items: Iterable[Mapping[str, Any]],
    /,
    *,
    idempotency_key: batching.Keys | None = None,
    idempotency_key_ttl: batching.TimeToLive | None = None,
) -> ResultOp[BatchResult[Any], list[Any]]:
    """Make the runs as `trigger` does and wait until all are final; results in the items' order.

    A run that fails fails nothing else. With an *idempotency_key* it waits for the batch that has
    the key already, if there is one. Raises OutsideRunError outside of a run.
    """
    return batching.batch_trigger_and_wait(
        _by_id(items), "batch.trigger_and_wait", idempotency_key, idempotency_key_ttl
    )


def trigger_by_task(
    items: Iterable[Mapping[str, Any]],
    /,
    *,
    idempotency_key: batching.Keys | None = None,
    idempotency_key_ttl: batching.TimeToLive | None = None,
) -> Op[BatchHandle]:
    """Make a run for each item `{"task": task object, "payload": …, "options": {…}}`.

    Payloads are validated by the tasks' schemas, here and now.
    """
    return batching.batch_trigger(
        _by_task(items), "batch.trigger_by_task", idempotency_key, idempotency_key_ttl, strict=False
    )


def trigger_by_task_and_wait(
    items: Iterable[Mapping[str, Any]],
    /,
    *,
    idempotency_key: batching.Keys | None = None,
    idempotency_key_ttl: batching.TimeToLive | None = None,
) -> ResultOp[BatchResult[Any], list[Any]]:
    """Make the runs as `trigger_by_task` does and wait until all are final."""
    return batching.batch_trigger_and_wait(
        _by_task(items), "batch.trigger_by_task_and_wait", idempotency_key, idempotency_key_ttl
    )


def retrieve(batch: str | BatchHandle) -> Op[Batch]:
    """Return the batch: its status, its runs' ids, items that failed. Raises BatchNotFoundError."""
    batch_id = getattr(batch, "id", batch)
    if not isinstance(batch_id, str):
        raise InvalidOptionError(f"{batch!r} is not a batch: pass its handle or id (batch_…)")
    if not is_batch_id(batch_id):
        raise no_batch(batch_id)
    bound = context.current()
    return bound.op(read_batch(bound.scope, batch_id), "batch.retrieve")


def _by_id(items: Iterable[Mapping[str, Any]]) -> list[tuple[Target, BatchItem]]:
    found = []
    for index, item in enumerate(check_size(items)):
        task_id = check_task_id(_field(item, "id", index))
        found.append(((unvalidated(task_id), task_id), _item(item)))
    return found


def _by_task(items: Iterable[Mapping[str, Any]]) -> list[tuple[Target, BatchItem]]:
    found: list[tuple[Target, BatchItem]] = []
    for index, item in enumerate(check_size(items)):
        task = _field(item, "task", index)
        if not isinstance(task, Task):
            raise InvalidOptionError(
                f"batch item {index}: task={task!r} is not a task; with ids there is batch.trigger"
            )
        found.append(((task.definition, task.id), _item(item)))
    return found


def _field(item: Any, name: str, index: int) -> Any:
    if isinstance(item, Mapping) and name in item and set(item) <= {name, "payload", "options"}:
        return item[name]
    raise InvalidOptionError(
        f"batch item {index} is not {{{name!r}: …, 'payload': …, 'options': {{…}}}}: {item!r:.80}"
    )


def _item(item: Mapping[str, Any]) -> BatchItem:
    return BatchItem(item.get("payload"), item.get("options") or {})
