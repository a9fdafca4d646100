"""What the processes and threads of Celery's own pools execute: one attempt of a run.

Executes Celery's tracer and returns the outcome with the ending of the attempt. The worker's
process records it, in the same call that takes the next run.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.run_log import end_log_blocking
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.errors import RunLeaseLostError
from trigger_celery.worker.background_loop import BACKGROUND
from trigger_celery.worker.celery_internals import (
    ExceptionInfo,
    being_terminated,
    current_job,
    current_process,
    follow_job,
    trace,
)
from trigger_celery.worker.executor import RunExecution, invoke_async, invoke_sync
from trigger_celery.worker.holding import Holder, holder_of, look_for_cancels
from trigger_celery.worker.interrupting import allow_interrupts, forget_interrupt
from trigger_celery.worker.log_capture import capture_logs
from trigger_celery.worker.request import call_of, complete_request
from trigger_celery.worker.run_data import (
    has_data,
    has_more,
    may_have_large_output,
    put_output_away,
    read_more,
    store_data,
)

logger = logging.getLogger("trigger_celery.worker")

Outcome = tuple[int, Any, float, Ending | None]
"""Celery's (failed, value, seconds), and how the attempt ended: None when the run was given up."""


def run_in_pool(
    grant: Grant, request: dict[str, Any], soft_limit: float | None = None
) -> Outcome | ExceptionInfo:
    """Execute one attempt. *soft_limit*: the seconds after which the pool interrupts it.

    Raises no Exception: some pools would never tell the parent.
    """
    try:
        return _execute(context.current(), grant, request, soft_limit)
    except Exception:
        logger.exception("an attempt ended outside of its task")
        return ExceptionInfo()


def _execute(
    trigger: TriggerCelery, grant: Grant, request: dict[str, Any], soft_limit: float | None
) -> Outcome:
    holder = _hold(trigger, grant)
    execution = holder.execution
    execution.soft_limit = soft_limit
    task = trigger.app.tasks[grant.task]
    follow_job(task)
    capture_logs(trigger)
    job = current_job.set(execution)
    running = context.current_execution.set(execution)
    scope = context.current_scope.set(execution.durable.root)
    request["retries"] = grant.attempt - 1
    try:
        with holder:
            try:
                failed, value, seconds = _attempt(trigger, execution, task, request)
            except Exception as problem:  # here: when the run is not held any more, it is too late
                failed, value, seconds = _failed(execution, problem)
    except RunLeaseLostError:
        failed, value, seconds = 0, None, 0.0
    except Exception as problem:
        failed, value, seconds = _failed(execution, problem)
    finally:
        forget_interrupt()
        if execution.log is not None:
            with suppress(Exception):  # a soft limit may come even now: the outcome stands
                end_log_blocking(execution)
        context.current_scope.reset(scope)
        context.current_execution.reset(running)
        current_job.reset(job)
    recorded = execution.canceled or holder.recorded
    return failed, value, seconds, None if recorded else execution.ending


def _attempt(
    trigger: TriggerCelery, execution: RunExecution, task: Any, request: dict[str, Any]
) -> tuple[int, Any, float]:
    """Bring what the attempt needs, execute it, store what it leaves; returns Celery's outcome."""
    grant, store = execution.grant, trigger.store
    if has_more(grant):
        apart = grant.payload_apart
        store.run_blocking(read_more(execution.durable, trigger, grant))
        if apart:
            with suppress(ValueError):  # the attempt decodes it again, and fails for it
                request["args"], request["kwargs"] = call_of(grant, execution.payload())
        complete_request(request, grant)
    outcome = trace(task, request["args"], request["kwargs"], request)
    execution.conclude(*outcome[:2])
    if has_data(execution.durable):
        store.run_blocking(store_data(execution.durable))
    ending = execution.ending
    if ending is not None and may_have_large_output(ending):
        store.run_blocking(put_output_away(trigger.scope, ending))
    return outcome


def _failed(execution: RunExecution, problem: Exception) -> tuple[int, Any, float]:
    """Note what went wrong outside of the tracer: soft limits, too, reach it as they are."""
    if execution.ending is None:
        if being_terminated():
            raise problem
        execution.fail(problem)
    return 1, ExceptionInfo(), 0.0


def _hold(trigger: TriggerCelery, grant: Grant) -> Holder:
    """Return what keeps the run while it is executed here. A main thread can be interrupted."""
    execution = RunExecution(trigger, REGISTRY.tasks[grant.task], grant, _invoke)
    process = current_process()
    in_child = process.name != "MainProcess" and allow_interrupts(look_for_cancels)
    return Holder(execution, killable=in_child)


def _invoke(execution: RunExecution) -> Any:
    try:
        if execution.definition.is_async:
            return BACKGROUND.run(_on_background(execution), holder_of(execution).attach)
        return invoke_sync(execution)
    except BaseException as problem:
        stopped = execution.parking.stopped
        if stopped is not None:
            raise stopped from problem
        # A soft time limit interrupts the thread that waits for the coroutine.
        if execution.ending is None and not being_terminated():
            raise execution.fail(problem) from problem
        raise


async def _on_background(execution: RunExecution) -> Any:
    try:
        return await invoke_async(execution)
    finally:
        # Whatever it ended with: an ending counts only for a run that has its slot.
        await execution.parking.regain()
