"""Runs Celery's synchronous tracer on the event loop: a greenlet that can await.

The tracer runs in a greenlet of the run's asyncio task. Where it calls the task's function, the
awaitable is handed to the asyncio task, which awaits it and switches back with the result.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")


class _Tracer(greenlet):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any], driver: greenlet) -> None:
        super().__init__(function, driver)
        # One context for both: what signals and the tracer set, the coroutine sees.
        self.gr_context = driver.gr_context


async def run_in_greenlet(function: Callable[..., T], *args: Any) -> T:
    """Call *function* in a greenlet; what it passes to `await_in_greenlet` is awaited here."""
    tracer = _Tracer(function, getcurrent())
    result = tracer.switch(*args)
    while not tracer.dead:
        try:
            value = await result
        except BaseException:
            result = tracer.throw(*sys.exc_info())
        else:
            result = tracer.switch(value)
    returned: T = result
    return returned


def await_in_greenlet(awaitable: Awaitable[T]) -> T:
    """Await from sync code inside `run_in_greenlet`."""
    current = getcurrent()
    if not isinstance(current, _Tracer):
        raise RuntimeError("not inside run_in_greenlet")
    value: T = current.parent.switch(awaitable)
    return value
