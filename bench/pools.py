"""Celery's pools at their best settings, and which of them is best at what."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.load import CHILDREN, WARM_UP, drain_rate, paced_latencies, publish, round_trips

if TYPE_CHECKING:
    from bench.rig import Rig


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of one worker process, its size, and how much it prefetches per slot."""

    name: str
    size: int
    prefetch: int

    def __str__(self) -> str:
        return f"{self.name} -c {self.size}"


PREFORK = Pool("prefork", 1, 64)
POOLS = (
    Pool("solo", 1, 64),
    Pool("threads", 10, 16),
    PREFORK,
    *([Pool("gevent", 100, 4)] if importlib.util.find_spec("gevent") else []),
)


def find_best(rig: Rig, purpose: str) -> Pool:
    """Try every pool for a short while: `drain`, `latency`, `round trip`, `group` or `chord`."""
    scores = {pool: _try(rig, purpose, pool) for pool in POOLS}
    best = max(scores, key=lambda pool: scores[pool])
    listed = ", ".join(f"{pool} {abs(score):.4g}" for pool, score in scores.items())
    rig.say(f"Celery's best pool for {purpose}: {best} (tried: {listed})")
    return best


def _try(rig: Rig, purpose: str, pool: Pool) -> float:
    rig.reset()
    if purpose == "drain":
        count = rig.count(2000)
        publish(rig.plain.noop, count)
        with rig.celery_worker(pool, count) as worker:
            return drain_rate(worker.series())
    if purpose == "latency":
        with rig.celery_worker(pool, WARM_UP, 100) as worker:
            (late,) = paced_latencies([(rig.plain.timed.delay, worker)], 100)
        return -median(late) * 1000
    call, times, warm_up = (lambda i: rig.plain.echo.delay({"i": i}).get(30)), 100, WARM_UP
    if purpose != "round trip":
        fan_out = getattr(rig.plain, f"fan_out_{purpose}")
        call, times, warm_up = (lambda i: fan_out(CHILDREN)), 5, 1
    with rig.celery_worker(pool):
        (spent,) = round_trips([call], times, warm_up)
    return -median(spent) * 1000
