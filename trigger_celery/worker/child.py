"""What the processes and threads of Celery's own pools execute: one attempt of a run.

Executes Celery's tracer and returns the outcome with the ending of the attempt. The worker's
process records it, in the same call that takes the next run.
"""

from __future__ import annotations

import logging
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.worker.background_loop import BACKGROUND
from trigger_celery.worker.celery_internals import (
    ExceptionInfo,
    being_terminated,
    current_job,
    follow_job,
    trace,
)
from trigger_celery.worker.executor import RunExecution, invoke_async, invoke_sync

logger = logging.getLogger("trigger_celery.worker")

Outcome = tuple[int, Any, float, Ending]
"""Celery's (failed, value, seconds), and how the attempt ended."""


def run_in_pool(grant: Grant, request: dict[str, Any]) -> Outcome | ExceptionInfo:
    """Execute one attempt.

    Raises no Exception: some pools would never tell the parent.
    """
    try:
        return _execute(context.current(), grant, request)
    except Exception:
        logger.exception("an attempt ended outside of its task")
        return ExceptionInfo()


def _execute(trigger: TriggerCelery, grant: Grant, request: dict[str, Any]) -> Outcome:
    execution = RunExecution(trigger, REGISTRY.tasks[grant.task], grant, _invoke)
    task = trigger.app.tasks[grant.task]
    follow_job(task)
    job = current_job.set(execution)
    running = context.current_execution.set(execution)
    request["retries"] = grant.attempt - 1
    try:
        failed, value, seconds = trace(task, grant.id, request["args"], request)
        execution.conclude(failed, value)
    except Exception as problem:
        # Soft limits reach the tracer as they are; the run must end all the same.
        if execution.ending is None:
            if being_terminated():
                raise
            execution.fail(problem)
        failed, value, seconds = 1, ExceptionInfo(), 0.0
    finally:
        context.current_execution.reset(running)
        current_job.reset(job)
    assert execution.ending is not None  # noqa: S101 - concluded or failed
    return failed, value, seconds, execution.ending


def _invoke(execution: RunExecution) -> Any:
    try:
        if execution.definition.is_async:
            return BACKGROUND.run(invoke_async(execution))
        return invoke_sync(execution)
    except BaseException as problem:
        # A soft time limit interrupts the thread that waits for the coroutine.
        if execution.ending is None and not being_terminated():
            raise execution.fail(problem) from problem
        raise
