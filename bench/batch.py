"""A batch of 1,000 against 1,000 `apply_async`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.rows import Benchmark, Row, Sample

if TYPE_CHECKING:
    from bench.rig import Rig

SIZE = 1000
ROWS = (Row("batch", "batch of 1,000 / 1,000 apply_async", "/s", least=30),)


def measure(rig: Rig) -> dict[str, Sample]:
    rig.reset()
    items = [{"payload": {"i": i}} for i in range(SIZE)]
    rig.ours.noop.batch_trigger(items).sync()
    spent, celery = 0.0, 0.0
    for _ in range(rig.count(5)):
        start = time.perf_counter()
        rig.ours.noop.batch_trigger(items).sync()
        spent += time.perf_counter() - start
        start = time.perf_counter()
        for i in range(SIZE):
            rig.plain.noop_kept.apply_async(({"i": i},))
        celery += time.perf_counter() - start
    rig.reset()
    runs = rig.count(5) * SIZE
    return {"batch": Sample(runs / spent, runs / celery)}


BENCHMARK = Benchmark("batch", ROWS, measure)
