"""A task of branches that act and wait, for `tests/worker/waits/test_branches.py`.

`waiting_tasks` imports it. A program is a list of operations: {"act": name}, {"wait": token id},
{"step": name}, {"gather": [programs]}, {"spawn": program}: a branch that is awaited at the end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.worker.app_tasks import note
from trigger_celery import (
    BatchItem,
    WaitCycleError,
    idempotency_keys,
    logger,
    metadata,
    step,
    streams,
    task,
    tasks,
    wait,
    wait_until,
)

Program = list[dict[str, Any]]


@task(id="branches")
async def branches(payload: Program) -> None:
    spawned: list[asyncio.Task[None]] = []
    await branch(payload, spawned)
    for one in spawned:
        await one
    act("end")


async def branch(program: Program, spawned: list[asyncio.Task[None]]) -> None:
    for op in program:
        match op:
            case {"act": name}:
                act(name)
                await streams.append(name)
            case {"wait": token}:
                await wait.for_token(token)
            case {"step": name}:
                await step.run(name, inside, name)
            case {"gather": programs}:
                await asyncio.gather(*(branch(one, spawned) for one in programs))
            case {"spawn": one}:
                spawned.append(asyncio.create_task(branch(one, spawned)))


@task(id="beside")
async def beside(payload: str) -> None:
    wait_until(tasks.trigger("echo", "beside"))
    wait_until(say_beside())
    await wait.for_token(payload)


@task(id="beside-sync")
def beside_sync(payload: str) -> None:
    wait_until(tasks.trigger("echo", "beside"))
    wait_until(say_beside())
    wait_until(wait_beside())
    wait.for_token(payload).sync()


async def say_beside() -> None:
    logger.info("beside")


async def wait_beside() -> None:
    try:
        await wait.for_duration(seconds=60)
    except Exception as problem:
        note("refused", problem=str(problem))
        raise


@task(id="keyed-batches")
async def keyed_batches(payload: str) -> list[Any]:
    """Wait for a batch, and after a wait for the same once more."""
    items = [BatchItem(number) for number in range(3)]
    first = await tasks.batch_trigger_and_wait("echo", items, idempotency_key="k")
    metadata.increment("first", 1)
    await wait.for_token(payload)
    again = await tasks.batch_trigger_and_wait("echo", items, idempotency_key="k")
    return [first.id == again.id, [result.output for result in again.runs]]


@task(id="in-own-batch")
async def in_own_batch(payload: str) -> Any:
    """Wait for the batch that this run belongs to."""
    try:
        await tasks.batch_trigger_and_wait(
            "in-own-batch", [BatchItem()], idempotency_key=await key_of(payload)
        )
    except WaitCycleError:
        return "refused"


async def key_of(name: str) -> Any:
    return await idempotency_keys.create(name, scope="global")


def act(name: str) -> None:
    logger.info(name)
    metadata.append("acts", name)
    metadata.increment("count", 1)


def inside(name: str) -> str:
    act(name)
    return name
