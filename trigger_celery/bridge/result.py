"""Celery's AsyncResult over a run record: `.state`, `.result`, `.get()` read the run."""

from __future__ import annotations

from typing import Any

from celery import Celery, states
from celery.backends.base import Backend
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult as AsyncResult

from trigger_celery.bridge import context
from trigger_celery.engine.querying import read_run, wait_for_end
from trigger_celery.errors import PollTimeoutError, RunFailedError, RunNotFoundError
from trigger_celery.model.run import Run, RunStatus

_STATES = {
    RunStatus.EXECUTING: states.STARTED,
    RunStatus.COMPLETED: states.SUCCESS,
    RunStatus.CANCELED: states.REVOKED,
    RunStatus.EXPIRED: states.REVOKED,
    RunStatus.FAILED: states.FAILURE,
    RunStatus.CRASHED: states.FAILURE,
    RunStatus.TIMED_OUT: states.FAILURE,
    RunStatus.SYSTEM_FAILURE: states.FAILURE,
    RunStatus.WAITING: "WAITING",
}


def _meta(run: Run) -> dict[str, Any]:
    state = _STATES.get(run.status, states.PENDING)
    result: Any = run.output
    if state in states.EXCEPTION_STATES:
        error = run.error
        name = f"{error.name}: " if error is not None and error.name else ""
        result = RunFailedError(f"{name}{error.message}" if error is not None else str(run.status))
    return {
        "task_id": run.id,
        "status": state,
        "result": result,
        "traceback": run.error.stack_trace if run.error is not None else None,
        "children": [],
    }


class RunBackend(Backend):
    """A result backend that reads run records and stores nothing."""

    supports_native_join = False

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return Celery's view of the run; an unknown run is PENDING, as in Celery."""
        trigger = context.current()
        try:
            return _meta(trigger.store.run_blocking(read_run(trigger.scope, task_id)))
        except RunNotFoundError:
            return {"task_id": task_id, "status": states.PENDING, "result": None}

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        propagate: bool = True,
        **_: Any,
    ) -> Any:
        """Block until the run ends and return its output."""
        trigger = context.current()
        try:
            run = trigger.store.run_blocking(wait_for_end(trigger.scope, result.id, timeout))
        except PollTimeoutError as late:
            raise CeleryTimeoutError(str(late)) from None
        result._maybe_set_cache(_meta(run))
        return result.maybe_throw(propagate=propagate)

    def add_pending_result(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        """Do nothing: nothing is subscribed before somebody waits."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Do nothing."""
        return result

    def forget(self, task_id: str) -> None:
        """Do nothing: a run is kept for run_retention."""


class RunResult(AsyncResult[Any]):
    """Celery's AsyncResult of a run."""

    def __del__(self) -> None:
        """Do nothing: there is no subscription to cancel."""
