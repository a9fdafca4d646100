"""Where the code of an attempt stands: on an event loop, or in a thread.

The same coroutines drive hooks on both. In a thread they never suspend: what has to be awaited is
awaited on a loop, while the thread waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from trigger_celery.bridge.belongings import Background
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.durable import Scope
from trigger_celery.bridge.hooks import BoundHook
from trigger_celery.bridge.surroundings import in_surroundings, surrounded
from trigger_celery.errors import RunLeaseLostError
from trigger_celery.store.op import Flow
from trigger_celery.worker.background_loop import BACKGROUND, run_on_loop
from trigger_celery.worker.celery_internals import being_terminated
from trigger_celery.worker.daemon_threads import in_own_thread
from trigger_celery.worker.trampoline import await_in_greenlet, run_in_greenlet

if TYPE_CHECKING:
    from trigger_celery.worker.executor import RunExecution

logger = logging.getLogger("trigger_celery.worker")

BACKGROUND_BUDGET = 60.0
"""Seconds that an attempt waits at its end for what `wait_until` was given."""

T = TypeVar("T")
Offer = Callable[[str], Any]
Inner = Callable[[], Coroutine[Any, Any, Any]]
Question = Callable[[str, str, str], Flow[T]]
"""Asks the store about a run: by scope, run id and epoch."""


class Ground(Protocol):
    """How hooks are called and awaited."""

    async def tell(self, hook: BoundHook, offer: Offer, given: Mapping[str, Any]) -> Any:
        """Call a hook, and return its result, awaited."""
        ...

    async def settle(self, result: Any) -> Any:
        """Return a result, awaited if need be."""
        ...

    async def inside(self, hook: BoundHook, offer: Offer) -> Any:
        """Call a hook that a replay calls again: its durable calls are the run's."""
        ...

    async def through(self, middleware: BoundHook, offer: Offer, inner: Inner) -> None:
        """Call middleware whose `next` is *inner*."""
        ...

    async def ask(self, execution: RunExecution, question: Question[T]) -> T:
        """Ask the store about the run."""
        ...

    async def regain(self, execution: RunExecution) -> None:
        """Get the slot back that a wait which was given up had left."""
        ...

    async def finish(self, execution: RunExecution) -> None:
        """Wait for what the run keeps in the background."""
        ...

    def stops(self, problem: BaseException) -> bool:
        """Whether an exception stops the run from outside: it is no failure of its code."""
        ...

    def check(self) -> None:
        """Raise what stops the run from outside, though middleware swallowed it."""
        ...


class OnLoop:
    """An `async def` task, on the event loop that executes it."""

    async def tell(self, hook: BoundHook, offer: Offer, given: Mapping[str, Any]) -> Any:
        """Call a hook, and return its result, awaited."""
        return await self.settle(hook.call(offer, given))

    async def settle(self, result: Any) -> Any:
        """Return a result, awaited if need be."""
        return await result if inspect.isawaitable(result) else result

    async def inside(self, hook: BoundHook, offer: Offer) -> Any:
        """Call a hook that a replay calls again."""
        return await self.settle(hook.call(offer, {}))

    async def through(self, middleware: BoundHook, offer: Offer, inner: Inner) -> None:
        """Call middleware; a `def` is called in a greenlet, where its `next()` can wait."""
        if middleware.is_async:
            await self.settle(middleware.call(offer, {"next": inner}))
            return
        given = {"next": lambda: await_in_greenlet(inner())}
        await self.settle(await run_in_greenlet(middleware.call, offer, given))

    async def ask(self, execution: RunExecution, question: Question[T]) -> T:
        """Ask the store about the run."""
        grant, trigger = execution.grant, execution.trigger
        return await trigger.store.run_async(question(trigger.scope, grant.id, grant.epoch))

    async def regain(self, execution: RunExecution) -> None:
        """Get the slot back that a wait which was given up had left."""
        await execution.parking.regain()

    async def finish(self, execution: RunExecution) -> None:
        """Wait for what the run keeps in the background."""
        work = execution.background()
        if not work:
            return
        waiting = [
            one if isinstance(one, asyncio.Future) else asyncio.wrap_future(one) for one in work
        ]
        try:
            _, late = await asyncio.wait(waiting, timeout=BACKGROUND_BUDGET)
        except BaseException:  # the run was stopped
            _cancel(waiting)
            raise
        _cancel(late)
        _report(execution, waiting)

    def stops(self, problem: BaseException) -> bool:
        """Whether it is the worker that stops the run."""
        if isinstance(problem, asyncio.CancelledError):
            task = asyncio.current_task()
            return task is not None and task.cancelling() > 0
        return isinstance(problem, RunLeaseLostError)

    def check(self) -> None:
        """Raise CancelledError for a task that was cancelled all the same."""
        task = asyncio.current_task()
        if task is not None and task.cancelling() > 0:
            raise asyncio.CancelledError


