"""Time limits of Celery's pools: prefork raises in the attempt, and later kills its process."""

from __future__ import annotations

from typing import Any

from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.time_limits import error_of, is_over_hard_limit
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.engine.codec import dump_error


def soft_limit(worker: Any, task: Any) -> float | None:
    """Return the seconds after which the pool interrupts the task: its own limit, or the worker's."""
    seconds: float | None = task.soft_time_limit or worker.soft_time_limit
    return seconds


def timed_out(task: Any, grant: Grant, problem: BaseException) -> Ending | None:
    """Return the ending of an attempt whose process was killed for the hard limit.

    None: for something else, or what Celery delivers again after it. Then it is a process that died.
    """
    if not is_over_hard_limit(problem) or _comes_again(task, grant):
        return None
    return Ending(grant.id, grant.epoch, "failed", "TIMED_OUT", dump_error(error_of(problem, None)))


def _comes_again(task: Any, grant: Grant) -> bool:
    """Whether the message of a task that is taken over would go back to the broker."""
    if REGISTRY.tasks[grant.task].plain is None or not task.acks_late:
        return False
    acks = getattr(task, "acks_on_timeout", None)  # since Celery 5.7
    return not (task.acks_on_failure_or_timeout if acks is None else acks)
