"""A run in this worker's hands."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.engine.codec import dump_error
from trigger_celery.errors import RunLeaseLostError
from trigger_celery.model.retry import REQUEUE_FROM_MS, Retry, decide
from trigger_celery.model.run import RunError

if TYPE_CHECKING:
    from trigger_celery.worker.executor import RunExecution
    from trigger_celery.worker.stopping import ActiveTime


@dataclass(slots=True, eq=False)
class Job:
    """One run from its dequeue to its end here; several attempts when they follow in place."""

    grant: Grant
    number: int
    request: Any = None
    execution: RunExecution | None = None
    active: ActiveTime | None = None
    """How long the attempt may still be active, on an event loop."""
    task: asyncio.Task[None] | None = None
    result: Any = None
    """What the pool answered when the attempt was handed to it."""
    accepted: bool = False
    pid: int = 0
    """The pool process that executes the attempt, where there is one."""
    waiting: bool = False
    """Between two attempts, for the delay of the retry."""
    since: float = field(default_factory=time.monotonic)

    @property
    def parked(self) -> bool:
        """Whether the run has nothing to do but wait."""
        return self.execution is not None and self.execution.parking.parked

    def cancel(self) -> None:
        """Stop the attempt; only for jobs on an event loop, and from its thread."""
        if self.task is not None:
            self.task.cancel()

    def give_up(self, reason: RunLeaseLostError) -> None:
        """Stop the attempt because the run is not this worker's any more."""
        if self.execution is not None:
            self.execution.parking.stop(reason)
        self.cancel()


def back(grant: Grant) -> Ending:
    """Return the ending of an attempt that did not begin: the run goes back to its queue."""
    return Ending(grant.id, grant.epoch, "back", "", "")


def lost(grant: Grant, policy: Retry | None, attempt: int, message: str) -> Ending:
    """Return the ending of an attempt whose process died or was stopped from outside."""
    delay = decide(policy, attempt, retryable=True, rng=random.random)
    error = RunError.internal("TASK_PROCESS_EXITED", message)
    detail = "" if delay is None else delay
    return Ending(grant.id, grant.epoch, "lost", detail, dump_error(error))


def stays(ending: Ending) -> bool:
    """Tell whether the run stays in this worker for its next attempt: a delay under 30 s."""
    return (
        ending.kind in ("retry", "lost")
        and ending.detail != ""
        and int(ending.detail) < REQUEUE_FROM_MS
    )


def next_attempt(grant: Grant, ending: Ending) -> Grant:
    """Return the grant of the attempt that follows in place."""
    if grant.started_ms is None:
        grant.started_ms = int(grant.epoch) // 1000  # made when the run was handed over
    grant.attempt += 1
    if ending.payload is not None:
        grant.payload, grant.payload_type = ending.payload.data, ending.payload.type
        grant.payload_apart = False
    grant.resumed = False
    return grant
