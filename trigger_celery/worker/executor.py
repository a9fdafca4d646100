"""One attempt as a pipeline over a value: decode, validate, run, encode, decide.

The outcome is an `Ending`, recorded by whoever executes: the loop's group commit or the pool
child. Exceptions that leave `invoke` are for Celery's tracer: `Retry`, or the task's own.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.context import (
    AttemptContext,
    Context,
    EnvironmentContext,
    ProjectContext,
    QueueContext,
    RunContext,
    TaskContext,
)
from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.engine.codec import dump_error
from trigger_celery.errors import AbortTaskRunError, OutputError, RunLeaseLostError
from trigger_celery.model.packet import decode, encode
from trigger_celery.model.retry import Retry, decide, effective
from trigger_celery.model.run import RunError
from trigger_celery.worker.celery_internals import Retry as CeleryRetry
from trigger_celery.worker.celery_internals import being_terminated, cause

logger = logging.getLogger("trigger_celery.worker")
_OURS = str(Path(__file__).parent.parent)


class RunExecution:
    """One attempt of a run under way."""

    __slots__ = ("_ctx", "_how", "_stage", "definition", "ending", "grant", "trigger")

    def __init__(
        self,
        trigger: TriggerCelery,
        definition: TaskDefinition,
        grant: Grant,
        how: Callable[[RunExecution], Any],
    ) -> None:
        self.trigger = trigger
        self.definition = definition
        self.grant = grant
        self.ending: Ending | None = None
        self._how = how
        self._stage = "input"
        self._ctx: Context | None = None

    def invoke(self) -> Any:
        """Run the function for this attempt, in the way of the pool."""
        return self._how(self)

    @property
    def policy(self) -> Retry | None:
        """The retry policy that counts: the trigger's, the task's, the settings'."""
        return effective(
            self.definition.retry,
            self.trigger.settings.default_retry,
            self.grant.max_attempts,
        )

    @property
    def ctx(self) -> Context:
        """The run's context, made when somebody asks."""
        if self._ctx is None:
            self._ctx = _context(self)
        return self._ctx

    def payload(self) -> Any:
        """Return the decoded payload."""
        return decode(self.grant.payload, self.grant.payload_type)

    def call(self) -> Any:
        """Decode, validate, and call the function: its value, or a coroutine."""
        payload = self.payload()
        schema = self.definition.schema
        if schema is not None:
            payload = schema.parse(payload, self.definition.id)
        self._stage = "run"
        return self.definition.call(payload, self.ctx if self.definition.takes_ctx else None)

    def succeed(self, value: Any) -> Any:
        """Encode the output and note that the run is done. Raises OutputError."""
        self._stage = "output"
        packet = encode(value, error=OutputError, too_large=OutputError, what="output")
        self.ending = Ending(self.grant.id, self.grant.epoch, "done", packet.type, packet.data)
        return value

    def fail(self, problem: BaseException) -> Exception:
        """Decide what follows from the exception, note it, and return what Celery shall see."""
        retryable = self._stage == "run" and not isinstance(problem, AbortTaskRunError)
        delay = decide(self.policy, self.grant.attempt, retryable=retryable, rng=random.random)
        error = self._describe(problem)
        if delay is None:
            self._end("failed", "FAILED", error)
            return problem if isinstance(problem, Exception) else _as_exception(problem)
        self._end("retry", delay, error)
        shown = problem if isinstance(problem, Exception) else _as_exception(problem)
        seconds: Any = delay / 1000
        return CeleryRetry(exc=shown, when=seconds)

    def conclude(self, failed: int, value: Any) -> None:
        """Note an outcome that did not come from the function: the task's class decided before."""
        if self.ending is not None:
            return
        self._stage = "run"
        if failed:
            self.fail(cause(value))
            return
        try:
            self.succeed(value)
        except OutputError as problem:
            self.fail(problem)

    def _end(self, kind: Any, detail: str | int, error: RunError) -> None:
        self.ending = Ending(self.grant.id, self.grant.epoch, kind, detail, dump_error(error))

    def _describe(self, problem: BaseException) -> RunError:
        problem.__traceback__ = _user_part(problem.__traceback__)
        error = RunError.of(problem)
        code = {"input": "TASK_INPUT_ERROR", "output": "TASK_OUTPUT_ERROR"}.get(self._stage)
        if code is None:
            return error
        return RunError(error.name, error.message, error.stack_trace, error.type, code)


def invoke_sync(execution: RunExecution) -> Any:
    """Run a `def` task in the current thread."""
    try:
        return execution.succeed(execution.call())
    except RunLeaseLostError:
        raise
    except BaseException as problem:
        if being_terminated():
            raise
        raise execution.fail(problem) from problem


async def invoke_async(execution: RunExecution) -> Any:
    """Run an `async def` task on the current event loop."""
    try:
        return execution.succeed(await execution.call())
    except RunLeaseLostError:
        raise
    except asyncio.CancelledError as problem:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the worker stops it: shutdown or a lost lease
        raise execution.fail(problem) from problem
    except BaseException as problem:
        raise execution.fail(problem) from problem


def _as_exception(problem: BaseException) -> Exception:
    return RuntimeError(f"{type(problem).__name__}: {problem}")


def _user_part(traceback: TracebackType | None) -> TracebackType | None:
    """Cut the frames of this library off the outer end of a traceback."""
    inner = traceback
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_OURS):
        inner = inner.tb_next
    return inner or traceback


def _context(execution: RunExecution) -> Context:
    grant, definition = execution.grant, execution.definition
    policy, settings = execution.policy, execution.trigger.settings
    return Context(
        task=TaskContext(definition.id, definition.file_path),
        attempt=AttemptContext(grant.attempt, datetime.now(UTC)),
        run=RunContext(
            id=grant.id,
            tags=grant.tags,
            created_at=datetime.fromtimestamp(grant.created_ms / 1000, UTC),
            max_attempts=policy.max_attempts if policy is not None else 1,
            priority=grant.priority_ms / 1000,
            concurrency_key=grant.concurrency_key or None,
        ),
        queue=QueueContext(grant.queue),
        environment=EnvironmentContext(settings.env),
        project=ProjectContext(settings.project),
    )
