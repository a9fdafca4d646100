"""What asyncio tasks are suspended on, as far as asyncio's inside tells."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from trigger_celery.bridge.awaiting import only_waits_for


async def answer(make: Callable[[asyncio.Task[Any]], Awaitable[Any]]) -> bool:
    """Suspend a task on what *make* gives, beside another task that counts as the run's own."""
    never = asyncio.get_running_loop().create_future()

    async def other() -> None:
        await never

    own = asyncio.create_task(other())

    async def body() -> None:
        await make(own)

    task = asyncio.create_task(body())
    for _ in range(5):
        await asyncio.sleep(0)
    try:
        return only_waits_for(task, lambda future: future is own)
    finally:
        task.cancel()
        own.cancel()
        await asyncio.gather(task, own, return_exceptions=True)


async def taken_lock() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


@pytest.mark.parametrize(
    "make",
    [
        lambda own: own,
        lambda own: asyncio.gather(own),
        lambda own: asyncio.wait([own]),
        lambda own: asyncio.wait([own], timeout=60),
        lambda own: asyncio.wait_for(own, 60),
        lambda own: taken_lock(),
        lambda own: asyncio.Event().wait(),
        lambda own: asyncio.Queue().get(),
    ],
    ids=["task", "gather", "wait", "wait with a timeout", "wait_for", "lock", "event", "queue"],
)
def test_it_waits_for_others(make: Any) -> None:
    assert asyncio.run(answer(make))


@pytest.mark.parametrize(
    "make",
    [
        lambda own: asyncio.get_running_loop().create_future(),
        lambda own: asyncio.gather(own, asyncio.get_running_loop().create_future()),
        lambda own: asyncio.wait([own, asyncio.get_running_loop().create_future()], timeout=60),
        lambda own: asyncio.to_thread(lambda: None),
    ],
    ids=["future", "gather with a future", "wait for a future", "thread"],
)
def test_it_is_at_work(make: Any) -> None:
    assert not asyncio.run(answer(make))
