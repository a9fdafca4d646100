"""Celery's time limits: how an exception says that one was exceeded, and what a run tells of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from trigger_celery.model.run_error import RunError


def is_over_limit(problem: object) -> bool:
    """Whether this is what comes of a soft or a hard time limit."""
    return isinstance(problem, SoftTimeLimitExceeded | TimeLimitExceeded)


def is_over_hard_limit(problem: object) -> bool:
    """Whether a pool has killed its process for the hard time limit."""
    return isinstance(problem, TimeLimitExceeded)


def outcome_of(problem: BaseException) -> str:
    """Return the status of a recorded run whose execution ended with this exception."""
    if is_over_limit(problem):
        return "TIMED_OUT"
    return "CRASHED" if isinstance(problem, WorkerLostError) else "FAILED"


def error_of(problem: BaseException, soft: float | None) -> RunError:
    """Describe an exception; one that comes of a time limit says which it was.

    *soft*: the seconds of the soft limit that counted, which its exception does not know.
    """
    error = RunError.of(problem)
    if isinstance(problem, TimeLimitExceeded):
        return replace(error, message=_over("hard", problem.args[0] if problem.args else None))
    if isinstance(problem, SoftTimeLimitExceeded) and not problem.args:
        return replace(error, message=_over("soft", soft))
    return error


def soft_limit_of(request: Any, task: Any) -> float | None:
    """Return the seconds of the soft limit of an execution: that of its message, or the task's."""
    limits = getattr(request, "timelimit", None) or (None, None)
    seconds: float | None = limits[1] or task.soft_time_limit
    return seconds


def _over(kind: str, seconds: Any) -> str:
    known = isinstance(seconds, int | float) and seconds > 0
    return f"the {kind} time limit{f' of {seconds:g} s' if known else ''} was exceeded"
