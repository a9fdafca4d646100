"""Executes the runs of inline mode: the worker's own steps of an attempt, without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.durable import Scope
from trigger_celery.bridge.live_metadata import load
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.codec import read_links
from trigger_celery.errors import InlineModeError, RunLeaseLostError
from trigger_celery.model.packet import Packet, decode
from trigger_celery.model.wait import WaitInfo
from trigger_celery.testing.inline_records import InlineRun, Memory
from trigger_celery.worker.executor import RunExecution, invoke_async, invoke_sync
from trigger_celery.worker.grounds import run_now
from trigger_celery.worker.parking import WaitHooks
from trigger_celery.worker.request import celery_id
from trigger_celery.worker.run_data import has_data, store_data


class InlineTicket:
    """A wait, which is over when it begins."""

    park = False

    def __init__(self, info: WaitInfo, hooks: WaitHooks | None) -> None:
        self._info = info
        self._hooks = hooks

    async def wait(self) -> None:
        """Call the hooks around the wait."""
        if self._hooks is not None:
            await self._hooks.wait(self._info)
            await self._hooks.resume(self._info)

    def wait_sync(self) -> None:
        """Call the hooks around the wait."""
        run_now(self.wait())

    def drop(self) -> None:
        """There is nothing to give up."""

    async def abandon(self) -> None:
        """There is nothing to give up."""

    def abandon_sync(self) -> None:
        """There is nothing to give up."""


class InlineParking:
    """Keeps a run that never has to wait."""

    post = ""
    parked = False
    gave_way_at = 0.0

    def __init__(self, hooks: WaitHooks | None, loop: asyncio.AbstractEventLoop | None) -> None:
        self.loop = loop
        self.stopped: RunLeaseLostError | None = None
        self._hooks = hooks

    def begin(self, target: str, scope: Scope, info: WaitInfo) -> InlineTicket:
        """Begin a wait."""
        return InlineTicket(info, self._hooks)

    def reconsider(self) -> None:
        """There is no slot to give back."""

    def check(self) -> None:
        """Raise what refuses calls of an attempt that is over."""
        if self.stopped is not None:
            raise self.stopped

    def active_seconds(self) -> float:
        """Return 0: time is not measured."""
        return 0.0

    async def regain(self) -> None:
        """The slot was never given back."""

    def close(self, reason: RunLeaseLostError) -> None:
        """Refuse everything from now on."""
        self.stopped = self.stopped or reason


class InlineExecutor:
    """Executes runs to their end, with their retries, in the caller's process."""

    def __init__(self, trigger: TriggerCelery, memory: Memory, *, raise_errors: bool) -> None:
        self._trigger = trigger
        self._memory = memory
        self._raise_errors = raise_errors

    def is_async(self, run: InlineRun) -> bool:
        """Whether the run's function is async."""
        return REGISTRY.tasks[run.task].is_async

    def execute(self, run: InlineRun) -> None:
        """Execute a run of a sync function."""
        again = True
        while again:
            execution, started = self._begin(run, invoke_sync, None)
            self._load(execution, run)
            try:
                with _called(execution):
                    execution.invoke()
            except BaseException as problem:
                self._failed(run, execution, problem)
            self._trigger.store.run_blocking(_finish(execution))
            again = self._conclude(run, execution, started)
        self._raise(run)

    async def execute_async(self, run: InlineRun) -> None:
        """Execute a run of an async function, on the running loop."""
        again = True
        while again:
            execution, started = self._begin(run, _awaited, asyncio.get_running_loop())
            execution.durable.root.task = asyncio.current_task()
            self._load(execution, run)
            try:
                await execution.invoke()
            except BaseException as problem:
                self._failed(run, execution, problem)
            await self._trigger.store.run_async(_finish(execution))
            again = self._conclude(run, execution, started)
        self._raise(run)

    def _begin(
        self,
        run: InlineRun,
        how: Callable[[RunExecution], Any],
        loop: asyncio.AbstractEventLoop | None,
    ) -> tuple[RunExecution, int]:
        now = self._memory.now()
        run.began(now)
        execution = RunExecution(self._trigger, REGISTRY.tasks[run.task], _grant(run), how)
        parking: Any = InlineParking(execution.wait_hooks, loop)
        execution.parking = execution.durable.parking = parking
        context.current_execution.set(execution)
        context.current_scope.set(execution.durable.root)
        context.current_span.set(None)
        return execution, now

    def _load(self, execution: RunExecution, run: InlineRun) -> None:
        if run.metadata or run.changes:
            flow = load(execution.durable, self._trigger, resumed=False)
            self._trigger.store.run_blocking(flow)

    def _failed(self, run: InlineRun, execution: RunExecution, problem: BaseException) -> None:
        raised = getattr(problem, "exc", None) or problem  # what Celery's Retry is for
        if isinstance(raised, InlineModeError) or not isinstance(raised, Exception):
            raise raised  # the test's concern, not the task's
        if execution.ending is None:
            execution.fail(problem)
        run.problem = raised

    def _conclude(self, run: InlineRun, execution: RunExecution, started: int) -> bool:
        """Note how the attempt ended; whether there is another."""
        execution.durable.close()
        ending, now = execution.ending, self._memory.now()
        if ending is None:
            raise InlineModeError(f"run {run.id} of {run.task!r} ended without an outcome")
        if ending.kind == "done":
            run.output = Packet(ending.data, str(ending.detail))
            run.problem = None
            run.end("COMPLETED", now)
            return False
        run.failed_attempt(ending.data, started, now)
        if ending.kind in ("retry", "move"):
            self._memory.pass_until(now + int(str(ending.detail).partition(" ")[0]))
            return True
        run.error = ending.data
        run.end(str(ending.detail), now)
        return False

    def _raise(self, run: InlineRun) -> None:
        if self._raise_errors and run.problem is not None:
            raise run.problem


def _called(execution: RunExecution) -> AbstractContextManager[None]:
    """Return what a Celery task that is taken over sees as its request."""
    taken, grant = execution.definition.plain, execution.grant
    if taken is None:
        return nullcontext()
    payload = decode(grant.payload, grant.payload_type)
    return taken.called(celery_id(grant), grant.attempt, payload)


def _finish(execution: RunExecution) -> Any:
    if has_data(execution.durable):
        yield from store_data(execution.durable)


async def _awaited(execution: RunExecution) -> Any:
    return await invoke_async(execution)


def _grant(run: InlineRun) -> Grant:
    parent, root, depth, trace = read_links(run.links)
    return Grant(
        id=run.id,
        epoch="1",
        attempt=run.attempt,
        executing=True,
        task=run.task,
        queue=run.queue,
        concurrency_key=run.concurrency_key,
        created_ms=run.created_ms,
        queued_ms=run.created_ms,
        priority_ms=run.priority_ms,
        max_attempts=run.max_attempts,
        tags=tuple(run.tags),
        payload_type=run.payload.type,
        payload=run.payload.data,
        parent_id=parent,
        root_id=root,
        depth=depth,
        max_duration_ms=run.max_duration_ms,
        batch_id=run.batch or None,
        options=run.options,
        trace=trace,
    )
