"""1,000 runs delayed to the same moment: how late they are."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bench.pools import PREFORK
from bench.rows import Benchmark, Row, Sample, percentile

if TYPE_CHECKING:
    from bench.rig import Rig

RUNS = 1000
AHEAD = 5.0
"""Seconds from now to the moment; Celery needs some of them to publish."""
ROWS = (
    Row("queued", "1,000 delayed to one moment, queued late by p99", "ms"),
    Row(
        "p50", "1,000 delayed to one moment, start late by p50 / eta", "ms", most=10, absolute=True
    ),
    Row(
        "p99", "1,000 delayed to one moment, start late by p99 / eta", "ms", most=100, absolute=True
    ),
)


def _late(notes: list[list[float]], moment: datetime) -> list[float]:
    return [started - moment.timestamp() for _, _, started in notes]


def _queued_late(rig: Rig, moment: datetime) -> list[float]:
    """Return how late the runs were in their queue, by the feed of changes; to the millisecond."""
    feed: list[Any] = rig.client.xrange(f"{rig.trigger.scope}:changes")  # type: ignore[assignment]
    at = [int(key.split(b"-")[0]) / 1000 for key, entry in feed if entry[b"status"] == b"QUEUED"]
    return [seconds - moment.timestamp() for seconds in at[1:]]  # the first was not delayed


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(RUNS)
    rig.reset()
    with rig.our_worker(1, count, concurrency=count) as worker:
        rig.ours.timed.trigger({"i": 0}).sync()
        worker.series()
        moment = datetime.now(UTC) + timedelta(seconds=AHEAD)
        items = [{"payload": {"i": i}, "options": {"delay": moment}} for i in range(count)]
        rig.ours.timed.batch_trigger(items).sync()
        ours = _late(worker.series(), moment)
        queued = _queued_late(rig, moment)
    rig.reset()
    with rig.celery_worker(PREFORK, 1, count) as worker:
        rig.plain.timed.delay({"i": 0})
        worker.series()
        time.sleep(0.5)
        moment = datetime.now(UTC) + timedelta(seconds=AHEAD)
        for i in range(count):
            rig.plain.timed.apply_async(({"i": i},), eta=moment)
        celery = _late(worker.series(), moment)
    return {"queued": Sample(percentile(queued, 0.99) * 1000)} | {
        name: Sample(percentile(ours, part) * 1000, percentile(celery, part) * 1000)
        for name, part in (("p50", 0.5), ("p99", 0.99))
    }


BENCHMARK = Benchmark("delays", ROWS, measure)
