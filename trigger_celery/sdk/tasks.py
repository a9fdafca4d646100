"""`tasks`: trigger by id, from a process that need not import the task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from trigger_celery.bridge import context, durable
from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.bridge.placing import placed
from trigger_celery.bridge.request import build_run
from trigger_celery.bridge.tracing import send, sent_flow
from trigger_celery.engine import querying
from trigger_celery.engine.triggering import create_watched_run
from trigger_celery.model.run import Run
from trigger_celery.sdk import batching, triggering
from trigger_celery.sdk.batch_items import BatchItem, batch_items
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.hooks import HookRegistrar
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


def batch_trigger(
    task_id: str,
    items: Iterable[BatchItem | Mapping[str, Any]],
    *,
    idempotency_key: batching.Keys | None = None,
    idempotency_key_ttl: batching.TimeToLive | None = None,
) -> Op[BatchHandle]:
    """Make a run of the task for each of up to 1,000 items, in one pipeline.

    With an *idempotency_key* the same call again returns the same batch; see `batch.trigger`.
    """
    target = (triggering.unvalidated(task_id), task_id)
    return batching.batch_trigger(
        [(target, item) for item in batch_items(items)],
        "tasks.batch_trigger",
        idempotency_key,
        idempotency_key_ttl,
        strict=True,
    )


def batch_trigger_and_wait(
    task_id: str,
    items: Iterable[BatchItem | Mapping[str, Any]],
    *,
    idempotency_key: batching.Keys | None = None,
    idempotency_key_ttl: batching.TimeToLive | None = None,
) -> ResultOp[BatchResult[Any], list[Any]]:
    """Make a child run for each item and wait until all are final, in a run.

    It waits for the batch that has the *idempotency_key* already, if there is one.
    """
    target = (triggering.unvalidated(task_id), task_id)
    return batching.batch_trigger_and_wait(
        [(target, item) for item in batch_items(items)],
        "tasks.batch_trigger_and_wait",
        idempotency_key,
        idempotency_key_ttl,
    )


def trigger_and_poll(
    task_id: str,
    payload: Any = None,
    *,
    timeout: str | float | timedelta | None = None,
    **options: Any,
) -> Op[Run]:
    """Make a run and wait until it is final; returns the run, whatever its outcome.

    The older form of `runs.poll(tasks.trigger(…).sync())`, and warns of it; in a run, of
    `tasks.trigger_and_wait`.

    Blocks its caller: not for a web view. Raises PollTimeoutError after *timeout*; the
    run goes on. None waits for ever; in a run that is a wait like any other, which holds no slot.
    """
    warn_of_old_form(
        "tasks.trigger_and_poll is the form of earlier versions: write "
        "runs.poll(await tasks.trigger(…), timeout=…), in sync code "
        "runs.poll(tasks.trigger(…).sync()).sync(), and in a run tasks.trigger_and_wait(…)"
    )
    bound = context.current()
    run = build_run(bound, triggering.unvalidated(task_id), task_id, payload, options)
    limit = patience(timeout)

    def flow() -> Flow[Run]:
        retention = bound.settings.run_retention
        if limit is None and durable.current_durable() is not None:
            result = yield from triggering.child_flow(bound, run, "trigger_and_poll")
            return (yield from querying.read_run(bound.scope, result.id))
        origin = placed(run, "trigger_and_poll")
        sent = send(bound, origin, origin.path, (run,))
        made_at = origin if sent is None else sent.origin
        flow = create_watched_run(bound.scope, run, retention, limit, made_at)
        return (yield from sent_flow(sent, flow))

    return bound.op(flow(), "tasks.trigger_and_poll")


init = HookRegistrar(
    "init",
    """Call a function before each attempt; the dict that it returns is given to others as `init`.

    The dicts of several are merged, the task's own last. Called again when a run that waited is
    executed again from the top.
    """,
)
middleware = HookRegistrar(
    "middleware",
    """Put a function around every attempt: `async def around(payload, ctx, next)`.

    It calls `next()` once, which executes what is inside, the task's errors included, and returns
    an AttemptOutcome. The first that is registered is the outermost.
    """,
)
on_start = HookRegistrar(
    "on_start", "Call a function before a run's first attempt; its error fails the attempt."
)
on_start_attempt = HookRegistrar(
    "on_start_attempt", "Call a function before every attempt; its error fails the attempt."
)
on_success = HookRegistrar(
    "on_success",
    "Call a function after a run succeeded, before that is recorded; it may ask for `output`.",
)
on_failure = HookRegistrar(
    "on_failure",
    """Call a function when a run fails for good, before that is recorded; it may ask for `error`.

    Not called for attempts that are retried, nor for runs that are cancelled, time out or expire.
    """,
)
on_complete = HookRegistrar(
    "on_complete",
    "Call a function after `on_success` or `on_failure`; it may ask for `result`, an AttemptOutcome.",
)
on_wait = HookRegistrar(
    "on_wait",
    """Call a function in every run before it waits; it may ask for `wait`, a WaitInfo.

    Not called for waits of up to 5 seconds, nor around retries.
    """,
)
on_resume = HookRegistrar(
    "on_resume",
    """Call a function in every run after it waited; it may ask for what `on_wait` may.

    Not called for a wait that ended while the run was not in memory: its replay goes on from the
    record.
    """,
)
on_cancel = HookRegistrar(
    "on_cancel",
    """Call a function in every executing run that is cancelled; all have 30 seconds together.

    In a run, it is registered for this run alone. Not called for runs that have not started or
    that wait.
    """,
)
catch_error = HookRegistrar(
    "catch_error",
    """Call a function when an attempt failed, to decide what follows: see CatchErrorResult.

    A task's own is asked first. The first that returns something decides.
    """,
)
handle_error = HookRegistrar("handle_error", "The old name of `catch_error`.")
cleanup = HookRegistrar(
    "cleanup",
    "Call a function at the end of every attempt, whatever its outcome; its error fails the attempt.",
)
