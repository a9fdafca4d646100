"""From just before the trigger to the first line of the task, at low load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load import WARM_UP, paced_latencies
from bench.rows import Benchmark, Row, Sample, percentile

if TYPE_CHECKING:
    from bench.rig import Rig

ROWS = (
    Row("p50", "start latency p50 / Celery's best pool", "ms", most=0.5),
    Row("p99", "start latency p99 / Celery's best pool", "ms", most=0.5),
)


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(1000)
    best = rig.best_pool("latency")
    rig.reset()
    with rig.our_worker(WARM_UP, count) as one, rig.celery_worker(best, WARM_UP, count) as other:
        trigger = rig.ours.timed.trigger
        sides = [(lambda payload: trigger(payload).sync(), one), (rig.plain.timed.delay, other)]
        ours, celery = paced_latencies(sides, count)
    return {
        name: Sample(percentile(ours, part) * 1000, percentile(celery, part) * 1000)
        for name, part in (("p50", 0.5), ("p99", 0.99))
    }


BENCHMARK = Benchmark("start-latency", ROWS, measure)
