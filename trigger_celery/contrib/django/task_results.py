"""Runs as Django shows them: results of tasks, and the signals about them."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import datetime
from importlib import import_module
from traceback import format_exception
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string

from trigger_celery.bridge.context import Context, RunContext
from trigger_celery.contrib.django.running import UNKNOWN, WORKERS, arguments
from trigger_celery.contrib.django.task_class import KEPT
from trigger_celery.model.attempt_outcome import AttemptOutcome
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.model.run_error import RunError

LEVEL = 86_400.0
"""Seconds of head start that a level of Django's priority gives: a higher one comes first."""

_HEADER = "Traceback (most recent call last):"
_ENDED_BY = {
    RunStatus.CANCELED: "trigger_celery.errors.RunCanceledError",
    RunStatus.TIMED_OUT: "trigger_celery.errors.MaxDurationExceededError",
}


class Results:
    """Makes results for one backend, of `django.tasks` or of `django_tasks`."""

    def __init__(self, package: str, backend: type, alias: str, tasks: dict[str, Any]) -> None:
        base = import_module(f"{package}.base")
        self._result: Any = base.TaskResult
        self._status: Any = base.TaskResultStatus
        self._error: Any = base.TaskError
        self._task: Any = base.Task
        self._context: Any = base.TaskContext
        self._signals: Any = import_module(f"{package}.signals")
        self._backend = backend
        self._alias = alias
        self._tasks = tasks  # that this process knows, by their module path
        where = "django.utils.json" if package == "django.tasks" else f"{package}.utils"
        self.normal: Any = import_module(where).normalize_json
        """Returns what JSON makes of a value. Raises TypeError for what it cannot carry."""

    def new(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Return the result of a task that is about to be enqueued. Raises for what is not JSON."""
        result = self._make(task, "", "READY", (args, kwargs))
        return _fill(result, backend=self._alias)

    def enqueued(self, result: Any, run_id: str) -> Any:
        """Return the result once its run is there, and tell who listens."""
        _fill(result, id=run_id, enqueued_at=timezone.now())
        self._signals.task_enqueued.send(self._backend, task_result=result)
        return result

    def rename(self, result: Any, run_id: str) -> Any:
        """Return the result, with the id of the run that has its idempotency key."""
        return _fill(result, id=run_id)

    def context(self, result: Any) -> Any:
        """Return what a task gets that takes the context."""
        return self._context(task_result=result)

    def running(self, task: Any, payload: Any, ctx: Context, run: Run | None, worker: str) -> Any:
        """Return the result of a run that this process executes. *run*: as it was before."""
        began = ctx.attempt.started_at
        enqueued = self._as_enqueued(task, payload, ctx.queue.name, ctx.run)
        result = self._make(enqueued, ctx.run.id, "RUNNING", arguments(task, payload))
        return _fill(
            result,
            enqueued_at=_when(ctx.run.created_at),
            started_at=_when((run.started_at if run is not None else None) or began),
            last_attempted_at=_when(began),
            worker_ids=[*_workers(run, ctx.attempt.number - 1), worker],
            errors=[] if run is None else self._errors(run),
        )

    def tell_started(self, result: Any) -> None:
        """Tell who listens that an attempt begins."""
        self._signals.task_started.send(self._backend, task_result=result)

    def tell_ended(
        self,
        task: Any,
        payload: Any,
        run: Run,
        outcome: AttemptOutcome,
        worker: str,
    ) -> None:
        """Tell who listens how a run ends, which is about to be recorded, or is, if it crashed."""
        result = self._of(task, payload, run)
        ended = {"finished_at": result.finished_at or timezone.now()}
        if not run.is_completed:
            result.worker_ids[-1:] = [worker]
        if outcome.ok:
            _fill(result, status=self._status.SUCCESSFUL, _return_value=outcome.output, **ended)
        else:
            _fill(result, status=self._status.FAILED, **ended)
            if outcome.error is not None and not run.is_completed:
                kind = type(outcome.error)
                text = "".join(format_exception(outcome.error))
                result.errors.append(self._failure(f"{kind.__module__}.{kind.__qualname__}", text))
        self._signals.task_finished.send(self._backend, task_result=result)

    def of(self, run: Run) -> Any:
        """Return the result of a run. Raises LookupError when it is none of this backend's."""
        payload = run.payload
        if not isinstance(payload, dict) or payload.get("backend") != self._alias:
            raise LookupError(f"run {run.id} was not enqueued by this backend")
        return self._of(self._task_of(run), payload, run)

    def _task_of(self, run: Run) -> Any:
        """Return the task as it is declared. Raises LookupError when there is none any more."""
        path = run.task_identifier
        found = self._tasks.get(path)
        if found is None:
            try:
                found = import_string(path)
            except ImportError as problem:
                raise LookupError(f"there is no task {path}") from problem
            if not isinstance(found, self._task):
                raise LookupError(f"{path} is no task")
        return found

    def _as_enqueued(
        self, task: Any, payload: Any, queue: str, run: Run | RunContext, after: Any = None
    ) -> Any:
        """Return the task as it was enqueued. It is not validated again: settings may change."""
        values: dict[str, Any] = {one.name: getattr(task, one.name) for one in fields(task)}
        backend = payload.get("backend", self._alias) if isinstance(payload, dict) else self._alias
        values |= {
            "priority": round(run.priority / LEVEL),
            "queue_name": queue,
            "run_after": after,
            "backend": backend,
        }
        if "concurrency_key" in values:  # it is of our class
            values |= {name: getattr(run, name) for name in KEPT}
        return _fill(object.__new__(type(task)), **values)

    def _of(self, task: Any, payload: Any, run: Run) -> Any:
        status = status_of(run.status)
        began = run.attempt_count if run.started_at is not None else 0
        after = _when(run.delayed_until) if run.attempt_count == 0 else None
        enqueued = self._as_enqueued(task, payload, run.queue, run, after)
        result = self._make(enqueued, run.id, status, arguments(task, payload))
        _fill(
            result,
            enqueued_at=_when(run.created_at),
            started_at=_when(run.started_at),
            last_attempted_at=_when(_last_attempt(run)),
            finished_at=_when(run.finished_at),
            worker_ids=_workers(run, began),
            errors=self._errors(run),
        )
        return _fill(result, _return_value=run.output) if run.is_success else result

    def _make(self, task: Any, run_id: str, status: str, given: tuple[Any, Any]) -> Any:
        return self._result(
            task=task,
            id=run_id,
            status=getattr(self._status, status),
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=given[0],
            kwargs=given[1],
            backend=task.backend,
            errors=[],
            worker_ids=[],
        )

    def _failure(self, path: str, traceback: str) -> Any:
        return self._error(exception_class_path=path, traceback=traceback)

    def _errors(self, run: Run) -> list[Any]:
        """Return an error for each attempt that failed, and one for what ended the run otherwise."""
        failures = [attempt.error for attempt in run.attempts if attempt.error is not None]
        if run.error is not None and run.error not in failures[-1:]:
            failures.append(run.error)
        return [
            self._failure(class_path(error, run.status), error.stack_trace or error.message)
            for error in failures
        ]


def _fill(result: Any, **values: Any) -> Any:
    """Set fields of a result, which is frozen for everybody else."""
    for name, value in values.items():
        object.__setattr__(result, name, value)
    return result


def _when(moment: datetime | None) -> datetime | None:
    """Return the moment as Django has times: naive without USE_TZ."""
    if moment is None or settings.USE_TZ:
        return moment
    naive: datetime = timezone.make_naive(moment, timezone.get_default_timezone())
    return naive


def status_of(status: RunStatus) -> str:
    """Return Django's word for the status. Who waits is ready to be executed again, once it may."""
    if status.is_success:
        return "SUCCESSFUL"
    if status.is_final:
        return "FAILED"
    return "RUNNING" if status is RunStatus.EXECUTING else "READY"


def _last_attempt(run: Run) -> datetime | None:
    if run.attempt_count < 2 or run.started_at is None:
        return run.started_at
    last = max(run.attempts, key=lambda attempt: attempt.number, default=None)
    if last is not None and last.number == run.attempt_count:
        return last.started_at
    return run.dequeued_at or run.started_at


def _workers(run: Run | None, attempts: int) -> list[str]:
    """Return the workers of so many attempts."""
    noted = (run.metadata or {}).get(WORKERS) if run is not None else None
    names = [str(name) for name in noted] if isinstance(noted, list) else []
    return [*names[:attempts], *[UNKNOWN] * (attempts - len(names))]


def class_path(error: RunError, status: RunStatus) -> str:
    """Return the dotted path of the exception's class, as its traceback has it."""
    if error.stack_trace is not None and error.name:
        last = error.stack_trace.rpartition(_HEADER)[2]
        name = rf"^((?:[^\W\d]\w*\.|<locals>\.)*{re.escape(error.name)})(?::|$)"
        found = re.search(name, last, re.MULTILINE)
        if found is not None:
            path = found[1]
            return path if "." in path else f"builtins.{path}"
    return _ENDED_BY.get(status, "trigger_celery.errors.RunFailedError")
