"""A parent that waits for a hundred children, beside Celery's group and chord."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from bench.load import CHILDREN, round_trips
from bench.rows import Benchmark, Row, Sample
from trigger_celery import tasks

if TYPE_CHECKING:
    from bench.rig import Rig

TIMES = 30
WARM_UP = 3
ROWS = (
    Row("group", f"fan-out: {CHILDREN} children and all their results / group", "/s"),
    Row("chord", f"fan-out: {CHILDREN} children and all their results / chord", "/s"),
    Row("best", f"fan-out: {CHILDREN} children / the better of group and chord", "/s", least=6),
)


def _parent(i: int) -> None:
    payload = {"children": CHILDREN}
    assert tasks.trigger_and_poll("parent", payload, timeout=30).sync().output == CHILDREN


def _celery(rig: Rig, purpose: str, i: int) -> None:
    assert getattr(rig.plain, f"fan_out_{purpose}")(CHILDREN) == CHILDREN


def _rate(spent: list[float]) -> float:
    return CHILDREN / median(spent)


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(TIMES)
    rates: dict[str, float] = {}
    rig.reset()
    with rig.our_worker():
        ours = _rate(round_trips([_parent], count, WARM_UP)[0])
    for purpose in ("group", "chord"):
        best = rig.best_pool(purpose)
        rig.reset()
        with rig.celery_worker(best):
            rates[purpose] = _rate(round_trips([partial(_celery, rig, purpose)], count, WARM_UP)[0])
    rates["best"] = max(rates.values())
    return {name: Sample(ours, rate) for name, rate in rates.items()}


BENCHMARK = Benchmark("fan-out", ROWS, measure)
