"""One attempt with its spans and its numbers, where telemetry is on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from celery.signals import worker_process_shutdown

from trigger_celery.bridge import context
from trigger_celery.bridge.surroundings import in_surroundings
from trigger_celery.errors import MaxDurationExceededError, RunEvictedError
from trigger_celery.telemetry import attributes as names

if TYPE_CHECKING:
    from trigger_celery.engine.attempts import Ending
    from trigger_celery.telemetry.recorder import Telemetry
    from trigger_celery.worker.executor import RunExecution


AGAIN = ("retry", "move")
"""Endings after which there is another attempt."""


def execute(execution: RunExecution, how: Callable[[RunExecution], Any]) -> Any:
    """Execute the attempt: in its surroundings, in its span, and counted, if anybody listens."""
    telemetry = execution.durable.telemetry = execution.trigger.telemetry
    how = in_surroundings(how)
    return how(execution) if telemetry is None else _traced(execution, telemetry, how)


def hook_span(execution: RunExecution, name: str) -> AbstractContextManager[None]:
    """Return the span of a hook of the run, or what does nothing."""
    telemetry = execution.durable.telemetry
    return _NO_SPAN if telemetry is None else telemetry.hook(name, execution.grant.trace)


_NO_SPAN: AbstractContextManager[None] = nullcontext()


def _traced(
    execution: RunExecution, telemetry: Telemetry, how: Callable[[RunExecution], Any]
) -> Any:
    _flush_with_the_process()
    grant = execution.grant
    queued: float | None = None
    if grant.attempt == 1 and not grant.resumed:
        queued = time.time() - grant.queued_ms / 1000
    with telemetry.attempt(grant.task, grant.queue, grant.trace, _about(execution)) as span:
        telemetry.started(grant.task, grant.queue, queued)
        problem: BaseException | None = None
        try:
            return how(execution)
        except BaseException as raised:
            problem = getattr(raised, "exc", None) or raised  # what Celery's Retry is for
            raise
        finally:
            outcome, status = _outcome(execution)
            failed = outcome in ("failed", "retried", "timed out")
            span.end(outcome, problem if failed else None, _delay_ms(execution.ending))
            seconds = execution.parking.active_seconds()
            telemetry.ended(grant.task, grant.queue, seconds, outcome, status)


def _about(execution: RunExecution) -> dict[str, Any]:
    """Return what the span says of the run. No payload: it may hold secrets."""
    grant = execution.grant
    about = {
        names.MESSAGE_ID: grant.id,
        names.RUN: grant.id,
        names.ROOT: grant.root_id or grant.id,
        names.ATTEMPT: grant.attempt,
        names.REPLAYED: grant.resumed,
        names.PARENT: grant.parent_id,
        names.BATCH: grant.batch_id,
        names.KEY: grant.concurrency_key or None,
        names.TAGS: grant.tags or None,
        names.TEST: execution.durable.test or None,
    }
    return {name: value for name, value in about.items() if value is not None}


def _outcome(execution: RunExecution) -> tuple[str, str]:
    """Return how the attempt ended, and the status of the run if that is its end."""
    ending, stopped = execution.ending, execution.parking.stopped
    if execution.canceled:
        return "canceled", "CANCELED"
    if isinstance(stopped, MaxDurationExceededError) or (
        ending is not None and ending.detail == "TIMED_OUT"
    ):
        return "timed out", "TIMED_OUT"
    if isinstance(stopped, RunEvictedError):
        return "evicted", ""
    if ending is None:
        return "stopped", ""
    if ending.kind == "done":
        return "completed", "COMPLETED"
    if ending.kind in AGAIN:
        return "retried", ""
    return "failed", str(ending.detail or "FAILED")


def _delay_ms(ending: Ending | None) -> int | None:
    """Return the delay before the next attempt; the ending of a move says more behind it."""
    if ending is None or ending.kind not in AGAIN:
        return None
    return int(str(ending.detail).partition(" ")[0])


def _flush(**_: Any) -> None:
    """A process of the pool ends without what Python does at exit."""
    for trigger in context.bound():
        if trigger.telemetry is not None:
            trigger.telemetry.flush()


@cache
def _flush_with_the_process() -> None:
    """Once in each process that executes attempts, however the pool has started it."""
    worker_process_shutdown.connect(_flush, weak=False)
