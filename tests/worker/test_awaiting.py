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


async def answers_at_the_end(make: Callable[[asyncio.Task[Any]], Awaitable[Any]]) -> list[bool]:
    """What is told of a task in each turn of the loop, from the end of the other task to its own."""
    tasks: set[asyncio.Future[Any]] = set()
    gate = asyncio.get_running_loop().create_future()

    async def other() -> None:
        await gate

    async def body() -> None:
        await make(own)

    own = asyncio.create_task(other())
    tasks.add(own)
    own.add_done_callback(tasks.discard)
    task = asyncio.create_task(body())
    for _ in range(5):
        await asyncio.sleep(0)
    gate.set_result(None)
    await own  # wakes before the task does, or together with it
    told = []
    while not task.done():
        told.append(only_waits_for(task, tasks.__contains__))
        await asyncio.sleep(0)
    return told


@pytest.mark.parametrize(
    "make",
    [
        lambda own: own,
        lambda own: asyncio.gather(own),
        lambda own: asyncio.wait([own]),
        lambda own: asyncio.wait([own], timeout=60),
        lambda own: asyncio.wait_for(own, 60),
    ],
    ids=["task", "gather", "wait", "wait with a timeout", "wait_for"],
)
def test_it_is_about_to_go_on(make: Any) -> None:
    """What it waited for is over, and its turn has not come: a run that parked now would act parked."""
    assert not any(asyncio.run(answers_at_the_end(make)))


def test_a_cancelled_task_is_about_to_go_on() -> None:
    async def cancel() -> bool:
        event = asyncio.Event()
        task = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        task.cancel()
        told = only_waits_for(task, lambda future: False)
        await asyncio.gather(task, return_exceptions=True)
        return told

    assert not asyncio.run(cancel())
