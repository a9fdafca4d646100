"""Runs that send messages of plain tasks, for `tests/worker/waits/test_replays.py`.

`waiting_tasks` imports it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from celery import chain, chord, current_task, group

from tests.worker.app_tasks import app, note, write
from trigger_celery import task, wait


@app.task(name="plain.tell", shared=False)
def tell(value: Any, more: Any = None) -> Any:
    """Note who was told what."""
    write("told", task=current_task.request.id, value=value)
    return value


def send() -> list[str]:
    """Send messages of every kind; returns their ids, of which some are of messages to come."""
    grouped = group(tell.s("b"), tell.s("c"))()
    counted = chord([tell.s("e"), tell.s("f")])(tell.s())
    chained = chain(tell.s("a"), tell.si("d"))()
    results = [*grouped.results, *counted.parent.results, counted, chained, chained.parent]
    return [result.id for result in results]


@task(id="sends")
async def sends(token: str) -> list[str]:
    note("begin")
    sent = send()

    async def branch() -> list[str]:
        first = app.send_task("plain.tell", ("in a branch",)).id
        await wait.for_token(token)
        return [first, tell.delay("after, in a branch").id]

    _, in_branch = await asyncio.gather(wait.for_token(token), branch())
    return [*sent, *in_branch, tell.delay("after").id]


@task(id="sends-sync")
def sends_sync(token: str) -> list[str]:
    note("begin")
    sent = [*send(), app.send_task("plain.tell", ("in a branch",)).id]
    wait.for_token(token).sync()
    return [*sent, tell.delay("after, in a branch").id, tell.delay("after").id]