class Beside(OnLoop):
    """An event loop that does not execute the code of the run, or goes on with it meanwhile."""

    async def tell(self, hook: BoundHook, offer: Offer, given: Mapping[str, Any]) -> Any:
        """Call a hook; a `def` in a thread of its own, as it may wait for the loop."""
        if hook.is_async:
            with surrounded():
                return await super().tell(hook, offer, given)
        return await self.settle(await in_own_thread(in_surroundings(hook.call), offer, given))


class InThread:
    """A `def` task, in the thread that executes it. *loop* is for hooks that are async."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop

    async def tell(self, hook: BoundHook, offer: Offer, given: Mapping[str, Any]) -> Any:
        """Call a hook, and return its result, awaited."""
        return await self.settle(hook.call(offer, given))

    async def settle(self, result: Any) -> Any:
        """Return a result, awaited on the loop if need be."""
        return self._await(result) if inspect.isawaitable(result) else result

    async def inside(self, hook: BoundHook, offer: Offer) -> Any:
        """Call a hook that a replay calls again. What it awaits is no part of the run's record."""
        result = hook.call(offer, {})
        return self._await(result) if inspect.isawaitable(result) else result

    async def through(self, middleware: BoundHook, offer: Offer, inner: Inner) -> None:
        """Call middleware; an `async def` is awaited on the loop, and what is inside runs here."""
        if middleware.is_async:
            self._around(middleware, offer, inner)
        else:
            await self.settle(middleware.call(offer, {"next": lambda: run_now(inner())}))

    def _around(self, middleware: BoundHook, offer: Offer, inner: Inner) -> None:
        asked: SimpleQueue[concurrent.futures.Future[Any] | None] = SimpleQueue()

        async def go_on() -> Any:
            answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
            asked.put(answer)
            return await asyncio.wrap_future(answer)

        context = contextvars.copy_context()
        context.run(current_scope.set, None)
        loop = self._running()
        done = _start(loop, middleware.call(offer, {"next": go_on}), context)
        done.add_done_callback(lambda _: asked.put(None))
        try:
            while (answer := asked.get()) is not None:
                if not answer.set_running_or_notify_cancel():
                    continue  # nobody waits for it any more
                try:
                    answer.set_result(run_now(inner()))
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as problem:
                    answer.set_exception(problem)
        except BaseException:
            done.cancel()
            raise
        done.result()

    async def ask(self, execution: RunExecution, question: Question[T]) -> T:
        """Ask the store about the run."""
        grant, trigger = execution.grant, execution.trigger
        return trigger.store.run_blocking(question(trigger.scope, grant.id, grant.epoch))

    async def regain(self, execution: RunExecution) -> None:
        """Do nothing: sync code has its slot back before it goes on."""

    async def finish(self, execution: RunExecution) -> None:
        """Wait for what the run keeps in the background."""
        work = [one for one in execution.background() if isinstance(one, concurrent.futures.Future)]
        if not work:
            return
        try:
            _, late = concurrent.futures.wait(work, timeout=BACKGROUND_BUDGET)
        except BaseException:  # the run was stopped
            _cancel(work)
            raise
        _cancel(late)
        _report(execution, work)

    def stops(self, problem: BaseException) -> bool:
        """Whether it is the worker that stops the run."""
        return isinstance(problem, RunLeaseLostError) or being_terminated()

    def check(self) -> None:
        """Do nothing: what stops a thread comes with its next call."""

    def _running(self) -> asyncio.AbstractEventLoop:
        return self._loop or BACKGROUND.loop()

    def _await(self, result: Awaitable[T]) -> T:
        context = contextvars.copy_context()
        context.run(current_scope.set, None)
        ended = context.run(run_on_loop, self._running(), _guarded(result))
        if ended.problem is not None:
            raise ended.problem
        value: T = ended.value
        return value


