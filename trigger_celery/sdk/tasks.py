"""`tasks`: trigger by id, from a process that need not import the task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from trigger_celery.bridge import context, durable
from trigger_celery.bridge.hooks import check_hook
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.request import build_run
from trigger_celery.engine import querying
from trigger_celery.engine.triggering import create_watched_run
from trigger_celery.model.run import Run
from trigger_celery.sdk import batching, triggering
from trigger_celery.sdk.batch_items import BatchItem, batch_items
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.results import BatchResult, ResultOp, TaskResult
from trigger_celery.sdk.triggering import patience
from trigger_celery.store.op import Flow, Op


def trigger(task_id: str, payload: Any = None, **options: Any) -> Op[RunHandle]:
    """Make a run of the task with this id. Options are those of `Task.trigger`.

    The payload is sent as it is: a schema is checked in the worker, where a bad payload fails
    the run without a retry. An id that no worker knows is accepted; the run waits for one.
    """
    return triggering.trigger(triggering.unvalidated(task_id), task_id, payload, options)


def trigger_and_wait(
    task_id: str, payload: Any = None, **options: Any
) -> ResultOp[TaskResult[Any], Any]:
    """Make a child run and wait until it is final, in a run; see `Task.trigger_and_wait`."""
    return triggering.trigger_and_wait(triggering.unvalidated(task_id), task_id, payload, options)


def batch_trigger(task_id: str, items: Iterable[BatchItem | Mapping[str, Any]]) -> Op[BatchHandle]:
    """Make a run of the task for each of up to 1,000 items, in one pipeline."""
    target = (triggering.unvalidated(task_id), task_id)
    return batching.batch_trigger(
        [(target, item) for item in batch_items(items)], "tasks.batch_trigger", strict=True
    )


def batch_trigger_and_wait(
    task_id: str, items: Iterable[BatchItem | Mapping[str, Any]]
) -> ResultOp[BatchResult[Any], list[Any]]:
    """Make a child run for each item and wait until all are final, in a run."""
    target = (triggering.unvalidated(task_id), task_id)
    return batching.batch_trigger_and_wait(
        [(target, item) for item in batch_items(items)], "tasks.batch_trigger_and_wait"
    )


def trigger_and_poll(
    task_id: str,
    payload: Any = None,
    *,
    timeout: str | float | timedelta | None = None,
    **options: Any,
) -> Op[Run]:
    """Make a run and wait until it is final; returns the run, whatever its outcome.

    Blocks its caller: not for a web view. Raises PollTimeoutError after *timeout*; the
    run goes on. None waits for ever; in a run that is a wait like any other, which holds no slot.
    """
    bound = context.current()
    run = build_run(bound, triggering.unvalidated(task_id), task_id, payload, options)
    limit = patience(timeout)

    def flow() -> Flow[Run]:
        retention = bound.settings.run_retention
        if limit is None and durable.current_durable() is not None:
            result = yield from triggering.child_flow(bound, run, "trigger_and_poll")
            return (yield from querying.read_run(bound.scope, result.id))
        origin = triggering.placed(run, "trigger_and_poll")
        return (yield from create_watched_run(bound.scope, run, retention, limit, origin))

    return bound.op(flow(), "tasks.trigger_and_poll")


HookT = TypeVar("HookT", bound=Callable[..., Any])


def on_wait(hook: HookT) -> HookT:
    """Call *hook* in every run before it waits; for one task there is `task(on_wait=…)`.

    It may ask for `payload`, `ctx`, `task` (the id) and `wait` (a WaitInfo), and may be async.
    Not called for waits of up to 5 seconds, nor around retries.
    """
    return _add_hook("on_wait", hook)


def on_resume(hook: HookT) -> HookT:
    """Call *hook* in every run after it waited; it may ask for what `on_wait` may.

    Not called for a wait that ended while the run was not in memory: its replay goes on from the
    record.
    """
    return _add_hook("on_resume", hook)


def on_cancel(hook: HookT) -> HookT:
    """Call *hook* in every executing run that is cancelled; all hooks have 30 seconds together.

    It may ask for `payload`, `ctx`, `task` and `signal`. Not called for runs that have not
    started or that wait.
    """
    return _add_hook("on_cancel", hook)


def _add_hook(name: str, hook: HookT) -> HookT:
    check_hook(name, hook, f"tasks.{name}")
    REGISTRY.hooks.setdefault(name, []).append(hook)
    return hook
