"""One attempt as a pipeline over a value: decode, validate, run, encode, decide.

The outcome is an `Ending`, recorded by whoever executes: the loop's group commit or the pool
child. Exceptions that leave `invoke` are for Celery's tracer: `Retry`, or the task's own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
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
    current_execution,
    current_scope,
)
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.hooks import call_hooks
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.engine.codec import dump_error, dump_links
from trigger_celery.errors import (
    AbortTaskRunError,
    OutputError,
    ReplayMismatchError,
    RunLeaseLostError,
    TooManyCallsError,
)
from trigger_celery.model.packet import decode, encode
from trigger_celery.model.retry import Retry, decide, effective
from trigger_celery.model.run import RunError
from trigger_celery.model.wait import WaitInfo
from trigger_celery.worker.celery_internals import Retry as CeleryRetry
from trigger_celery.worker.celery_internals import being_terminated, cause
from trigger_celery.worker.parking import RunParking

logger = logging.getLogger("trigger_celery.worker")

NEVER_RETRIED = (AbortTaskRunError, ReplayMismatchError, TooManyCallsError)

_OURS = str(Path(__file__).parent.parent)
_LOCK = threading.Lock()


class RunExecution:
    """One attempt of a run under way."""

    __slots__ = (
        "_ctx", "_how", "_signal", "_stage", "canceled", "definition", "durable", "ending", "grant",
        "parking", "trigger",
    )  # fmt: skip

    parking: RunParking

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
        self._signal: RunSignal | None = None
        self.canceled = False
        links = dump_links(grant.id, grant.root_id or grant.id, grant.depth + 1)
        self.durable = Durable(grant.id, grant.epoch, grant.attempt, links)
        self._how = how
        self._stage = "input"
        self._ctx: Context | None = None

    @property
    def signal(self) -> RunSignal:
        """What tells the run's code that it was cancelled; made when somebody asks."""
        with _LOCK:  # the code may be in a thread and the cancel on the loop
            if self._signal is None:
                self._signal = RunSignal()
            return self._signal

    def invoke(self) -> Any:
        """Run the function for this attempt, in the way of the pool."""
        return self._how(self)

    @property
    def max_duration(self) -> float | None:
        """Seconds of active time that the attempt may take: the trigger's, the task's, the settings'."""
        if self.grant.max_duration_ms is not None:
            return self.grant.max_duration_ms / 1000
        return self.definition.max_duration or self.trigger.settings.max_duration

    def has_hooks(self, name: str) -> bool:
        """Whether somebody wants to be told."""
        return bool(REGISTRY.hooks.get(name)) or name in self.definition.hooks

    async def call_hooks(self, name: str, **offered: Any) -> None:
        """Call the hooks of a name, those of all tasks first."""
        hooks = REGISTRY.hooks_of(self.definition, name)
        if hooks:
            everything = {"payload": self.payload(), "ctx": self.ctx, "task": self.definition.id}
            # Not called again in a replay: what hooks do is no durable call of the run.
            scope, execution = current_scope.set(None), current_execution.set(self)
            try:
                await call_hooks(hooks, {**everything, **offered})
            finally:
                current_scope.reset(scope)
                current_execution.reset(execution)

    async def tell_hooks(self, name: str, **offered: Any) -> None:
        """Call the hooks of a name; one that fails is logged, and changes nothing of the run."""
        try:
            await self.call_hooks(name, **offered)
        except Exception:
            logger.exception(
                "an %s hook of run %s failed",
                name,
                self.grant.id,
                extra={"action": "hook_failed", "run_id": self.grant.id},
            )

    async def wait(self, info: WaitInfo) -> None:
        """Tell the hooks that the run begins to wait."""
        await self.tell_hooks("on_wait", wait=info)

    async def resume(self, info: WaitInfo) -> None:
        """Tell the hooks that the run goes on."""
        await self.tell_hooks("on_resume", wait=info)

    @property
    def wait_hooks(self) -> RunExecution | None:
        """Itself when somebody wants to be told of waits."""
        return self if self.has_hooks("on_wait") or self.has_hooks("on_resume") else None

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
        ctx = self.ctx if self.definition.takes_ctx else None
        signal: Any = self.signal if self.definition.takes_signal else None
        return self.definition.call(payload, ctx, signal)

    def succeed(self, value: Any) -> Any:
        """Encode the output and note that the run is done. Raises OutputError."""
        if self.void:
            return value
        self._stage = "output"
        packet = encode(value, error=OutputError, too_large=OutputError, what="output")
        self.ending = Ending(self.grant.id, self.grant.epoch, "done", packet.type, packet.data)
        return value

    def fail(self, problem: BaseException) -> Exception:
        """Decide what follows from the exception, note it, and return what Celery shall see."""
        shown = problem if isinstance(problem, Exception) else _as_exception(problem)
        if self.void:
            return shown
        retryable = self._stage == "run" and not isinstance(problem, NEVER_RETRIED)
        delay = decide(self.policy, self.grant.attempt, retryable=retryable, rng=random.random)
        error = self._describe(problem)
        if delay is None:
            self._end("failed", "FAILED", error)
            return shown
        self._end("retry", delay, error)
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

    @property
    def void(self) -> bool:
        """Whether the run was taken away or stopped: what its code does then does not count."""
        timed_out = self.ending is not None and self.ending.detail == "TIMED_OUT"
        return self.canceled or timed_out or self.durable.parking.stopped is not None

    def over_duration(self) -> str:
        """Return the message for an attempt that took too long."""
        return f"run {self.grant.id} was active for its maximum duration of {self.max_duration:g} s"

    def time_out(self, problem: BaseException) -> Ending:
        """Note that the attempt took too long; whatever its code does then does not count."""
        error = RunError.internal("MAX_DURATION_EXCEEDED", str(problem))
        return self._end("failed", "TIMED_OUT", error)

    def _end(self, kind: Any, detail: str | int, error: RunError) -> Ending:
        ending = Ending(self.grant.id, self.grant.epoch, kind, detail, dump_error(error))
        self.ending = ending
        return ending

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
            parent_id=grant.parent_id,
            root_id=grant.root_id or grant.id,
            depth=grant.depth,
            batch_id=grant.batch_id,
            max_duration=execution.max_duration,
        ),
        queue=QueueContext(grant.queue),
        environment=EnvironmentContext(settings.env),
        project=ProjectContext(settings.project),
    )
