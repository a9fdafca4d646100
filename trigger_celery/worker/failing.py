"""What is recorded of an attempt that failed, and what Celery shall see of it."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge import precedence
from trigger_celery.bridge.celery_calls import replaced_id
from trigger_celery.bridge.celery_side import CANVAS, REQUEUED, dump_side, load_side
from trigger_celery.bridge.time_limits import error_of, is_over_limit
from trigger_celery.engine.attempts import Ending
from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.continuing import change_call, read_celery
from trigger_celery.errors import (
    AbortTaskRunError,
    PayloadLostError,
    PayloadStoreError,
    ReplayMismatchError,
    TooManyCallsError,
)
from trigger_celery.model.ids import run_id_of
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.retry import decide
from trigger_celery.model.run import RunError
from trigger_celery.worker import memory
from trigger_celery.worker.celery_internals import Ignore, Reject
from trigger_celery.worker.celery_internals import Retry as CeleryRetry
from trigger_celery.worker.completing import as_exception, user_part

if TYPE_CHECKING:
    from trigger_celery.worker.executor import RunExecution

CeleryTold = (CeleryRetry, Ignore, Reject)
"""What a task raises to tell Celery what follows."""

REPLACED = ("Replaced by new task",)
"""With what Celery's `replace` ends the task."""

REQUEUED_AFTER = 1000
"""Ms after which a rejected message would come again; Celery's comes at once, and burns."""

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
    if isinstance(problem, CeleryRetry) and delay is None:
        problem = problem.exc if isinstance(problem.exc, Exception) else problem
    elif isinstance(problem, Ignore) or (isinstance(problem, CeleryTold) and delay is not None):
        return _as_told(execution, problem, delay), problem
    starved = isinstance(problem, memory.OUT_OF_MEMORY)
    code = memory.CODE if starved else _CODES.get(execution.stage)
    shown, error = as_exception(problem), _described(execution, problem, code)
    if delay is None:
        if starved or is_over_limit(problem):
            status = "CRASHED" if starved else "TIMED_OUT"
        return Ending(grant.id, grant.epoch, "failed", status, error), shown
    seconds: Any = delay / 1000
    retry = CeleryRetry(exc=shown, when=seconds)
    settings = execution.trigger.settings
    machine = memory.larger_machine(execution.policy, grant, settings) if starved else None
    if machine is not None:
        return memory.moved(grant, delay, machine, error), retry
    return Ending(grant.id, grant.epoch, "retry", delay, error), retry


NEVER_RETRIED = (AbortTaskRunError, ReplayMismatchError, TooManyCallsError, *memory.OUT_OF_MEMORY)

SAY_THEMSELVES = (*NEVER_RETRIED, *CeleryTold)
"""What says itself whether there is another attempt."""


def is_worth_a_retry(problem: BaseException) -> bool:
    """Whether a payload that could not be read may be there later."""
    return isinstance(problem, PayloadStoreError) and not isinstance(problem, PayloadLostError)


def delay_after(execution: RunExecution, problem: BaseException) -> int | None:
    """Return the ms until the attempt that follows this failure, or None when it is final."""
    stage, grant = execution.stage, execution.grant
    if isinstance(problem, CeleryTold) or (execution.definition.plain and stage == "run"):
        allowed = precedence.retries(execution.trigger.settings)
        return delay_told(problem) if allowed else None
    if isinstance(problem, memory.OUT_OF_MEMORY):
        return memory.delay_of_move(execution.policy, grant, execution.trigger.settings)
    retryable = (
        execution.may_catch(problem)
        or (stage == "middleware" and not isinstance(problem, NEVER_RETRIED))
        or (stage == "input" and is_worth_a_retry(problem))
    )
    return decide(execution.policy, grant.attempt, retryable=retryable, rng=random.random)


def delay_told(problem: BaseException) -> int | None:
    """Return the ms until the next attempt that Celery's own means ask for; None: for none.

    What a plain task raises besides is final, as it is for Celery.
    """
    if isinstance(problem, CeleryRetry):
        when: Any = problem.when
        if isinstance(when, datetime):
            at = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
            when = (at - datetime.now(UTC)).total_seconds()
        return max(0, round(float(when or 0) * 1000))
    requeued = isinstance(problem, Reject) and getattr(problem, "requeue", False)
    return REQUEUED_AFTER if requeued else None


def _as_told(
    execution: RunExecution, problem: CeleryRetry | Ignore | Reject, delay: int | None
) -> Ending:
    """Return the ending of an attempt that Celery's means end: `retry`, `Reject`, `Ignore`."""
    grant = execution.grant
    if delay is None:
        put_aside(execution, problem)
        return Ending(grant.id, grant.epoch, "done", JSON, "null")
    if isinstance(problem, Reject):
        _note_requeued(execution)
    cause = getattr(problem, "exc", None)
    error = _described(execution, cause if isinstance(cause, Exception) else problem, None)
    changed = Packet(grant.payload, grant.payload_type) if grant.changed else None
    return Ending(grant.id, grant.epoch, "retry", delay, error, changed)


def _note_requeued(execution: RunExecution) -> None:
    """Let the next attempt see what Celery shows of a message that comes again."""
    grant, store = execution.grant, execution.trigger.store
    text = store.run_blocking(read_celery(store.scope, grant.id))
    side = load_side(text)
    side[REQUEUED] = side.get(REQUEUED, 0) + 1
    side["delivery_info"] = {**(side.get("delivery_info") or {}), "redelivered": True}
    changed = dump_side(side, text[:1] or "x")
    store.run_blocking(change_call(store.scope, grant.id, grant.epoch, changed))


def put_aside(execution: RunExecution, problem: BaseException) -> None:
    """Nothing goes on from a run that is ignored; from one that was replaced, what replaces it does."""
    side, grant = execution.side, execution.grant
    if not side and problem.args != REPLACED:
        return
    task_id = str(side.get("id") or grant.id)
    left = {name: value for name, value in side.items() if name not in CANVAS}
    if problem.args == REPLACED:
        nesting = side.get("replaced_task_nesting", 0) + 1
        left["replaced_by"] = run_id_of(replaced_id(task_id, nesting))
    store, scope = execution.trigger.store, execution.trigger.scope
    store.run_blocking(change_call(scope, grant.id, grant.epoch, dump_side(left, "x")))


def _described(execution: RunExecution, problem: BaseException, code: str | None) -> str:
    problem.__traceback__ = user_part(problem)
    error = error_of(problem, execution.soft_limit)
    return dump_error(RunError(error.name, error.message, error.stack_trace, error.type, code))
