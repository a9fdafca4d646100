"""From the trigger to its result in the caller's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load import round_trips
from bench.rows import Benchmark, Row, Sample, percentile
from trigger_celery import tasks

if TYPE_CHECKING:
    from bench.rig import Rig

ROWS = (
    Row("p50", "trigger to result p50 / delay().get()", "ms", most=0.5),
    Row("p99", "trigger to result p99 / delay().get()", "ms"),
)


def _ours(i: int) -> None:
    assert tasks.trigger_and_poll("echo", {"i": i}, timeout=30).sync().output == {"i": i}


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(500)
    best = rig.best_pool("round trip")
    rig.reset()
    with rig.our_worker(), rig.celery_worker(best):
        calls = (_ours, lambda i: rig.plain.echo.delay({"i": i}).get(30))
        ours, celery = round_trips(calls, count)
    return {
        name: Sample(percentile(ours, part) * 1000, percentile(celery, part) * 1000)
        for name, part in (("p50", 0.5), ("p99", 0.99))
    }


BENCHMARK = Benchmark("round-trip", ROWS, measure)
