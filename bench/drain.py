"""One worker process empties a full queue of no-op tasks: asyncio pool, and prefork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.load import drain_rate, publish, queue_runs
from bench.pools import PREFORK
from bench.rows import Benchmark, Row, Sample

if TYPE_CHECKING:
    from bench.pools import Pool
    from bench.rig import Rig

RUNS = 10_000


def _ours(rig: Rig, task: Any, pool: str, concurrency: int) -> float:
    rig.reset()
    count = rig.count(RUNS, 1000)
    queue_runs(task, [{"i": i} for i in range(count)])
    with rig.our_worker(count, pool=pool, concurrency=concurrency) as worker:
        return drain_rate(worker.series())


def _celery(rig: Rig, task: Any, pool: Pool) -> float:
    rig.reset()
    count = rig.count(RUNS, 1000)
    publish(task, count)
    with rig.celery_worker(pool, count) as worker:
        return drain_rate(worker.series())


def _asyncio(rig: Rig) -> dict[str, Sample]:
    best = rig.best_pool("drain")
    ours = _ours(rig, rig.ours.noop, "", 100)
    return {"drain": Sample(ours, _celery(rig, rig.plain.noop, best))}


def _prefork(rig: Rig) -> dict[str, Sample]:
    ours = _ours(rig, rig.ours.noop_sync, "prefork", 1)
    return {"prefork": Sample(ours, _celery(rig, rig.plain.noop_kept, PREFORK))}


ASYNCIO = Benchmark(
    "drain",
    (Row("drain", "drain of 10,000, asyncio pool / Celery's best pool", "/s", least=5),),
    _asyncio,
)
PREFORK_ONE = Benchmark(
    "drain-prefork",
    (Row("prefork", "drain of 10,000, prefork -c 1 / the same, results kept", "/s", least=1.5),),
    _prefork,
)
