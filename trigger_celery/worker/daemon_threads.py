"""Threads that do not keep the process alive: for sync tasks, and for what is due later.

The executor of the standard library makes the interpreter wait for its threads at exit; a worker
that was told to stop at once must not wait for a task that cannot be interrupted.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_Work = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def call_later(seconds: float, function: Callable[..., Any], *args: Any) -> threading.Timer:
    """Call the function in a thread of its own after so many seconds, unless it is cancelled."""
    timer = threading.Timer(seconds, function, args)
    timer.daemon = True
    timer.start()
    return timer


async def in_own_thread(function: Callable[..., T], *args: Any) -> T:
    """Call the function in a thread of its own, in the caller's context; given up, it goes on."""
    done: Future[T] = Future()
    inside = contextvars.copy_context()

    def call() -> None:
        done.set_running_or_notify_cancel()
        try:
            result = inside.run(function, *args)
        except BaseException as problem:
            done.set_exception(problem)
        else:
            done.set_result(result)

    threading.Thread(target=call, name="trigger-hook", daemon=True).start()
    return await asyncio.wrap_future(done)


class DaemonThreads(Executor):
    """Executes calls in up to *most* daemon threads, made when they are needed."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Execute the call in a thread; the future gets its outcome."""
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the threads have been shut down")
            self._work.put((future, fn, args, kwargs))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                self._start_one()
        return future

    def resize(self, most: int) -> None:
        """Use up to *most* threads from now on; idle ones above that number stay."""
        with self._lock:
            self._most = most
            for _ in range(min(self._work.qsize(), most - len(self._threads))):
                self._start_one()

    def _start_one(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, function, args, kwargs = work
            if future.set_running_or_notify_cancel():
                try:
                    result = function(*args, **kwargs)
                except BaseException as problem:
                    future.set_exception(problem)
                else:
                    future.set_result(result)
            del work, future, function, args, kwargs
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that wait are executed unless *cancel_futures*."""
        with self._lock:
            self._closed = True
            while cancel_futures and not self._work.empty():
                work = self._work.get()
                if work is not None:
                    work[0].cancel()
            for _ in self._threads:
                self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
