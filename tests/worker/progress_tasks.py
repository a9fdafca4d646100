"""Tasks that tell how far they are, for `test_progress`. Their ledger is that of `app_tasks`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.worker.app_tasks import QUICK, app, note, spend
from trigger_celery import BatchItem, logger, metadata, streams, tags, task, tasks, wait

__all__ = ["app"]


@task(id="my-task")
async def my_task(payload: dict[str, Any]) -> dict[str, Any]:
    """The example of the seed, word for word."""
    metadata.set("progress", 0.1)

    async def data_generator() -> AsyncIterator[str]:
        for i in range(10):
            yield f"Processing chunk {i}"

    stream = await metadata.stream("processing", data_generator())

    async for chunk in stream:
        logger.info(f"Processed: {chunk}")

    return {"ok": True}


@task(id="busy")
async def busy(payload: int) -> Any:
    for number in range(payload):
        metadata.set("progress", number).increment("done")
    streams.pipe("late", slowly())
    await tags.add("busy")
    return metadata.get("done")


async def slowly() -> AsyncIterator[int]:
    for number in range(3):
        await spend({"seconds": 0.02})
        yield number


@task(id="busy-sync")
def busy_sync(payload: int) -> Any:
    for number in range(payload):
        metadata.set("progress", number).increment("done")
    streams.pipe("late", slowly_sync())
    tags.add("busy").sync()
    return metadata.get("done")


def slowly_sync() -> Iterator[int]:
    yield from range(3)


@task(id="fails", retry=QUICK)
async def fails(payload: Any) -> Any:
    if metadata.increment("attempts").get("attempts") < 3:
        raise ValueError("again")
    return metadata.get("attempts")


@task(id="counts-above")
def counts_above(payload: Any) -> None:
    metadata.parent.increment("done")
    streams.append("children", payload, target="parent").sync()


@task(id="watches-children")
async def watches_children(payload: int) -> Any:
    metadata.set("total", payload)
    await tasks.batch_trigger_and_wait("counts-above", [BatchItem(n) for n in range(payload)])
    note("children are done")
    await wait.for_token(await wait.create_token(timeout=0.3))
    metadata.increment("total")
    await metadata.refresh()
    return metadata.current()


@task(id="dies", retry=QUICK)
async def dies(payload: dict[str, Any]) -> Any:
    seen = metadata.get("attempts", 0)
    metadata.increment("attempts")
    await metadata.flush()
    note("flushed")
    if seen == 0:
        await spend(payload)
    return metadata.current()
