"""Everything of Celery's private surface that the worker touches, in one place.

`tests/worker/test_celery_internals.py` holds a contract for each symbol.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from celery import _state
from celery.app.trace import build_tracer
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import Ignore, Retry
from celery.utils.nodenames import gethostname
from celery.utils.threads import get_ident
from celery.worker import state
from celery.worker.request import Request

__all__ = [
    "BasePool",
    "Ignore",
    "Request",
    "Retry",
    "active_requests",
    "apply_target",
    "consumed_queues",
    "current_job",
    "follow_job",
    "task_reserved",
    "trace",
]

current_job: ContextVar[object | None] = ContextVar("trigger_job", default=None)
"""What stands for the run in Celery's request stacks: the same in its coroutines and threads."""

active_requests = state.active_requests
task_reserved = state.task_reserved


def _ident() -> Any:
    return current_job.get() or get_ident()


def follow_job(task: Any) -> None:
    """Let `current_task` and `task.request` follow the run instead of the greenlet.

    A run's coroutine is driven by another greenlet than its tracer; both share a context.
    """
    tasks: Any = _state
    tasks._task_stack.__ident_func__ = _ident
    task.request_stack.__ident_func__ = _ident


def trace(
    task: Any, run_id: str, args: tuple[Any, ...], request: dict[str, Any]
) -> tuple[int, Any, float]:
    """Execute the task's tracer; returns (failed, return value or error, seconds)."""
    tracer: Any = task.__trace__
    if tracer is None:
        # A run may come before the broker connection, at which Celery builds its tracers.
        app = task.app
        tracer = task.__trace__ = build_tracer(task.name, task, app.loader, gethostname(), app=app)
    value, info, runtime, shown = tracer(run_id, args, {}, request)
    outcome: tuple[int, Any, float] = (1, value, runtime) if info else (0, shown, runtime)
    return outcome


def consumed_queues(worker: Any) -> list[str]:
    """Return the names of the queues that this worker consumes (`-Q`)."""
    return list(worker.app.amqp.queues.consume_from)
