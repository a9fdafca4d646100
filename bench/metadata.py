"""A run that sets its metadata 10,000 times: what that costs the store, and the run."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from bench.rows import Benchmark, Row, Sample
from trigger_celery import tasks

if TYPE_CHECKING:
    from bench.rig import Rig

SETS = 10_000
RUNS = 5
CALLS = ("cmdstat_evalsha", "cmdstat_eval")
ROWS = (
    Row("metadata-calls", "store calls of 10,000 metadata.set in a run", "", most=20, absolute=True),
    Row("metadata-set", "one of them, in the task", "µs"),
)  # fmt: skip


def _calls(rig: Rig) -> int:
    stats: dict[str, Any] = rig.client.info("commandstats")  # type: ignore[assignment]
    return sum(stats[name]["calls"] for name in CALLS if name in stats)


def _run(rig: Rig, sets: int) -> tuple[int, float]:
    """Return the calls that one run made, and the seconds that its changes took."""
    before = _calls(rig)
    run = tasks.trigger_and_poll("metadata", sets, timeout=60).sync()
    return _calls(rig) - before, run.output


def measure(rig: Rig) -> dict[str, Sample]:
    rig.reset()
    calls: list[int] = []
    seconds: list[float] = []
    with rig.our_worker():
        _run(rig, SETS)
        for _ in range(rig.count(RUNS)):
            plain, _nothing = _run(rig, 0)
            made, took = _run(rig, SETS)
            calls.append(made - plain)
            seconds.append(took)
    return {
        "metadata-calls": Sample(median(calls)),
        "metadata-set": Sample(median(seconds) * 1e6 / SETS),
    }


BENCHMARK = Benchmark("metadata", ROWS, measure)
