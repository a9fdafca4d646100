"""Tasks that wait, for workers that faults are done to."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.faults.trees import Node, Op
from tests.worker.app_tasks import QUICK, app, note, spend
from trigger_celery import AbortTaskRunError, BatchItem, TaskResult, queue, step, task, tasks, wait

__all__ = ["app"]

THREE = queue(name="three", concurrency_limit=3)


def charge(amount: int) -> int:
    note("charge", amount=amount)
    return 2 * amount


@task(id="parked")
async def parked(payload: int) -> list[Any]:
    """Two tokens with steps and children around them. One attempt: losing one would show."""
    note("begin")
    tokens = [await wait.create_token(timeout="1h", tags=["parked"]) for _ in range(2)]
    note("tokens", tokens=[token.id for token in tokens])
    found: list[Any] = []
    for number, token in enumerate(tokens):
        found.append(await step.run("charge", charge, payload + number))
        found.append(await tasks.trigger_and_wait("echo", payload).unwrap())
        found.append(await wait.for_token(token).unwrap())
    note("end")
    return found


@task(id="naps")
async def naps(payload: float) -> str:
    note("begin")
    await wait.for_duration(seconds=payload)
    note("end")
    return "rested"


@task(id="shift", queue=THREE)
async def shift(payload: int) -> int:
    """Work, let a child work in the same queue, work, nap, work."""
    done = 0
    for follows in ("child", "nap", ""):
        note("begin")
        await spend({"seconds": 0.004})
        note("end")
        done += 1
        if follows == "child" and payload:
            done += await tasks.trigger_and_wait("shift", payload - 1).unwrap()
        elif follows == "nap":
            await wait.for_duration(seconds=0.01)
    return done


# Trees


@task(id="tree", retry={**QUICK, "max_attempts": 10, "min_timeout_in_ms": 5})
async def tree(payload: Node, ctx: Any) -> int:
    note("begin")
    if ctx.attempt.number <= payload["fails_early"]:
        raise ValueError("not yet")
    total = payload["value"] + sum([await perform(op) for op in payload["ops"]])
    if payload["aborts"]:
        raise AbortTaskRunError("never")
    if ctx.attempt.number <= payload["fails_late"]:
        raise ValueError("not yet")
    note("end")
    return total


async def perform(op: Op) -> int:
    match op:
        case {"wait": ms}:
            await wait.for_duration(seconds=ms / 1000)
            return 1
        case {"step": [name, value]}:
            return await step.run(name, tally, name, value)
        case {"child": node}:
            return worth(await tasks.trigger_and_wait("tree", node), node)
        case {"batch": nodes}:
            items = [BatchItem(node) for node in nodes]
            results = await tasks.batch_trigger_and_wait("tree", items)
            return sum(worth(one, node) for one, node in zip(results, nodes, strict=True))
        case {"gather": ops}:
            return sum(await asyncio.gather(*(perform(one) for one in ops)))
    raise ValueError(op)


def worth(result: TaskResult[int], node: Node) -> int:
    return result.output if result.ok else -node["value"]


def tally(name: str, value: int) -> int:
    note("tally", name=name)
    return 3 * value
