"""Tasks for gevent's pool, besides those that wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.worker.app_tasks import app, note, spend, spend_blocking
from tests.worker.waiting_tasks import branching_tasks
from trigger_celery import task, tasks

__all__ = ["app", "branching_tasks"]


@task(id="blocks")
async def blocks(payload: dict[str, Any]) -> bool:
    """Blocks in a coroutine, which lets other greenlets in, until the gate opens."""
    note("begin")
    spend_blocking(payload)
    return asyncio.get_running_loop().is_running()


@task(id="calls")
def calls(payload: dict[str, Any]) -> str:
    """Calls the library from a greenlet while the loop's is in the middle of a coroutine."""
    run = tasks.trigger("echo", payload).sync().id
    Path(payload["gate"]).touch()
    return run


@task(id="own-loop")
def own_loop(payload: int) -> list[int]:
    """Has a loop of its own for a moment, beside that of the process."""

    async def later(number: int) -> int:
        await spend({"seconds": 0.05})
        return number

    async def many() -> list[int]:
        return list(await asyncio.gather(*map(later, range(payload))))

    return asyncio.run(many())


@task(id="threads-of-its-own")
async def threads_of_its_own(payload: int) -> str:
    """Calls the library from a thread that asyncio makes."""

    def call() -> str:
        return tasks.trigger("echo", payload).sync().id

    return await asyncio.to_thread(call)
