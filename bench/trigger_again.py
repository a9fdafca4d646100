"""Trigger with options that say when a run counts, beside a plain trigger, in one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load import rates
from bench.rows import Benchmark, Row, Sample

if TYPE_CHECKING:
    from bench.rig import Rig

ROWS = (
    Row("hit", "trigger whose idempotency key hits / plain", "/s", least=0.9, against="plain"),
    Row("new", "trigger with a new idempotency key / plain", "/s", against="plain"),
    Row("push", "trigger that puts a debounced run off / plain", "/s", against="plain"),
)


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(2000)
    rig.reset()
    noop = rig.ours.noop
    noop.trigger({"i": 0}, idempotency_key="bench").sync()
    debounce = {"key": "bench", "delay": "1h"}
    plain, hit, new, push = rates(
        (
            lambda i: noop.trigger({"i": i}).sync(),
            lambda i: noop.trigger({"i": i}, idempotency_key="bench").sync(),
            lambda i: noop.trigger({"i": i}, idempotency_key=["bench", i]).sync(),
            lambda i: noop.trigger({"i": i}, debounce=debounce).sync(),
        ),
        count,
    )
    rig.reset()
    return {"hit": Sample(hit, plain), "new": Sample(new, plain), "push": Sample(push, plain)}


BENCHMARK = Benchmark("trigger-again", ROWS, measure)
