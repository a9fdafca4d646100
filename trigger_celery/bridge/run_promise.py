"""`run_promise`: what an `on_cancel` hook waits for, the end of the run's own code."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Generator
from typing import Any


class RunPromise:
    """`await run_promise` gives what the task returned, or raises what it raised.

    The run stays CANCELED. In a `def` hook: `run_promise.result(timeout=…)`.
    """

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def result(self, timeout: float | None = None) -> Any:
        """Block until the task has ended, at most *timeout* seconds. Raises TimeoutError."""
        return self._future.result(timeout)

    def settle(self, value: Any, problem: BaseException | None = None) -> None:
        """The task has ended; for the worker. The first word counts."""
        if self._future.done():
            return
        if problem is None:
            self._future.set_result(value)
        else:
            self._future.set_exception(problem)
