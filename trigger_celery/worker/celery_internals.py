"""Everything of Celery's private surface that the worker touches, in one place.

`tests/worker/test_celery_internals.py` holds a contract for each symbol.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from billiard import common as billiard_common
from billiard.einfo import ExceptionInfo
from billiard.process import current_process
from celery import _state
from celery.app import trace as celery_trace
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import Ignore, Reject, Retry, WorkerLostError
from celery.utils.nodenames import gethostname
from celery.utils.threads import get_ident
from celery.worker import state
from celery.worker.request import Request
from greenlet import GreenletExit

__all__ = [
    "BasePool",
    "ExceptionInfo",
    "Ignore",
    "Reject",
    "Request",
    "Retry",
    "WorkerLostError",
    "active_requests",
    "apply_target",
    "before_soft_shutdown",
    "being_terminated",
    "cause",
    "consumed_queues",
    "current_job",
    "current_process",
    "dropped",
    "follow_job",
    "scale",
    "shutting_down_cold",
    "task_ready",
    "task_reserved",
    "trace",
    "was_ended",
    "was_killed",
]

current_job: ContextVar[object | None] = ContextVar("trigger_job", default=None)
"""What stands for the run in Celery's request stacks: the same in its coroutines and threads."""

active_requests = state.active_requests
task_reserved = state.task_reserved
task_ready = state.task_ready


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
    task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], request: dict[str, Any]
) -> tuple[int, Any, float]:
    """Execute the task's tracer; returns (failed, return value or error, seconds)."""
    tracer: Any = task.__trace__
    if tracer is None:
        # A run may come before the broker connection, at which Celery builds its tracers.
        app = task.app
        # By its module's name for it, where instrumentation (Sentry's) puts its own.
        build: Any = celery_trace.build_tracer
        tracer = task.__trace__ = build(task.name, task, app.loader, gethostname(), app=app)
    value, info, runtime, shown = tracer(request["id"], args, kwargs, request)
    outcome: tuple[int, Any, float] = (1, value, runtime) if info else (0, shown, runtime)
    return outcome


def being_terminated() -> bool:
    """Tell whether this pool process got its signal to end: a SystemExit is not the task's.

    On gevent's pool it is the greenlet that is told to end, by the error that is handled now.
    """
    flag: list[bool] = vars(billiard_common)["_should_have_exited"]
    return flag[0] or isinstance(sys.exception(), GreenletExit)


def shutting_down_cold() -> bool:
    """Tell whether the worker was told not to wait for what is under way."""
    exit_code: Any = state.should_terminate
    return exit_code is not None and exit_code is not False


def before_soft_shutdown(worker: Any, call: Callable[[], None]) -> None:
    """Let *call* be called when a soft shutdown begins. Celery sends its signal only after it."""
    wait = worker.wait_for_soft_shutdown

    def call_and_wait() -> None:
        call()
        wait()

    worker.wait_for_soft_shutdown = call_and_wait


def dropped(result: Any) -> bool:
    """Tell whether the pool forgot a job: it does so when the broker's connection is lost."""
    cache = getattr(result, "_cache", None)
    return cache is not None and result._job not in cache


def cause(failure: Any) -> BaseException:
    """Return the exception in what a pool or a tracer calls a failure."""
    exception = getattr(failure, "exception", failure)
    exception = getattr(exception, "exc", exception)
    if isinstance(exception, BaseException):
        return exception
    return RuntimeError(str(exception))


def was_ended(outcome: Any) -> bool:
    """Tell whether this is what gevent's pool has for a greenlet that was told to end."""
    return bool(outcome == (False, None, None))


def was_killed(problem: BaseException) -> bool:
    """Tell whether a pool process died of SIGKILL: by the text, which is all that billiard keeps."""
    return isinstance(problem, WorkerLostError) and "signal 9" in str(problem)


def scale(worker: Any) -> None:
    """Let the autoscaler look, as it does by itself for broker messages only; on the hub."""
    autoscaler = getattr(worker, "autoscaler", None)
    if autoscaler is not None:
        autoscaler.maybe_scale()


def consumed_queues(worker: Any) -> list[str]:
    """Return the names of the queues that this worker consumes (`-Q`)."""
    return list(worker.app.amqp.queues.consume_from)
