"""The server's time per dequeued run: 5,000 concurrency keys, most of them full, and one lane.

The engine is driven directly: each call ends the runs of the call before and takes the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.rows import Benchmark, Row, Sample
from trigger_celery.engine import attempts, sessions, triggering
from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.triggering import NewRun, Placement
from trigger_celery.model.ids import op_id, run_id, token
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.rate import parse_rate
from trigger_celery.store.op import ask

if TYPE_CHECKING:
    from bench.rig import Rig

KEYS = 5000
OPEN = 100
"""Keys with a free slot; the others have one run executing and one waiting."""
RUNS = 2000
RETENTION = 3_600_000
ROWS = (
    Row(
        "one",
        "dequeue, 5,000 keys most full / one lane, 1 a call",
        "µs",
        most=1.5,
        against="one lane",
    ),
    Row("ten", "dequeue, 5,000 keys most full / one lane, 10 a call", "µs", against="one lane"),
    Row(
        "rates",
        "dequeue, 5,000 keys with a rate each and a rate of all / without rates, 1 a call",
        "µs",
        most=2,
        against="no rates",
    ),
)


TASK = sessions.TaskDeclaration("t", "task/t", "bench", 1, {})
# Rates that start what the benchmark wants; they are asked and paid all the same.
QUEUES = [
    QueueDeclaration("keyed", 1),
    QueueDeclaration("plain"),
    QueueDeclaration("rated", rate=parse_rate("50000/s"), key_rate=parse_rate("1/s")),
]


class Driver:
    """A worker session without a worker."""

    def __init__(self, rig: Rig, name: str) -> None:
        self._rig = rig
        self._store, self._scope = rig.trigger.store, rig.trigger.scope
        self._name = name
        declaration = sessions.SessionDeclaration(
            name, 600_000, {}, ["bench"], [TASK], QUEUES, None
        )
        self._store.run_sync(sessions.register(self._scope, declaration))

    def create(self, queue: str, keys: list[str]) -> None:
        """Queue one run for each key."""
        runs = [
            NewRun(run_id(), Placement("t", True, "bench", queue, key), Packet('{"i":1}', JSON))
            for key in keys
        ]
        self._store.run_sync(triggering.create_runs(self._scope, runs, RETENTION))

    def take(self, want: int, ended: list[Grant]) -> list[Grant]:
        """End runs and take the next."""
        endings = [Ending(grant.id, grant.epoch, "done", JSON, "null") for grant in ended]
        call = attempts.dequeue(
            self._scope, op_id(), self._name, token("bench"), want, endings, RETENTION, start=True
        )
        return self._store.run_sync(ask(call)).runs

    def cost(self, runs: int, want: int) -> float:
        """Return the server's µs per run over *runs* runs."""
        taken = self.take(want, self.take(want, []))
        before, done = self._rig.server_time(), 0
        while done < runs:
            taken = self.take(want, taken)
            if not taken:
                raise RuntimeError(f"ran dry after {done} runs")
            done += len(taken)
        return (self._rig.server_time() - before) / done


def _many(rig: Rig, runs: int, want: int) -> float:
    rig.reset()
    driver, holder = Driver(rig, "driver"), Driver(rig, "holder")
    full = [f"full-{i}" for i in range(KEYS - OPEN)]
    driver.create("keyed", full)
    held = 0
    while held < len(full):
        held += len(holder.take(100, []))
    driver.create("keyed", full)
    for _ in range((runs + 3 * want) // OPEN + 2):
        driver.create("keyed", [f"open-{i}" for i in range(OPEN)])
    return driver.cost(runs, want)


def _one(rig: Rig, runs: int, want: int) -> float:
    rig.reset()
    driver = Driver(rig, "driver")
    driver.create("plain", [""] * (runs + 5 * want))
    return driver.cost(runs, want)


def _spread(rig: Rig, runs: int, queue: str) -> float:
    """Take one run each of 5,000 keys, which then wait for their next turn by the rate."""
    rig.reset()
    driver = Driver(rig, "driver")
    for _ in range(2):
        driver.create(queue, [f"key-{i}" for i in range(KEYS)])
    return driver.cost(runs, 1)


def measure(rig: Rig) -> dict[str, Sample]:
    runs = rig.count(RUNS, 100)
    samples = {
        name: Sample(_many(rig, runs, want), _one(rig, runs, want))
        for name, want in (("one", 1), ("ten", 10))
    }
    samples["rates"] = Sample(_spread(rig, runs, "rated"), _spread(rig, runs, "plain"))
    rig.reset()
    return samples


BENCHMARK = Benchmark("dequeue-cost", ROWS, measure)
