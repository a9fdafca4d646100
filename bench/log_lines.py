"""A run that logs 1,000 lines, beside one that writes them to a file with the standard library."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from bench.rows import Benchmark, Row, Sample
from trigger_celery import tasks

if TYPE_CHECKING:
    from bench.rig import Rig

LINES = 1000
RUNS = 20
ROWS = (
    Row("log-lines", "a run with 1,000 log lines / with logging to a file", "ms", most=2, against="logging"),
    Row("log-line", "the same, in the task only, per line", "µs", most=2, against="logging"),
)  # fmt: skip


def measure(rig: Rig) -> dict[str, Sample]:
    rig.reset()
    whole: dict[str, list[float]] = {"logger": [], "logging": []}
    inside: dict[str, list[float]] = {"logger": [], "logging": []}
    with rig.our_worker():
        for number in range(2 + rig.count(RUNS)):
            for how in whole:
                began = time.monotonic()
                payload = {"how": how, "lines": LINES}
                run = tasks.trigger_and_poll("log-lines", payload, timeout=60).sync()
                if number >= 2:
                    whole[how].append((time.monotonic() - began) * 1000)
                    inside[how].append(run.output * 1e6 / LINES)
    return {
        "log-lines": Sample(median(whole["logger"]), median(whole["logging"])),
        "log-line": Sample(median(inside["logger"]), median(inside["logging"])),
    }


BENCHMARK = Benchmark("log-lines", ROWS, measure)
