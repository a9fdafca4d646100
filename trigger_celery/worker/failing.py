"""What is recorded of an attempt that failed, and what Celery shall see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trigger_celery.engine.attempts import Ending
from trigger_celery.engine.codec import dump_error
from trigger_celery.model.run import RunError
from trigger_celery.worker import memory
from trigger_celery.worker.celery_internals import Retry as CeleryRetry
from trigger_celery.worker.completing import as_exception, user_part

if TYPE_CHECKING:
    from trigger_celery.worker.executor import RunExecution

_CODES = {
    "input": "TASK_INPUT_ERROR",
    "output": "TASK_OUTPUT_ERROR",
    "middleware": "TASK_MIDDLEWARE_ERROR",
    "catch_error": "HANDLE_ERROR_ERROR",
}
"""What is recorded beside an error, by the stage of the attempt that raised it."""


def ending_of_failure(
    execution: RunExecution, problem: BaseException, delay: int | None, status: str
) -> tuple[Ending, Exception]:
    """Return the ending of an attempt that failed, and what Celery shall see.

    *delay*: the ms until the next attempt; without one, *status* is that of the run.
    """
    grant = execution.grant
    starved = isinstance(problem, memory.OUT_OF_MEMORY)
    code = memory.CODE if starved else _CODES.get(execution.stage)
    shown, error = as_exception(problem), _described(problem, code)
    if delay is None:
        status = "CRASHED" if starved else status
        return Ending(grant.id, grant.epoch, "failed", status, error), shown
    seconds: Any = delay / 1000
    retry = CeleryRetry(exc=shown, when=seconds)
    settings = execution.trigger.settings
    machine = memory.larger_machine(execution.policy, grant, settings) if starved else None
    if machine is not None:
        return memory.moved(grant, delay, machine, error), retry
    return Ending(grant.id, grant.epoch, "retry", delay, error), retry


def _described(problem: BaseException, code: str | None) -> str:
    problem.__traceback__ = user_part(problem)
    error = RunError.of(problem)
    return dump_error(RunError(error.name, error.message, error.stack_trace, error.type, code))
