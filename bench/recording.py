"""What recording costs a Celery app: each publish, each task, the worker's rate and its memory.

Both sides are the same app on the same server; one has the line `TriggerCelery(app)`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.load import TURN, drain_rate, publish
from bench.pools import PREFORK
from bench.rig import ROOT
from bench.rows import Benchmark, Row, Sample

if TYPE_CHECKING:
    from bench.rig import Rig, Worker

PUBLISHES = 3000
TASKS = 10_000
SIDES = ("bench.apps.recorded", "bench.apps.plain")


class Publisher:
    """A process that publishes on demand."""

    def __init__(self, app: str) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "bench.apps.publisher", app]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(15)

    def publish(self, count: int) -> list[float]:
        """Publish so often, and return the ms of each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        spent: list[float] = json.loads(self._process.stdout.readline())
        return spent


def _publish(rig: Rig) -> Sample:
    """Let both publish in turns."""
    rig.reset()
    spent: list[list[float]] = [[], []]
    with ExitStack() as closing:
        publishers = [closing.enter_context(Publisher(app)) for app in SIDES]
        for publisher in publishers:
            publisher.publish(2 * TURN)
        for _ in range(rig.count(PUBLISHES, TURN) // TURN):
            for number, publisher in enumerate(publishers):
                spent[number] += publisher.publish(TURN)
    ours, plain = map(median, spent)
    return Sample(ours, plain)


def _proportional_memory(worker: Worker) -> float:
    """Return the MB of the worker and its pool, pages that they share counted once."""
    pid = worker.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    total = 0
    for one in (pid, *children):
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _drain(rig: Rig, app: str) -> tuple[float, float]:
    rig.reset()
    count = rig.count(TASKS, 1000)
    publish(rig.plain.noop, count)
    with rig.celery_worker(PREFORK, count, app=app) as worker:
        return drain_rate(worker.series()), _proportional_memory(worker)


def _measure(rig: Rig) -> dict[str, Sample]:
    published = _publish(rig)
    (ours, our_memory), (plain, plain_memory) = (_drain(rig, app) for app in SIDES)
    return {
        "publish": published,
        "publish cost": Sample(published.ours - (published.other or 0)),
        "drain": Sample(ours, plain),
        "task cost": Sample(1000 / ours - 1000 / plain),
        "memory": Sample(our_memory, plain_memory),
        "memory cost": Sample(our_memory - plain_memory),
    }


def _rows() -> tuple[Row, ...]:
    def bar(key: str, what: str, unit: str, **bars: Any) -> Row:
        return Row(key, what, unit, absolute=True, **bars)

    return (
        Row("publish", "recorded publish, p50 / the same app without the line", "ms"),
        bar("publish cost", "what recording adds to a publish, p50", "ms", most=0.3),
        Row("drain", "recorded drain of 10,000, prefork -c 1 / without the line", "/s", least=0.85),
        bar("task cost", "what recording adds to a task", "ms", most=1.0),
        Row("memory", "worker and pool process, memory / without the line", "MB"),
        bar("memory cost", "what the line adds to the memory of a worker", "MB", most=15),
    )


BENCHMARK = Benchmark("recording", _rows(), _measure)
