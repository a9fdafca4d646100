"""One attempt as a pipeline over a value: decode, validate, run, encode, decide.

The outcome is an `Ending`, recorded by whoever executes: the loop's group commit or the pool
child. Exceptions that leave `invoke` are for Celery's tracer: `Retry`, or the task's own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from trigger_celery.bridge import precedence
from trigger_celery.bridge.belongings import Background, Belongings
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.context import Context, current_execution
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.run_log import RunLog
from trigger_celery.bridge.run_promise import RunPromise
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.engine.admission import labels_of
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.engine.codec import dump_error, dump_links
from trigger_celery.errors import (
    OutputError,
    RunLeaseLostError,
)
from trigger_celery.model.attempt_outcome import Decision
from trigger_celery.model.packet import Packet, decode, encode
from trigger_celery.model.retry import Retry
from trigger_celery.model.run import RunError
from trigger_celery.model.wait import WaitInfo
from trigger_celery.worker.attempt_hooks import (
    AttemptHooks,
    log_failure,
    outside_the_record,
    run_with_hooks,
)
from trigger_celery.worker.celery_internals import being_terminated, cause
from trigger_celery.worker.completing import as_exception, completion
from trigger_celery.worker.failing import SAY_THEMSELVES, delay_after, ending_of_failure
from trigger_celery.worker.grounds import BESIDE, ON_LOOP, Ground, InThread, keep, run_now
from trigger_celery.worker.parking import RunParking
from trigger_celery.worker.plain_results import pack_result
from trigger_celery.worker.run_context import context_of
from trigger_celery.worker.traced_attempt import execute, hook_span

logger = logging.getLogger("trigger_celery.worker")

_LOCK = threading.Lock()


class RunExecution:
    """One attempt of a run under way."""

    __slots__ = (
        "_belongings", "_ctx", "_how", "_signal", "began", "canceled", "definition", "durable", "ending",
        "grant", "hooked", "hooks", "log", "parking", "promise", "soft_limit", "stage", "trigger",
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
        self.log: RunLog | None = None
        links = dump_links(grant.id, grant.root_id or grant.id, grant.depth + 1)
        test = bool(grant.options) and bool(labels_of(grant.options)["is_test"])
        self.durable = Durable(grant.id, grant.epoch, grant.attempt, links, test=test)
        self._how = how
        self.stage = "input"
        self._ctx: Context | None = None
        self._belongings: Belongings | None = None
        self.hooked = bool(definition.hooks or REGISTRY.hooks)
        self.hooks: AttemptHooks | None = None
        self.promise: RunPromise | None = None
        self.soft_limit: float | None = None
        """Seconds after which the pool raises SoftTimeLimitExceeded in the attempt."""
        self.began = time.time()

    @property
    def signal(self) -> RunSignal:
        """What tells the run's code that it was cancelled; made when somebody asks."""
        with _LOCK:  # the code may be in a thread and the cancel on the loop
            if self._signal is None:
                self._signal = RunSignal()
            return self._signal

    def invoke(self) -> Any:
        """Run the function for this attempt, in the way of the pool."""
        return execute(self, self._how)

    @property
    def side(self) -> dict[str, Any]:
        """What Celery says of the run; empty for nothing."""
        return self.grant.celery or {}

    def begins(self, definition: TaskDefinition) -> bool:
        """Whether this is the attempt's own call of the task, and not one that its code makes."""
        return self.stage == "input" and self.definition.id == definition.id

    @property
    def max_duration(self) -> float | None:
        """Seconds of active time that the attempt may take: the trigger's, the task's, the settings'."""
        settings = self.trigger.settings
        return precedence.max_duration_of(self.grant.max_duration_ms, self.definition, settings)

    @property
    def belongings(self) -> Belongings:
        """What the run's code keeps with it; made when somebody asks."""
        with _LOCK:
            if self._belongings is None:
                self._belongings = Belongings()
            return self._belongings

    def keep(self, work: Any) -> None:
        """Let the attempt wait for *work* at its end."""
        loop, in_thread = self.parking.loop, not self.definition.is_async
        self.belongings.background.append(keep(work, loop, in_thread=in_thread))

    @property
    def keeps(self) -> bool:
        """Whether there may be work in the background."""
        return self._belongings is not None

    def background(self) -> list[Background]:
        """Return what is kept, once."""
        if self._belongings is None:
            return []
        kept, self._belongings.background = self._belongings.background, []
        return kept

    def over(self, value: Any, problem: BaseException | None) -> None:
        """The code of a run that was stopped has ended: nothing it has begun goes on."""
        for work in self.background():
            work.cancel()
        if self.promise is not None:
            self.promise.settle(value, problem)

    def has_hooks(self, name: str) -> bool:
        """Whether somebody wants to be told."""
        if name in REGISTRY.hooks or name in self.definition.hooks:
            return True
        return name == "on_cancel" and self._belongings is not None and bool(self._belongings.hooks)

    def offer(self, name: str) -> Any:
        """Return what a hook asks for by name."""
        hooks = self.hooks
        if name == "payload":
            return hooks.payload if hooks is not None else self.parse()
        if name == "init":
            return hooks.init if hooks is not None else {}
        return self.definition.id if name == "task" else getattr(self, name)

    async def tell_hooks(self, name: str, ground: Ground, **given: Any) -> None:
        """Call the hooks of a name, those of all tasks first; an error changes nothing of the run."""
        hooks = REGISTRY.hooks_of(self.definition, name)
        if name == "on_cancel":
            hooks += self.belongings.hooks
        token = current_execution.set(self)
        try:
            for hook in hooks:
                try:
                    with outside_the_record(), hook_span(self, name):
                        await ground.tell(hook, self.offer, given)
                except BaseException as problem:
                    if ground.stops(problem):
                        raise
                    log_failure(self, name)
        finally:
            current_execution.reset(token)

    def cancel(self) -> None:
        """The run was cancelled: what its code does from now on does not count."""
        self.promise = RunPromise()
        self.canceled = True
        self.signal.abort("run cancelled")

    async def tell_of_cancel(self) -> None:
        """Call the `on_cancel` hooks; on a loop."""
        await self.tell_hooks("on_cancel", BESIDE, run_promise=self.promise)

    async def wait(self, info: WaitInfo) -> None:
        """Tell the hooks that the run begins to wait."""
        await self.tell_hooks("on_wait", self.ground, wait=info)

    async def resume(self, info: WaitInfo) -> None:
        """Tell the hooks that the run goes on."""
        await self.tell_hooks("on_resume", self.ground, wait=info)

    @property
    def ground(self) -> Ground:
        """Where the task's code stands."""
        return ON_LOOP if self.definition.is_async else InThread(self.parking.loop)

    @property
    def wait_hooks(self) -> RunExecution | None:
        """Itself when somebody wants to be told of waits."""
        return self if self.has_hooks("on_wait") or self.has_hooks("on_resume") else None

    @property
    def policy(self) -> Retry | None:
        """The retry policy that counts: the trigger's, the task's, the settings'."""
        settings = self.trigger.settings
        return precedence.retry_of(self.grant.max_attempts, self.definition, settings)

    @property
    def ctx(self) -> Context:
        """The run's context, made when somebody asks."""
        if self._ctx is None:
            self._ctx = context_of(self)
        return self._ctx

    def payload(self) -> Any:
        """Return the decoded payload."""
        return decode(self.grant.payload, self.grant.payload_type)

    def parse(self) -> Any:
        """Return the decoded payload, validated where there is a schema."""
        payload = self.payload()
        schema = self.definition.schema
        if payload is None and self.definition.scheduled:
            # Triggered by hand and by its id: the same payload in every attempt and replay.
            payload = {"timestamp": datetime.fromtimestamp(self.grant.created_ms / 1000, UTC)}
        return payload if schema is None else schema.parse(payload, self.definition.id)

    def call(self) -> Any:
        """Decode, validate, and call the function: its value, or a coroutine."""
        return self.call_with(self.parse(), None)

    def call_with(self, payload: Any, init: Any) -> Any:
        """Call the function: its value, or a coroutine."""
        self.stage = "run"
        ctx = self.ctx if self.definition.takes_ctx else None
        signal: Any = self.signal if self.definition.takes_signal else None
        return self.definition.call(payload, ctx, signal, init)

    def pack(self, value: Any) -> Packet:
        """Encode the output. Raises OutputError."""
        self.stage = "output"
        if self.definition.plain is not None:
            return pack_result(self, value)
        return encode(value, error=OutputError, too_large=OutputError, what="output")

    def done(self, packet: Packet) -> Ending:
        """Return the ending of an attempt with this output."""
        return Ending(self.grant.id, self.grant.epoch, "done", packet.type, packet.data)

    def succeed(self, value: Any) -> Any:
        """Encode the output and note that the run is done. Raises OutputError."""
        if self.void:
            self.over(value, None)
            return value
        self.ending = self.done(self.pack(value))
        return value

    def fail(self, problem: BaseException) -> Exception:
        """Decide what follows from the exception, note it, and return what Celery shall see."""
        if self.void:
            self.over(None, problem)
            return as_exception(problem)
        self.ending, shown = self.failed(problem, self.delay_after(problem))
        return shown

    def delay_after(self, problem: BaseException) -> int | None:
        """Return the ms until the next attempt, or None when the failure is final."""
        return delay_after(self, problem)

    def may_catch(self, problem: BaseException) -> bool:
        """Whether `catch_error` is asked: an error of the task's code that does not say itself."""
        if not precedence.retries(self.trigger.settings):
            return False
        return self.stage == "run" and not isinstance(problem, SAY_THEMSELVES)

    def decision_offered(self, error: Exception, decision: Decision) -> dict[str, Any]:
        """Return what `catch_error` is told of a failure and of what would follow from it."""
        delay = decision.delay
        at = None if delay is None else datetime.now(UTC) + timedelta(milliseconds=delay)
        return {
            "error": error,
            "retry": self.policy,
            "retry_at": at,
            "retry_delay_in_ms": delay,
        }

    def failed(
        self, problem: BaseException, delay: int | None, status: str = "FAILED"
    ) -> tuple[Ending, Exception]:
        """Return the ending of an attempt that failed, and what Celery shall see."""
        return ending_of_failure(self, problem, delay, status)

    def conclude(self, failed: int, value: Any) -> None:
        """Note an outcome that did not come from the function: the task's class decided before."""
        if self.ending is not None or self.void:
            return
        self.stage = "run"
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
        grant = self.grant
        self.ending = Ending(grant.id, grant.epoch, "failed", "TIMED_OUT", dump_error(error))
        return self.ending


