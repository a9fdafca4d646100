"""`trigger_on_commit`: runs that are made when the transaction is committed, and only then."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, fields
from typing import Any, overload

from django.db import transaction

from trigger_celery.errors import InvalidOptionError, SyncInAsyncError
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.making import MakingOp
from trigger_celery.sdk.task import Task
from trigger_celery.sdk.triggering import trigger, unvalidated
from trigger_celery.store.op import Op

logger = logging.getLogger("trigger_celery.django")


@dataclass(frozen=True, slots=True, eq=False)
class CommitHandle(RunHandle):
    """The handle of a run that may be still to come.

    `is_created`: the transaction was committed, and the run is there. With an idempotency key or
    a debounce key that may be a run from before: then `id` is that run's from the commit on.
    """

    is_created: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class BatchCommitHandle(BatchHandle):
    """The handle of a batch that may be still to come, with the ids of its runs.

    `is_created`: the transaction was committed, and the batch is there. With idempotency keys
    that may be a batch, or runs, from before: then the ids are those from the commit on.
    """

    is_created: bool = False


@overload
def trigger_on_commit(
    task: Op[RunHandle], /, *, using: str | None = None, robust: bool = False
) -> CommitHandle: ...
@overload
def trigger_on_commit(
    task: Op[BatchHandle], /, *, using: str | None = None, robust: bool = False
) -> BatchCommitHandle: ...
@overload
def trigger_on_commit(
    task: Task[Any, Any] | str,
    payload: Any = None,
    /,
    *,
    using: str | None = None,
    robust: bool = False,
    **options: Any,
) -> CommitHandle: ...
def trigger_on_commit(
    task: Task[Any, Any] | str | Op[Any],
    payload: Any = None,
    /,
    *,
    using: str | None = None,
    robust: bool = False,
    **options: Any,
) -> CommitHandle | BatchCommitHandle:
    """Trigger *task* when the current transaction is committed; the handle's id is known at once.

    Nothing is made if it is rolled back, be it to a savepoint around this call. Outside of a
    transaction the run is made before this returns. For sync code. The payload is taken and
    validated now: bad input raises here, what happens to a dict afterwards changes nothing.

    Args:
        task: a task, or the id of one; or an operation that makes runs and has not run yet:
            `my_task.trigger(…)`, `my_task.batch_trigger([…])`, the same of `tasks`,
            `batch.trigger([…])`, `batch.trigger_by_task([…])`. Other operations are refused.
        payload: that of the run. Pass ids of database rows, not the rows.
        using: the database whose transaction counts; the default one.
        robust: what if the store cannot be reached at the commit. It is logged, as
            `commit_trigger_failed`; False raises it as well to who commits, whose data is in the
            database, and keeps later callbacks of the transaction from being called.
        options: those of `trigger`; an operation has its own.

    Raises InputError, NotBoundError, and SyncInAsyncError in a coroutine.
    """
    try:
        _refuse_in_coroutine()
        operation = _operation(task, payload, options)
    except BaseException:
        if isinstance(task, Op):
            task.close()  # it was refused: that it is never run is no mistake of its own
        raise
    answer, make = operation.later()
    handle = _handle(answer)

    def committed() -> None:
        try:
            made = make().sync()
        except Exception as problem:
            logger.error(
                "the transaction is committed, but %s was not triggered: %s",
                _described(answer),
                problem,
                extra={"action": "commit_trigger_failed", "run_id": answer.id},
            )
            if not robust:
                raise
            return
        _complete(handle, made)

    transaction.on_commit(committed, using=using)
    return handle


def _operation(task: Any, payload: Any, options: dict[str, Any]) -> MakingOp[Any]:
    """Return the operation to run at the commit. Raises InputError."""
    if isinstance(task, Task):
        return trigger(task.definition, task.id, payload, options)
    if isinstance(task, str):
        return trigger(unvalidated(task), task, payload, options)
    if isinstance(task, MakingOp):
        if payload is None and not options:
            return task
        given = "a payload" if payload is not None else ", ".join(options)
        raise InvalidOptionError(
            f"trigger_on_commit got an operation, which has its payload and its options, and {given}: "
            "pass all of it to the operation, as in trigger_on_commit(my_task.trigger(payload, …))"
        )
    what = f"{task!r:.80}"
    if isinstance(task, Op):
        what = f"{task!r:.80}: it makes no run, so there is no id to know before the commit"
    raise InvalidOptionError(
        "trigger_on_commit takes a task or its id, or an operation that makes runs, such as "
        f"my_task.batch_trigger([…]), not {what}. For what else is to happen at the commit there is "
        "transaction.on_commit(lambda: ….sync())"
    )


def _handle(answer: RunHandle | BatchHandle) -> CommitHandle | BatchCommitHandle:
    if isinstance(answer, BatchHandle):
        return BatchCommitHandle(answer.id, answer.runs)
    return CommitHandle(answer.id, answer.task_identifier)


def _complete(handle: CommitHandle | BatchCommitHandle, made: RunHandle | BatchHandle) -> None:
    """Set what only the commit shows; handles are frozen for everybody else."""
    for field in fields(made):
        object.__setattr__(handle, field.name, getattr(made, field.name))
    object.__setattr__(handle, "is_created", True)


def _described(answer: RunHandle | BatchHandle) -> str:
    if isinstance(answer, BatchHandle):
        return f"batch {answer.id} of {answer.run_count:,} runs"
    return f"run {answer.id} of {answer.task_identifier}"


def _refuse_in_coroutine() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SyncInAsyncError(
        "trigger_on_commit in a coroutine: transactions belong to threads, there is none here. Call "
        "it in the function that has the transaction and that you await by sync_to_async; or, "
        "without a transaction, write `await my_task.trigger(…)`."
    )
