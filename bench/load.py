"""Load and readings that both sides share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trigger_celery import wait

if TYPE_CHECKING:
    from bench.rig import Rig, Worker

PACE = 0.010
"""Seconds between triggers at low load."""
WARM_UP = 20
TURN = 50
CHILDREN = 100
"""Tasks of a fan-out."""


def publish(task: Any, count: int) -> None:
    """Publish messages of a Celery task, as fast as Celery does over one producer."""
    with task.app.producer_or_acquire() as producer:
        for i in range(count):
            task.apply_async(({"i": i},), producer=producer)


def queue_runs(task: Any, payloads: list[Any]) -> None:
    """Queue runs in batches of a thousand."""
    for start in range(0, len(payloads), 1000):
        part = payloads[start : start + 1000]
        task.batch_trigger([{"payload": payload} for payload in part]).sync()


def make_tokens(rig: Rig, count: int) -> list[str]:
    """Make tokens, some hundred at a time."""

    async def make() -> list[str]:
        ids: list[str] = []
        for start in range(0, count, 500):
            calls = (wait.create_token() for _ in range(start, min(start + 500, count)))
            ids += [token.id for token in await asyncio.gather(*calls)]
        await rig.trigger.store.aclose()
        return ids

    return asyncio.run(make())


def drain_rate(notes: list[float]) -> float:
    """Return tasks per second from the first note to the last."""
    return (len(notes) - 1) / (max(notes) - min(notes))


def rates(calls: Sequence[Callable[[int], Any]], count: int) -> list[float]:
    """Return calls per second of each, made in turns of fifty, after a few to warm up."""
    spent = [0.0] * len(calls)
    for call in calls:
        for i in range(WARM_UP):
            call(i)
    for turn in range(0, count, TURN):
        for number, call in enumerate(calls):
            start = time.perf_counter()
            for i in range(turn, turn + TURN):
                call(i)
            spent[number] += time.perf_counter() - start
    return [-(-count // TURN) * TURN / seconds for seconds in spent]


def paced_latencies(
    sides: Sequence[tuple[Callable[[Any], Any], Worker]], count: int
) -> list[list[float]]:
    """Trigger at a slow pace, one side after the other; return each side's start latencies.

    They are the seconds from just before a trigger to the first line of its task. The monotonic clock is the same in every process of a machine.
    """
    for trigger, worker in sides:
        for i in range(WARM_UP):
            trigger({"i": i})
            time.sleep(PACE)
        worker.series()
    began: list[list[float]] = [[] for _ in sides]
    for i in range(count):
        for number, (trigger, _) in enumerate(sides):
            start = time.monotonic()
            began[number].append(start)
            trigger({"i": i})
            time.sleep(max(0.0, start + PACE - time.monotonic()))
    return [
        [started - began[number][i] for i, started, _ in worker.series()]
        for number, (_, worker) in enumerate(sides)
    ]


def round_trips(
    calls: Sequence[Callable[[int], Any]], count: int, warm_up: int = WARM_UP
) -> list[list[float]]:
    """Return the seconds of each call, made in turns, after a few to warm up."""
    for call in calls:
        for i in range(warm_up):
            call(i)
    spent: list[list[float]] = [[] for _ in calls]
    for i in range(count):
        for number, call in enumerate(calls):
            start = time.perf_counter()
            call(i)
            spent[number].append(time.perf_counter() - start)
    return spent
