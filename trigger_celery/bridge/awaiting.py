"""Tells what an asyncio task is suspended on: other tasks, a lock or queue, or anything else.

asyncio has no public way to ask; what is used of its inside is held by a test.
"""

from __future__ import annotations

import asyncio
import asyncio.locks
import asyncio.queues
import asyncio.taskgroups
import asyncio.tasks
from collections.abc import Callable
from typing import Any

_WAITING_FILES = {asyncio.locks.__file__, asyncio.queues.__file__, asyncio.taskgroups.__file__}
# Functions of asyncio.tasks, and the local variable that holds what they wait for.
_WAITING_CALLS = {"_wait": "fs", "wait_for": "fut", "_cancel_and_wait": "fut"}


def only_waits_for(
    task: asyncio.Task[Any], is_counted: Callable[[asyncio.Future[Any]], bool]
) -> bool:
    """Tell whether the task cannot go on before another task of its run does.

    *is_counted* says which tasks are the run's own. Locks, events, queues, task groups, gather,
    wait and as_completed count as waiting for others; a network read, a sleep, or a task that is
    about to run do not: what it waited for may be over before it has its turn.
    """
    future: Any = getattr(task, "_fut_waiter", None)
    if future is None or future.done():  # it is about to run
        return False
    children = getattr(future, "_children", None)  # that of gather
    if children is not None:
        return all(child.done() or is_counted(child) for child in children)
    if isinstance(future, asyncio.Task):
        return is_counted(future)
    return _innermost_waits(task, is_counted)


def _innermost_waits(
    task: asyncio.Task[Any], is_counted: Callable[[asyncio.Future[Any]], bool]
) -> bool:
    coroutine: Any = task.get_coro()
    while asyncio.iscoroutine(inner := getattr(coroutine, "cr_await", None)):
        coroutine = inner
    code, frame = getattr(coroutine, "cr_code", None), getattr(coroutine, "cr_frame", None)
    if code is None or frame is None:
        return False
    if code.co_filename in _WAITING_FILES:
        return True
    variable = _WAITING_CALLS.get(code.co_name)
    if code.co_filename != asyncio.tasks.__file__ or variable is None:
        return False
    awaited = frame.f_locals.get(variable)
    futures = awaited if isinstance(awaited, set | list | tuple) else [awaited]
    return all(
        isinstance(future, asyncio.Future) and (future.done() or is_counted(future))
        for future in futures
    )
