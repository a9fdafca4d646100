"""What the processes and threads of Celery's own pools execute: one attempt of a run.

Starts the run (once per epoch), executes Celery's tracer, and records the outcome itself, so that
the parent process has nothing to write for it.
"""

from __future__ import annotations

import logging
from dataclasses import astuple
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine import attempts
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.errors import StoreError
from trigger_celery.model.ids import op_id
from trigger_celery.worker.background_loop import BACKGROUND
from trigger_celery.worker.celery_internals import (
    ExceptionInfo,
    being_terminated,
    current_job,
    follow_job,
    trace,
)
from trigger_celery.worker.executor import RunExecution, invoke_async, invoke_sync
from trigger_celery.worker.job import stays
from trigger_celery.worker.recording import finish_until_recorded

logger = logging.getLogger("trigger_celery.worker")

Outcome = tuple[int, Any, float, int | None]
"""Celery's (failed, value, seconds), and in how many ms the parent shall start the next attempt."""

REFUSED = "not ours to start"
UNREACHED = "could not be started"


def packed(grant: Grant) -> tuple[Any, ...]:
    """Return the grant as a tuple, for the pipe to a pool process."""
    return astuple(grant)


def run_in_pool(grant_fields: tuple[Any, ...], request: dict[str, Any]) -> Outcome | ExceptionInfo:
    """Execute one attempt. A run that is not ours to start any more is left alone.

    Raises no Exception: some pools would never tell the parent.
    """
    try:
        grant = Grant(*grant_fields)
        trigger = context.current()
        if not grant.executing:
            answer = _start(trigger, grant)
            if answer is not None:
                return 0, answer, 0.0, None
        return _execute(trigger, grant, request)
    except Exception:
        logger.exception("an attempt ended outside of its task")
        return ExceptionInfo()


def _start(trigger: TriggerCelery, grant: Grant) -> str | None:
    """Start the run, or return why not."""
    try:
        attempt = trigger.store.run_blocking(
            attempts.start(trigger.scope, op_id(), grant.id, grant.epoch)
        )
    except StoreError as problem:
        logger.warning(
            "run %s could not be started: %s",
            grant.id,
            problem,
            extra={"action": "start_failed", "run_id": grant.id},
        )
        return UNREACHED
    if attempt is None:
        logger.warning(
            "run %s is not ours to start any more",
            grant.id,
            extra={"action": "start_refused", "run_id": grant.id},
        )
        return REFUSED
    grant.attempt = attempt
    return None


def _execute(trigger: TriggerCelery, grant: Grant, request: dict[str, Any]) -> Outcome:
    definition = REGISTRY.tasks[grant.task]
    execution = RunExecution(trigger, definition, grant, _invoke)
    task = trigger.app.tasks[grant.task]
    follow_job(task)
    job = current_job.set(execution)
    running = context.current_execution.set(execution)
    request["retries"] = grant.attempt - 1
    recorded = ""
    try:
        failed, value, seconds = trace(task, grant.id, request["args"], request)
        execution.conclude(failed, value)
    except BaseException as problem:
        # Soft limits reach the tracer as they are; the run must end all the same.
        if execution.ending is None and not being_terminated():
            execution.fail(problem)
        if not isinstance(problem, Exception):
            raise
        failed, value, seconds = 1, ExceptionInfo(), 0.0
    finally:
        context.current_execution.reset(running)
        current_job.reset(job)
        if execution.ending is not None:
            recorded = finish_until_recorded(trigger, execution.ending)
    return failed, value, seconds, _again_in(execution.ending, recorded)


def _again_in(ending: Ending | None, recorded: str) -> int | None:
    if ending is not None and recorded == "ok" and stays(ending):
        return int(ending.detail)
    return None


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