def invoke_sync(execution: RunExecution) -> Any:
    """Run a `def` task in the current thread."""
    if execution.hooked:
        return run_now(run_with_hooks(execution, execution.ground))
    try:
        value = execution.call()
        if execution.keeps:
            run_now(execution.ground.finish(execution))
        return execution.succeed(value)
    except RunLeaseLostError as problem:
        execution.over(None, problem)
        raise
    except BaseException as problem:
        if being_terminated():
            raise
        return run_now(_conclude(execution, problem))


async def invoke_async(execution: RunExecution) -> Any:
    """Run an `async def` task on the current event loop."""
    if execution.hooked:
        return await run_with_hooks(execution, ON_LOOP)
    try:
        value = await execution.call()
        if execution.keeps:
            await ON_LOOP.finish(execution)
        return execution.succeed(value)
    except RunLeaseLostError as problem:
        execution.over(None, problem)
        raise
    except asyncio.CancelledError as problem:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            execution.over(None, problem)
            raise  # the worker stops it: shutdown or a lost lease
        return await _conclude(execution, problem)
    except BaseException as problem:
        return await _conclude(execution, problem)


async def _conclude(execution: RunExecution, problem: BaseException) -> Any:
    """Note the outcome of a function that raised; raises what Celery shall see."""
    if execution.keeps:
        await execution.ground.finish(execution)
    done = completion(problem) if execution.stage == "run" else None
    if done is None:
        raise execution.fail(problem) from problem
    try:
        return execution.succeed(done.output)
    except BaseException as unfit:
        raise execution.fail(unfit) from unfit
