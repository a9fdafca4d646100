"""The hooks around one attempt, in their order: from the middleware to the outcome.

    middleware (those of all tasks, the task's own)
      init > on_start > on_start_attempt > the function
      on_success, or catch_error and on_failure > on_complete > cleanup > background work
    what middleware does after `next()`

Written once, as coroutines; the ground says how a hook's awaitable is awaited: on the loop of an
async task, or in the thread of a sync one, where these coroutines never suspend. An attempt
without hooks does not come here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.hooks import BoundHook
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.attempts import Ending, holds
from trigger_celery.errors import MiddlewareError, OutputError, RunLeaseLostError, StoreError
from trigger_celery.model.attempt_outcome import AttemptOutcome, Decision, read_decision
from trigger_celery.model.packet import Packet
from trigger_celery.worker.celery_internals import Ignore
from trigger_celery.worker.completing import as_exception, completion
from trigger_celery.worker.grounds import Ground
from trigger_celery.worker.traced_attempt import hook_span

if TYPE_CHECKING:
    from trigger_celery.worker.executor import RunExecution

logger = logging.getLogger("trigger_celery.worker")


async def run_with_hooks(execution: RunExecution, ground: Ground) -> Any:
    """Execute the attempt; returns its output, or raises what Celery's tracer shall see."""
    try:
        hooks = execution.hooks = AttemptHooks(execution, ground, execution.parse())
    except BaseException as problem:
        if ground.stops(problem):
            raise
        raise execution.fail(problem) from problem
    execution.stage = "run"
    try:
        return await hooks.run()
    except BaseException as problem:
        if ground.stops(problem):
            execution.over(None, problem)
        raise


