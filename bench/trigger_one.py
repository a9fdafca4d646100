"""Trigger one by one from sync code, in one process, against `apply_async`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.load import rates
from bench.rows import Benchmark, Row, Sample

if TYPE_CHECKING:
    from bench.rig import Rig

ROWS = (
    Row("kept", "trigger one by one / apply_async", "/s", least=4),
    Row("ignored", "the same / apply_async, ignore_result", "/s"),
)


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(2000)
    rig.reset()
    ours, kept, ignored = rates(
        (
            lambda i: rig.ours.noop.trigger({"i": i}).sync(),
            lambda i: rig.plain.noop_kept.apply_async(({"i": i},)),
            lambda i: rig.plain.noop.apply_async(({"i": i},)),
        ),
        count,
    )
    rig.reset()
    return {"kept": Sample(ours, kept), "ignored": Sample(ours, ignored)}


BENCHMARK = Benchmark("trigger-one", ROWS, measure)
