"""1,000 runs that each wait two seconds, in one worker with 100 slots."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.load import WARM_UP, queue_runs
from bench.rows import Benchmark, Row, Sample

if TYPE_CHECKING:
    from bench.rig import Rig

RUNS = 1000
SECONDS = 2.0
ROWS = (
    Row("naps", "1,000 runs that wait 2 s, first trigger to last end", "s", most=3, absolute=True),
)


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(RUNS)
    rig.reset()
    with rig.our_worker() as worker:
        queue_runs(rig.ours.nap, [{"seconds": 0.1}] * WARM_UP)
        worker.until(lambda: rig.runs_in("COMPLETED") == WARM_UP)
        start = time.monotonic()
        queue_runs(rig.ours.nap, [{"seconds": SECONDS}] * count)
        worker.until(lambda: rig.runs_in("COMPLETED") == WARM_UP + count)
        return {"naps": Sample(time.monotonic() - start)}


BENCHMARK = Benchmark("naps", ROWS, measure)