class _Ended:
    """How something ended on the loop: a SystemExit must not get there."""

    __slots__ = ("problem", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.problem: BaseException | None = None


async def _guarded(work: Awaitable[Any]) -> _Ended:
    ended = _Ended()
    try:
        ended.value = await work
    except asyncio.CancelledError as problem:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        ended.problem = problem
    except BaseException as problem:
        ended.problem = problem
    return ended


def _start(
    loop: asyncio.AbstractEventLoop,
    work: Awaitable[Any],
    context: contextvars.Context,
    scope: Scope | None = None,
) -> concurrent.futures.Future[Any]:
    """Begin to await on a loop; the future can be cancelled from the thread.

    With a *scope* it is work of the run.
    """
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def settle(task: asyncio.Task[_Ended]) -> None:
        if done.cancelled():
            return
        if task.cancelled():
            done.set_exception(asyncio.CancelledError())
        elif (problem := task.result().problem) is not None:
            done.set_exception(problem)
        else:
            done.set_result(task.result().value)

    def begin() -> None:
        task = asyncio.Task(_guarded(work), loop=loop, context=context)
        task.add_done_callback(settle)
        done.add_done_callback(
            lambda _: loop.call_soon_threadsafe(task.cancel) if done.cancelled() else None
        )

    if scope is not None:
        scope.durable.add(done, scope)
    loop.call_soon_threadsafe(begin)
    return done


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    coroutine.close()
    raise RuntimeError("a coroutine of a sync task suspended")


def keep(work: Any, loop: asyncio.AbstractEventLoop | None, *, in_thread: bool) -> Background:
    """Start *work* for `wait_until` as a task of the run, on its loop or the one for sync code."""
    if isinstance(work, concurrent.futures.Future):
        return work
    if not in_thread:
        task: asyncio.Future[Any] = asyncio.ensure_future(work)
        return task
    context = contextvars.copy_context()
    here = current_scope.get()
    scope = None if here is None else here.begin_task(getattr(work, "__name__", "task"))
    if scope is not None:
        scope.beside = True
    context.run(current_scope.set, scope)
    return _start(loop or BACKGROUND.loop(), work, context, scope)


def _cancel(work: Iterable[Background]) -> None:
    for one in work:
        one.cancel()


def _report(execution: RunExecution, work: list[Any]) -> None:
    for one in work:
        problem: Any = None
        if one.cancelled() or not one.done():
            problem = f"it was not done after {BACKGROUND_BUDGET:g} seconds"
        elif (raised := one.exception()) is not None:
            problem = raised
        if problem is not None:
            logger.error(
                "what run %s gave to wait_until() failed: %s",
                execution.grant.id,
                problem,
                exc_info=problem if isinstance(problem, BaseException) else None,
                extra={"action": "background_failed", "run_id": execution.grant.id},
            )


ON_LOOP = OnLoop()
"""The ground of every `async def` task."""

BESIDE = Beside()
"""The ground of hooks that are told of a run from elsewhere."""