class AttemptHooks:
    """One attempt under way with its hooks."""

    __slots__ = (
        "_ending", "_execution", "_ground", "_left", "_reached", "_shown", "init", "outcome",
        "payload",
    )  # fmt: skip

    def __init__(self, execution: RunExecution, ground: Ground, payload: Any) -> None:
        self._execution = execution
        self._ground = ground
        self.payload = payload
        self.init: dict[str, Any] = {}
        self.outcome: AttemptOutcome | None = None
        self._ending: Ending | None = None
        """Noted at the very end: until then the attempt may time out."""
        self._shown: Exception | None = None
        """What Celery shall see of a failure."""
        self._reached = False
        self._left: BaseException | None = None
        """What stopped the run: middleware cannot swallow it."""

    async def run(self) -> Any:
        """Execute the attempt and note its ending."""
        around = REGISTRY.hooks_of(self._execution.definition, "middleware")
        try:
            await self._through(around, 0)
            if self.outcome is None and self._left is None:
                self._ground.check()
                raise MiddlewareError(self._unreached())
        except BaseException as problem:
            if self._left is not None:
                raise self._left from None
            if self._ground.stops(problem):
                raise
            await self._middleware_failed(problem)
        if self._left is not None:
            raise self._left
        await self._ground.finish(self._execution)
        return self._noted()

    def _noted(self) -> Any:
        execution, outcome = self._execution, self.outcome
        output = outcome.output if outcome is not None else None
        if execution.void:
            execution.over(output, self._shown)
        else:
            execution.ending = self._ending
        if self._shown is not None:
            raise self._shown
        return output

    def _unreached(self) -> str:
        if self._reached:
            return "middleware broke off what it had called by next()"
        return (
            "middleware did not call next(), so the task was not executed. Await it in async "
            "middleware, `await next()`; to refuse a run, raise AbortTaskRunError"
        )

    async def _through(self, around: list[BoundHook], depth: int) -> AttemptOutcome:
        """Go through the middleware from *depth* on, and then inside."""
        if depth == len(around):
            return await self._inside()
        called = False

        async def go_on() -> AttemptOutcome:
            nonlocal called
            if called:
                raise MiddlewareError("middleware called next() twice")
            called = True
            return await self._through(around, depth + 1)

        await self._ground.through(around[depth], self._execution.offer, go_on)
        if self.outcome is None:
            self._ground.check()
            raise MiddlewareError(self._unreached())
        return self.outcome

    async def _inside(self) -> AttemptOutcome:
        self._reached = True
        try:
            await self._execute()
        except BaseException as problem:
            # A cancelled task may be a time-out of the middleware's own.
            if not isinstance(problem, asyncio.CancelledError):
                self._left = problem
            raise
        assert self.outcome is not None  # noqa: S101 - `_execute` made it
        return self.outcome

    async def _execute(self) -> None:
        """Everything inside the middleware. Raises only what stops the run."""
        execution, packet = self._execution, None
        try:
            output = await self._function()
            packet = execution.pack(output)
        except BaseException as problem:
            if self._ground.stops(problem):
                raise
            await self._failed(problem)
        else:
            await self._succeeded(output, packet)
        await self._clean_up()
        await self._ground.finish(execution)

    async def _function(self) -> Any:
        execution = self._execution
        for hook in REGISTRY.hooks_of(execution.definition, "init"):
            with hook_span(execution, "init"):
                self._take_init(await self._ground.inside(hook, execution.offer))
        # A replay goes on where the run was: these have been called.
        if not execution.durable.has_calls_ahead:
            if execution.grant.attempt == 1:
                await self.call("on_start")
            await self.call("on_start_attempt")
        try:
            return await self._ground.settle(execution.call_with(self.payload, self.init))
        except BaseException as problem:
            done = completion(problem)
            if done is None:
                raise
            return done.output
        finally:
            # What follows, hooks for one, was not reached before.
            execution.durable.root.beyond = True

    def _take_init(self, given: Any) -> None:
        if given is None:
            return
        if not isinstance(given, Mapping):
            raise TypeError(
                f"an init hook returned {type(given).__name__}; it returns a dict, or None. For a "
                "single value: return {'db': db}, and read init['db']"
            )
        self.init.update(given)

    async def call(self, name: str, **given: Any) -> None:
        """Call the hooks of a name, those of all tasks first."""
        for hook in REGISTRY.hooks_of(self._execution.definition, name):
            with outside_the_record(), hook_span(self._execution, name):
                await self._ground.settle(hook.call(self._execution.offer, given))

    async def _tell(self, name: str, **given: Any) -> None:
        """Call each hook of a name; an error is logged, and changes nothing of the run."""
        for hook in REGISTRY.hooks_of(self._execution.definition, name):
            try:
                with outside_the_record(), hook_span(self._execution, name):
                    await self._ground.settle(hook.call(self._execution.offer, given))
            except BaseException as problem:
                if self._ground.stops(problem):
                    raise
                log_failure(self._execution, name)

    # Outcomes

    async def _succeeded(self, output: Any, packet: Packet) -> None:
        self.outcome = AttemptOutcome(True, output)
        if await self._is_ours("on_success", "on_complete"):
            await self._tell("on_success", output=output)
            await self._tell("on_complete", result=self.outcome)
        self._ending = self._execution.done(packet)

    async def _failed(self, problem: BaseException) -> None:
        execution = self._execution
        self.outcome = AttemptOutcome(False, error=as_exception(problem))
        decision = Decision(execution.delay_after(problem), problem)
        if execution.may_catch(problem) and not execution.void:
            try:
                decision = await self._ask(problem, decision)
            except BaseException as broken:
                if self._ground.stops(broken):
                    raise
                log_failure(execution, "catch_error")
                broken.__context__ = broken.__context__ or problem
                execution.stage = "catch_error"
                self._end(broken, None, "CRASHED")
                return
        problem = decision.error or problem
        if decision.delay is None and not isinstance(problem, (OutputError, Ignore)):
            await self._tell_failure(problem)
        self._end(problem, decision.delay)

    def _end(self, problem: BaseException, delay: int | None, status: str = "FAILED") -> None:
        self._ending, self._shown = self._execution.failed(problem, delay, status)

    async def _ask(self, problem: BaseException, decision: Decision) -> Decision:
        """Ask `catch_error`, the task's own first; the first that answers decides."""
        execution = self._execution
        given = execution.decision_offered(as_exception(problem), decision)
        hooks = REGISTRY.hooks_of(execution.definition, "catch_error")
        if "catch_error" in execution.definition.hooks:
            hooks = [hooks[-1], *hooks[:-1]]
        for hook in hooks:
            with outside_the_record(), hook_span(execution, "catch_error"):
                answer = await self._ground.settle(hook.call(execution.offer, given))
            if answer:
                return read_decision(
                    answer, execution.policy, execution.grant.attempt, random.random
                )
        return decision

    async def _tell_failure(self, problem: BaseException) -> None:
        error = as_exception(problem)
        self.outcome = AttemptOutcome(False, error=error)
        if await self._is_ours("on_failure", "on_complete"):
            await self._tell("on_failure", error=error)
            await self._tell("on_complete", result=self.outcome)

    async def _is_ours(self, *names: str) -> bool:
        """Whether hooks of these names are there to be told of an outcome that will count.

        Raises RunLeaseLostError when somebody else has the run. Asks the store, which costs a round
        trip; while it is away, the run is taken for ours.
        """
        execution = self._execution
        if execution.void or not any(map(execution.has_hooks, names)):
            return False
        await self._ground.regain(execution)
        try:
            ours = await self._ground.ask(execution, holds)
        except StoreError:
            return True
        if not ours and not execution.void:
            lost = RunLeaseLostError(f"run {execution.grant.id} is not this worker's any more")
            execution.parking.stop(lost)
            raise lost
        return ours

    async def _clean_up(self) -> None:
        try:
            await self.call("cleanup")
        except BaseException as problem:
            if self._ground.stops(problem):
                raise
            if self._shown is not None:
                log_failure(self._execution, "cleanup")
                return
            self.outcome = AttemptOutcome(False, error=as_exception(problem))
            self._execution.stage = "run"
            self._end(problem, self._execution.delay_after(problem))

    async def _middleware_failed(self, problem: BaseException) -> None:
        """The attempt fails, whatever the function did; a failure of its own stays the one recorded."""
        execution = self._execution
        if self.outcome is not None and not self.outcome.ok:
            log_failure(execution, "middleware")
            return
        execution.stage = "middleware"
        delay = execution.delay_after(problem)
        if self.outcome is None and delay is None:
            await self._tell_failure(problem)
        self.outcome = AttemptOutcome(False, error=as_exception(problem))
        self._end(problem, delay)


@contextmanager
def outside_the_record() -> Iterator[None]:
    """Let durable calls be made as outside of a run: what is called is not called in a replay."""
    token = current_scope.set(None)
    try:
        yield
    finally:
        current_scope.reset(token)


def log_failure(execution: RunExecution, name: str) -> None:
    """Log the error of a hook that changes nothing more of the run."""
    logger.exception(
        "%s of run %s failed",
        name,
        execution.grant.id,
        extra={"action": "hook_failed", "run_id": execution.grant.id},
    )
