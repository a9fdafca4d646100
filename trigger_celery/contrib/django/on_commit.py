"""`trigger_on_commit`: a run that is made when the transaction is committed, and only then."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.errors import InvalidOptionError, SyncInAsyncError
from trigger_celery.sdk.handle import RunHandle
from trigger_celery.sdk.task import Task
from trigger_celery.sdk.triggering import trigger_later, unvalidated

logger = logging.getLogger("trigger_celery.django")


@dataclass(frozen=True, slots=True, eq=False)
class CommitHandle(RunHandle):
    """The handle of a run that may be still to come.

    `is_created`: the transaction was committed, and the run is there. With an idempotency key or
    a debounce key that may be a run from before: then `id` is that run's from the commit on.
    """

    is_created: bool = False


def trigger_on_commit(
    task: Task[Any, Any] | str,
    payload: Any = None,
    /,
    *,
    using: str | None = None,
    robust: bool = False,
    **options: Any,
) -> CommitHandle:
    """Trigger *task* when the current transaction is committed; the handle's id is known at once.

    Nothing is made if it is rolled back, be it to a savepoint around this call. Outside of a
    transaction the run is made before this returns. For sync code. The payload is taken and
    validated now: bad input raises here, what happens to a dict afterwards changes nothing.

    Args:
        task: a task, or the id of one.
        payload: that of the run. Pass ids of database rows, not the rows.
        using: the database whose transaction counts; the default one.
        robust: what if the store cannot be reached at the commit. It is logged, as
            `commit_trigger_failed`; False raises it as well to who commits, whose data is in the
            database, and keeps later callbacks of the transaction from being called.
        options: those of `trigger`.

    Raises InputError, NotBoundError, and SyncInAsyncError in a coroutine.
    """
    _refuse_in_coroutine()
    definition: TaskDefinition | None
    if isinstance(task, Task):
        definition, task_id = task.definition, task.id
    elif isinstance(task, str):
        definition, task_id = unvalidated(task), task
    else:
        raise InvalidOptionError(
            f"trigger_on_commit takes a task or its id, not {task!r:.80}. For what else is to "
            "happen at the commit there is transaction.on_commit(lambda: ….sync())"
        )
    run_id, make = trigger_later(definition, task_id, payload, options)
    handle = CommitHandle(run_id, task_id)

    def committed() -> None:
        try:
            made = make().sync()
        except Exception as problem:
            logger.error(
                "the transaction is committed, but run %s of %s was not triggered: %s",
                run_id,
                task_id,
                problem,
                extra={"action": "commit_trigger_failed", "run_id": run_id},
            )
            if not robust:
                raise
            return
        for name, value in (("id", made.id), ("is_cached", made.is_cached), ("is_created", True)):
            object.__setattr__(handle, name, value)

    transaction.on_commit(committed, using=using)
    return handle


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
