"""Runs that a test can look at and make assertions about: what `trigger_env` and inline mode share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, Protocol

from trigger_celery.errors import closest
from trigger_celery.model.run import Run, RunError, RunStatus
from trigger_celery.model.run_error import error_line
from trigger_celery.sdk.handle import RunHandle
from trigger_celery.sdk.task import Task
from trigger_celery.testing.expectations import Expectation, described, nearest, unset


class CeleryTask(Protocol):
    """What `@app.task` and `@shared_task` make."""

    name: str


SomeTask = Task[Any, Any] | CeleryTask | str
"""A task, a Celery task that is taken over, or the id or name."""
SomeRun = Run | RunHandle | str
"""A run: what `trigger` returned, a Run, or its id."""

_UNSET: Final = unset()


class RecordedRuns(ABC):
    """The runs of one test, with assertions whose failures tell what there was instead."""

    @property
    @abstractmethod
    def runs(self) -> list[Run]:
        """Every run, those made by tasks included, in the order in which they were triggered."""

    @abstractmethod
    def ended(self, run: SomeRun) -> Run:
        """Return the run once it is final. Raises AssertionError when it will not be."""

    def runs_of(self, task: SomeTask) -> list[Run]:
        """Return the runs of a task, in the order in which they were triggered."""
        task_id = id_of_task(task)
        return [run for run in self.runs if run.task_identifier == task_id]

    def run_of(self, task: SomeTask) -> Run:
        """Return the one run of a task. Raises AssertionError when there is none, or several."""
        found = self.runs_of(task)
        if len(found) == 1:
            return found[0]
        task_id = id_of_task(task)
        if found:
            raise AssertionError(
                f"{len(found)} runs of {task_id!r}, not one; runs_of(…) returns all:\n{described(found)}"
            )
        raise AssertionError(f"no run of {task_id!r}{self._among(task_id)}")

    def assert_triggered(
        self, task: SomeTask, *, payload: Any = _UNSET, times: int | None = None, **options: Any
    ) -> Run:
        """Assert that the task was triggered, and return its run (of several, the newest).

        Args:
            task: the task, or its id.
            payload: what it was triggered with: a value (`unittest.mock.ANY` fits anything) or a
                function that is given the payload and says whether it fits.
            times: how many such runs there are; without it at least one.
            options: what they were triggered with: `queue`, `tags` (it may have more), `delay`,
                `concurrency_key`, `idempotency_key`, `priority`, `ttl`, `metadata` (as it is now),
                `max_attempts`, `machine`, `version`, `test`, `parent`, `batch_id`.
        """
        __tracebackhide__ = True
        expected = Expectation(id_of_task(task), payload, options)
        runs = self.runs
        found = [
            run
            for run in runs
            if run.task_identifier == expected.task and not expected.differences(run)
        ]
        if (times is None and not found) or (times is not None and len(found) != times):
            raise AssertionError(self._not_triggered(expected, times, found, runs))
        return found[-1] if found else _NO_RUN

    def assert_not_triggered(
        self, task: SomeTask, *, payload: Any = _UNSET, **options: Any
    ) -> None:
        """Assert that the task was not triggered, at all or in this way."""
        __tracebackhide__ = True
        expected = Expectation(id_of_task(task), payload, options)
        found = [run for run in self.runs_of(task) if not expected.differences(run)]
        if found:
            raise AssertionError(
                f"{expected} was triggered {_times(len(found))}:\n{described(found)}"
            )

    def assert_completed(self, run: SomeRun, *, output: Any = _UNSET) -> Run:
        """Assert that the run completes, with this output if one is given; returns it."""
        __tracebackhide__ = True
        found = self.ended(run)
        if found.status is not RunStatus.COMPLETED:
            raise AssertionError(
                f"{_named(found)} is {found.status}, not COMPLETED\n{_error(found)}"
            )
        expected = Expectation(found.task_identifier, output)
        if expected.has_payload and not _output_fits(output, found.output):
            raise AssertionError(f"{_named(found)} returned {found.output!r}, expected {output!r}")
        return found

    def assert_failed(
        self,
        run: SomeRun,
        *,
        error: str | type[BaseException] | None = None,
        status: str | None = None,
    ) -> Run:
        """Assert that the run fails, and return it.

        *error*: the class of the error, its name, or a part of its message. *status*: FAILED unless
        given, or CRASHED, TIMED_OUT, EXPIRED, SYSTEM_FAILURE; by default any of them.
        """
        __tracebackhide__ = True
        found = self.ended(run)
        if not found.is_failed or (status is not None and found.status != status.upper()):
            wanted = "a failure" if status is None else status.upper()
            outcome = f"output {found.output!r}" if found.is_success else _error(found)
            raise AssertionError(f"{_named(found)} is {found.status}, not {wanted}\n{outcome}")
        if error is not None and not _is_error(found.error, error):
            wanted = error if isinstance(error, str) else error.__name__
            raise AssertionError(
                f"{_named(found)} failed, but not with {wanted!r}\n{_error(found)}"
            )
        return found

    def _among(self, task_id: str) -> str:
        runs = self.runs
        if not runs:
            return ": nothing was triggered"
        hint = closest(task_id, {run.task_identifier for run in runs})
        return f".{hint} Triggered:\n{described(runs)}"

    def _not_triggered(
        self, expected: Expectation, times: int | None, found: list[Run], runs: list[Run]
    ) -> str:
        count = "" if times is None else f" {_times(times)}"
        if found:
            return f"{expected} was triggered {_times(len(found))}, not{count}:\n{described(found)}"
        own = [run for run in runs if run.task_identifier == expected.task]
        if not own:
            return f"{expected.task!r} was not triggered{count}{self._among(expected.task)}"
        return (
            f"{expected} was not triggered{count}. There {'is' if len(own) == 1 else 'are'} "
            f"{len(own)} run{'' if len(own) == 1 else 's'} of the task:\n{described(own)}\n"
            f"{nearest(expected, own)}"
        )


_NO_RUN: Any = None
"""What `times=0` returns."""


def id_of_task(task: SomeTask) -> str:
    """Return the id of a task that is given in one of its forms."""
    if isinstance(task, str):
        return task
    return task.id if isinstance(task, Task) else task.name


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _named(run: Run) -> str:
    return f"{run.id} of {run.task_identifier!r}"


def _output_fits(expected: Any, found: Any) -> bool:
    return not Expectation("", expected).differences(
        Run("", RunStatus.COMPLETED, "", payload=found)
    )


def _error(run: Run) -> str:
    if run.error is None:
        return "it has no error"
    lines = [f"{attempt.number}. {_short(attempt.error)}" for attempt in run.attempts]
    earlier = "\nearlier attempts:\n  " + "\n  ".join(lines) if len(lines) > 1 else ""
    return f"{_short(run.error)}\n{run.error.stack_trace or ''}{earlier}".rstrip()


def _short(error: RunError | None) -> str:
    return "no error" if error is None else error_line(error)


def _is_error(found: RunError | None, wanted: str | type[BaseException]) -> bool:
    if found is None:
        return False
    if isinstance(wanted, type):
        return found.name in (wanted.__name__, f"{wanted.__module__}.{wanted.__qualname__}")
    return wanted == found.name or wanted in found.message
