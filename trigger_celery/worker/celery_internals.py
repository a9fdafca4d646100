"""Everything of Celery's private surface that the worker touches, in one place.

`tests/worker/test_celery_internals.py` holds a contract for each symbol.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import ref

from billiard import common as billiard_common
from billiard.einfo import ExceptionInfo
from billiard.pool import ApplyResult
from billiard.process import current_process
from celery import _state
from celery.app import trace as celery_trace
from celery.concurrency.base import BasePool, apply_target
from celery.exceptions import Ignore, Reject, Retry, WorkerLostError
from celery.utils.functional import maybe_list
from celery.utils.nodenames import gethostname
from celery.utils.threads import get_ident
from celery.worker import control, state
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
    "acting_as",
    "active_requests",
    "after_revoke",
    "apply_target",
    "as_failure",
    "before_soft_shutdown",
    "being_terminated",
    "cause",
    "consumed_queues",
    "current_job",
    "current_process",
    "dropped",
    "follow_job",
    "keep_once_sent",
    "most_at_once",
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


@contextmanager
def acting_as(task: Any, request: Any) -> Iterator[None]:
    """Let Celery take this for the task under way: what is sent meanwhile is sent by it."""
    stacks: Any = _state
    request.called_directly = False  # as its tracer says it
    stacks._task_stack.push(task)
    task.request_stack.push(request)
    try:
        yield
    finally:
        task.request_stack.pop()
        stacks._task_stack.pop()


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


def after_revoke(told: Callable[[Any, list[Any], bool], None]) -> Callable[[], None]:
    """Let *told* hear what this process is told to revoke: app, task ids, and whether to terminate.

    Returns what takes it back.
    """
    commands: dict[str, Any] = vars(control.Panel)["data"]
    before = {name: commands[name] for name in ("revoke", "terminate")}

    def revoke(state: Any, task_id: Any, terminate: bool = False, **options: Any) -> Any:
        answer = before["revoke"](state, task_id, terminate=terminate, **options)
        told(state.app, list(maybe_list(task_id) or ()), bool(terminate))
        return answer

    def terminate(state: Any, signal: Any, task_id: Any, **_: Any) -> Any:
        return revoke(state, task_id, terminate=True, signal=signal)

    ours = {"revoke": revoke, "terminate": terminate}
    commands.update(ours)

    def undo() -> None:
        for name, command in ours.items():
            if commands.get(name) is command:
                commands[name] = before[name]

    return undo


def dropped(result: Any) -> bool:
    """Tell whether the pool forgot a job, which it had not begun. See `keep_once_sent`."""
    cache = getattr(result, "_cache", None)
    return cache is not None and result._job not in cache


def keep_once_sent(result: Any) -> None:
    """Let prefork's pool not forget a job that one of its processes has got, or gets just now.

    It does so when the broker's connection is lost and when the worker ends, for then a message is
    delivered again. A run is not: the process executes it, and its end would be told to nobody.
    """
    if isinstance(result, ApplyResult):
        vars(result)["discard"] = _Discard(ref(result))


class _Discard:
    """Stands for a job's `discard`, without a circle of references for every job."""

    __slots__ = ("_result",)

    def __init__(self, result: ref[Any]) -> None:
        self._result = result

    def __call__(self) -> None:
        result = self._result()
        if result is None or (result._write_to is not None and result._write_to._is_alive()):
            return
        type(result).discard(result)


def as_failure(problem: Any) -> Any:
    """Return an exception in what Celery's requests take for a failure; such a thing as it is."""
    if not isinstance(problem, BaseException):
        return problem
    try:  # it wants a traceback
        raise problem
    except BaseException:
        return ExceptionInfo()


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


def most_at_once(worker: Any) -> int:
    """Return how much a worker executes at once when it has grown as far as it may."""
    pool = worker.pool
    most = worker.max_concurrency if hasattr(pool, "grow") else None
    return int(most or pool.num_processes or 1)


def scale(worker: Any) -> None:
    """Let the autoscaler look, as it does by itself for broker messages only; on the hub.

    Not with threads and solo: these pools cannot grow, and its look fails.
    """
    autoscaler = getattr(worker, "autoscaler", None)
    if autoscaler is not None and hasattr(worker.pool, "grow"):
        autoscaler.maybe_scale()


def consumed_queues(worker: Any) -> list[str]:
    """Return the names of the queues that this worker consumes (`-Q`)."""
    return list(worker.app.amqp.queues.consume_from)
