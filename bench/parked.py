"""10,000 runs that wait in one worker: what each takes in the worker and in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.load import make_tokens, queue_runs
from bench.rows import Benchmark, Row, Sample
from trigger_celery import runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rig import Rig, Worker

RUNS = 10_000
WARM_UP = 300
IN_WORKER, IN_STORE = 20_000, 1500
LONG = 86_400.0


def _row(what: str, kind: str, limit: int) -> Row:
    text = f"{what} per run that waits for a {kind}"
    return Row(f"{what} {kind}", text, "B", most=limit, absolute=True)


ROWS = tuple(
    _row(what, kind, limit)
    for kind in ("token", "date")
    for what, limit in (("worker memory", IN_WORKER), ("store memory", IN_STORE))
)


def _token_payloads(rig: Rig, count: int) -> list[Any]:
    return [{"i": i, "token": token} for i, token in enumerate(make_tokens(rig, count))]


def _date_payloads(rig: Rig, count: int) -> list[Any]:
    return [{"i": i, "seconds": LONG} for i in range(count)]


def _queued(rig: Rig, task: Any, payloads: list[Any]) -> float:
    """Return the store's bytes for a run that is queued and does not wait."""
    rig.reset()
    task.trigger(payloads[0]).sync()
    empty = rig.used_memory()
    queue_runs(task, payloads)
    return (rig.used_memory() - empty) / len(payloads)


def _warm_up(rig: Rig, worker: Worker, task: Any, payloads: list[Any]) -> None:
    """Let runs wait and end, so that the worker has everything that it needs only once."""
    queue_runs(task, payloads)
    worker.until(lambda: rig.runs_in("WAITING") == len(payloads))
    waiting: Any = rig.client.zrange(f"{rig.trigger.scope}:index_status:WAITING", 0, -1)
    for run in waiting:
        runs.cancel(run.decode()).sync()
    worker.until(lambda: rig.runs_in("WAITING") == 0)


def _waiting(
    rig: Rig, task: Any, make: Callable[[Rig, int], list[Any]], count: int
) -> tuple[float, float]:
    """Return the bytes of a waiting run in the worker and in the store, all it needs included."""
    rig.reset()
    with rig.our_worker() as worker:
        _warm_up(rig, worker, task, make(rig, WARM_UP))
        in_worker, in_store = worker.memory(), rig.used_memory()
        queue_runs(task, make(rig, count))
        worker.until(lambda: rig.runs_in("WAITING") == count)
        return (
            (worker.memory() - in_worker) / count,
            (rig.used_memory() - in_store) / count,
        )


def measure(rig: Rig) -> dict[str, Sample]:
    count = rig.count(RUNS, 1000)
    samples = {}
    for kind, task, make in (
        ("token", rig.ours.token_wait, _token_payloads),
        ("date", rig.ours.nap, _date_payloads),
    ):
        in_worker, in_store = _waiting(rig, task, make, count)
        queued = _queued(rig, task, make(rig, count))
        samples[f"worker memory {kind}"] = Sample(in_worker)
        samples[f"store memory {kind}"] = Sample(in_store - queued)
    return samples


BENCHMARK = Benchmark("parked", ROWS, measure, most_repeats=1)
