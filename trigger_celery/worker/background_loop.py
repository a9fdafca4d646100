"""One event loop per process for `async def` tasks, on pools that have none of their own.

The loop lives in a thread, made by the first run of the process: a forked child inherits the
variable, not the thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from trigger_celery.bridge.durable import task_factory
from trigger_celery.store.green_loop import new_event_loop

T = TypeVar("T")

CANCEL_GRACE = 5.0
"""Seconds a coroutine gets to clean up when its waiting thread is interrupted."""


class BackgroundLoop:
    """Runs coroutines in a thread and waits for them."""

    def __init__(self) -> None:
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid() or self._loop is None:
            with self._lock:
                if self._pid != os.getpid() or self._loop is None:
                    loop = new_event_loop()
                    loop.set_task_factory(task_factory)
                    threading.Thread(
                        target=loop.run_forever, name="trigger-background-loop", daemon=True
                    ).start()
                    self._loop, self._pid = loop, os.getpid()
        return self._loop

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of this process, running."""
        return self._running()

    def run(
        self,
        coroutine: Coroutine[Any, Any, T],
        attach: Callable[[asyncio.Task[Any]], None] | None = None,
    ) -> T:
        """Run the coroutine in the caller's context and wait for its result.

        *attach* gets its task, on the loop.

        When the waiting thread is interrupted (soft time limit, terminate), the coroutine is
        cancelled and gets a few seconds to end.
        """
        return run_on_loop(self._running(), coroutine, attach)


def run_on_loop(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, T],
    attach: Callable[[asyncio.Task[Any]], None] | None = None,
) -> T:
    """Run the coroutine on another thread's loop, in the caller's context; see `run`."""
    outcome: _Outcome[T] = _Outcome()
    context = contextvars.copy_context()

    def begin() -> None:
        # Not by the task factory: this is the first task of the run, not one that it makes.
        outcome.task = asyncio.Task(coroutine, loop=loop, context=context)
        if attach is not None:
            attach(outcome.task)
        outcome.task.add_done_callback(outcome.settle)

    loop.call_soon_threadsafe(begin)
    try:
        outcome.done.wait()
    except BaseException:
        loop.call_soon_threadsafe(outcome.cancel)
        outcome.done.wait(CANCEL_GRACE)
        raise
    return outcome.result()


class _Outcome(Generic[T]):
    """Where the thread and the loop meet."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.task: asyncio.Task[T] | None = None

    def settle(self, _: asyncio.Task[T]) -> None:
        self.done.set()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def result(self) -> T:
        assert self.task is not None  # noqa: S101 - settled
        return self.task.result()


BACKGROUND = BackgroundLoop()
"""The background loop of this process."""
