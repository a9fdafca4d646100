"""Celery's AsyncResult over a run record: `.state`, `.result`, `.get()` read the run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery import Celery, states
from celery.backends.base import Backend, DisabledBackend
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult as AsyncResult

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_side import load_side
from trigger_celery.engine.cancelling import cancel_run
from trigger_celery.engine.continuing import read_celery
from trigger_celery.engine.querying import read_run, wait_for_end
from trigger_celery.engine.relating import read_with_related
from trigger_celery.errors import PollTimeoutError, RunFailedError, RunNotFoundError
from trigger_celery.model.ids import is_run_id, run_id_of
from trigger_celery.model.run import Run, RunStatus

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

    _AnyResult = AsyncResult[Any]
else:  # Celery 5.6 knows no AsyncResult[…]
    _AnyResult = AsyncResult

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
_POLL, _MOST_POLL = 0.05, 0.5
MAX_NESTING = 3
"""How often a task may have been replaced for its result to be found by its first id."""


def _find(trigger: TriggerCelery, task_id: str) -> Run | None:
    """Return the run that has Celery's id, or what has taken its place; None: not there (yet)."""
    run_id = run_id_of(task_id)
    for nesting in range(MAX_NESTING + 1):
        try:
            run = trigger.store.run_blocking(read_run(trigger.scope, run_id))
        except RunNotFoundError:
            run_id = run_id_of(f"{task_id}~{nesting + 1}")
            continue
        if run.status is RunStatus.COMPLETED and run.output is None:
            side = load_side(trigger.store.run_blocking(read_celery(trigger.scope, run.id)))
            if "replaced_by" in side:
                run_id = side["replaced_by"]
                continue
        return run
    return None


def _meta(run: Run, task_id: str) -> dict[str, Any]:
    state = _STATES.get(run.status, states.PENDING)
    result: Any = run.output
    if state in states.EXCEPTION_STATES:
        error = run.error
        name = f"{error.name}: " if error is not None and error.name else ""
        result = RunFailedError(f"{name}{error.message}" if error is not None else str(run.status))
    return {
        "task_id": task_id,
        "status": state,
        "result": result,
        "traceback": run.error.stack_trace if run.error is not None else None,
        "children": [],
    }


class RunBackend(Backend):
    """A result backend that reads run records and stores nothing.

    What has no record, such as the later steps of a chain that has failed, is asked of the app's
    own backend.
    """

    supports_native_join = False

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return Celery's view of the run; an unknown run is PENDING, as in Celery."""
        run = _find(context.current(), task_id)
        return self._other_meta(task_id) if run is None else _meta(run, task_id)

    def _other_meta(self, task_id: str) -> dict[str, Any]:
        app: Any = vars(self)["app"]
        backend: Any = app.backend
        if is_run_id(task_id) or isinstance(backend, DisabledBackend):
            return {"task_id": task_id, "status": states.PENDING, "result": None}
        meta: dict[str, Any] = backend.get_task_meta(task_id, cache=False)
        return meta

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        propagate: bool = True,
        **_: Any,
    ) -> Any:
        """Block until the run ends and return its output. The run need not be there yet."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _POLL
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            meta = self._ended(result.id, left)
            if meta["status"] in states.READY_STATES:
                break
            if left is not None and left <= 0:
                raise CeleryTimeoutError(f"task {result.id} has no result after {timeout:g} s")
            time.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, _MOST_POLL)
        result._maybe_set_cache(meta)
        return result.maybe_throw(propagate=propagate)

    def _ended(self, task_id: str, timeout: float | None) -> dict[str, Any]:
        """Return Celery's view of the run once it has ended, or of none at once."""
        trigger = context.current()
        run = _find(trigger, task_id)
        if run is None:
            return self._other_meta(task_id)
        if run.is_completed:
            return _meta(run, task_id)
        try:
            trigger.store.run_blocking(wait_for_end(trigger.scope, run.id, timeout))
        except PollTimeoutError as late:
            raise CeleryTimeoutError(str(late)) from None
        return self.get_task_meta(task_id)  # another run may have taken its place

    def add_pending_result(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        """Do nothing: nothing is subscribed before somebody waits."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Do nothing."""
        return result

    def forget(self, task_id: str) -> None:
        """Do nothing: a run is kept for run_retention."""


def revoke_run(task_id: str, app: Any = None) -> bool:
    """Cancel the run that has Celery's id, with its descendants; False: there is none."""
    own = (trigger for trigger in context.bound() if trigger.app is app)
    trigger = next(own, None) or context.current()
    reason, retention = "Revoked", trigger.settings.run_retention
    try:
        run_id = run_id_of(task_id)
        if trigger.store.run_blocking(read_run(trigger.scope, run_id)).recorded:
            return False  # Celery's broker carries it
        trigger.store.run_blocking(cancel_run(trigger.scope, run_id, reason, retention))
    except RunNotFoundError:
        return False
    return True


class KeptResult(_AnyResult):
    """Celery's AsyncResult of a run whose outcome is in the app's result backend."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Cancel the run; a task that is no run is revoked as Celery does."""
        if not revoke_run(str(self.id), self.app):
            super().revoke(*args, **kwargs)


class RunResult(KeptResult):
    """Celery's AsyncResult of a run: reads the run's record."""

    @property
    def children(self) -> list[Any]:
        """The runs that the run has made: the first 100."""
        trigger = context.current()
        run = _find(trigger, str(self.id))
        if run is None:
            return []
        found = trigger.store.run_blocking(read_with_related(trigger.scope, run.id)).related_runs
        made = () if found is None else found.children
        return [result_of_run(trigger, one.id, one.task_identifier) for one in made]

    def then(self, callback: Any, on_error: Any = None, weak: bool = False) -> Any:
        """Call back when the app's result backend has the outcome, as groups of results do."""
        backend: Any = self.app.backend
        if not isinstance(backend, DisabledBackend):
            backend.add_pending_result(self, weak=weak)
        return self.on_ready.then(callback, on_error)

    def __del__(self) -> None:
        """Do nothing: there is no subscription to cancel."""


def result_of_run(trigger: TriggerCelery, task_id: str, name: str) -> RunResult:
    """Return the result of a run, by Celery's id of it."""
    app = trigger.app
    return RunResult(task_id, backend=RunBackend(app), task_name=name, app=app)


def result_class(app: Any) -> Any:
    """Return the app's AsyncResult, which reads the record for the id of a run."""
    plain: Any = app.AsyncResult

    class AppResult(plain):  # type: ignore[misc]
        """The app's AsyncResult; of a run's id, one that reads the run's record."""

        def __new__(cls, id: Any, backend: Any = None, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - Celery's name
            """Return the result; of a run's id a `RunResult`."""
            if backend is None and is_run_id(id):
                return RunResult(id, RunBackend(app), *args, **{"app": app, **kwargs})
            return super().__new__(cls)

    AppResult.__name__, AppResult.__qualname__ = plain.__name__, plain.__qualname__
    AppResult.__module__ = plain.__module__
    return AppResult
