"""The store of inline mode: runs flows without a server, and executes the runs that they make."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

from trigger_celery.errors import InlineModeError
from trigger_celery.store.op import (
    AskPayloads,
    Await,
    Call,
    Flow,
    Listen,
    Perform,
    Sleep,
    Step,
    drive,
    drive_async,
)
from trigger_celery.store.store import Store
from trigger_celery.testing.inline_execution import InlineExecutor
from trigger_celery.testing.inline_records import InlineRun
from trigger_celery.testing.inline_scripts import Scripts

T = TypeVar("T")


class InlineStore(Store):
    """Runs flows in memory. A run that is made is executed before the call that makes it returns."""

    def __init__(self, scope: str, scripts: Scripts, executor: InlineExecutor) -> None:
        self.scope = scope
        self._scripts = scripts
        self._executor = executor

    def run_blocking(self, flow: Flow[T]) -> T:
        """Run a flow and block, even inside a running event loop."""
        return drive(flow, self._perform)

    run_unchecked = run_blocking

    def run_async(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        """Run a flow on the running event loop."""
        return drive_async(flow, self._perform_async)

    def _perform(self, step: Step) -> Any:
        if isinstance(step, list):
            return [self._perform(call) for call in step]
        if isinstance(step, Call):
            answering = self._scripts.answer(step)
            try:
                while True:
                    self._execute(next(answering))
            except StopIteration as stop:
                return stop.value
        return step.synchronously() if isinstance(step, Perform) else _plain(step)

    async def _perform_async(self, step: Step) -> Any:
        if isinstance(step, list):
            return [await self._perform_async(call) for call in step]
        if isinstance(step, Call):
            answering = self._scripts.answer(step)
            while True:
                try:
                    run = next(answering)
                except StopIteration as stop:
                    return stop.value
                await self._execute_async(run)
        return await step.asynchronously() if isinstance(step, Perform) else _plain(step)

    def _execute(self, run: InlineRun) -> None:
        executor = self._executor
        if not executor.is_async(run):
            contextvars.copy_context().run(executor.execute, run)
        elif _loop_runs_here():
            _in_thread(lambda: _on_new_loop(executor, run))
        else:
            _on_new_loop(executor, run)

    async def _execute_async(self, run: InlineRun) -> None:
        executor = self._executor
        if executor.is_async(run):
            await asyncio.create_task(
                executor.execute_async(run), context=contextvars.copy_context()
            )
        else:  # in a thread, where it may block, as it does in a worker
            await asyncio.to_thread(executor.execute, run)

    def send(self, *calls: Call) -> list[Any]:
        """Answer calls from sync code."""
        return [self._perform(call) for call in calls]

    def runner(self) -> Any:
        """Refuse: it would speak to a server."""
        raise _unknown("this")

    blocking_reader = async_blocking_reader = stream_reader = runner

    def close(self) -> None:
        """Do nothing: there is no connection."""

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


def _plain(step: Sleep | Await | Listen | AskPayloads | Any) -> Any:
    if isinstance(step, Listen):
        return SimpleNamespace(channel="")
    if isinstance(step, Await):
        raise _unknown("waiting for news of a run that has not ended")
    return None


def _unknown(what: str) -> InlineModeError:
    return InlineModeError(
        f"{what} cannot work in inline mode, where every run is executed to its end when it is triggered; "
        "use the fixture trigger_env"
    )


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _on_new_loop(executor: InlineExecutor, run: InlineRun) -> None:
    # asyncio.run would take the test's own loop away from code that asks for the current one.
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(executor.execute_async(run))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _in_thread(function: Callable[[], None]) -> None:
    inside, problems = contextvars.copy_context(), list[BaseException]()

    def call() -> None:
        try:
            inside.run(function)
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=call, name="trigger-inline", daemon=True)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
