"""From the completion of a token to the next line of the run that waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.load import PACE, WARM_UP, make_tokens, queue_runs
from bench.rows import Benchmark, Row, Sample, percentile
from trigger_celery import wait

if TYPE_CHECKING:
    from bench.rig import Rig, Worker

RUNS = 1000
ROWS = (
    Row("p50", "token completed to the run's next line, p50", "ms", most=10, absolute=True),
    Row("p99", "token completed to the run's next line, p99", "ms", most=50, absolute=True),
)


def _latencies(rig: Rig, worker: Worker, count: int) -> list[float]:
    tokens = make_tokens(rig, count)
    queue_runs(rig.ours.token_wait, [{"i": i, "token": token} for i, token in enumerate(tokens)])
    worker.until(lambda: rig.runs_in("WAITING") == count)
    began: list[float] = []
    for token in tokens:
        start = time.monotonic()
        began.append(start)
        wait.complete_token(token, {"approved": True}).sync()
        time.sleep(max(0.0, start + PACE - time.monotonic()))
    return [resumed - began[i] for i, resumed in worker.series()]


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(RUNS)
    rig.reset()
    with rig.our_worker(WARM_UP, count) as worker:
        _latencies(rig, worker, WARM_UP)
        late = _latencies(rig, worker, count)
    return {
        name: Sample(percentile(late, part) * 1000) for name, part in (("p50", 0.5), ("p99", 0.99))
    }


BENCHMARK = Benchmark("resume-latency", ROWS, measure)
