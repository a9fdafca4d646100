"""What the store holds for a queued and for a finished run, against a message and a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.load import queue_runs
from bench.pools import PREFORK
from bench.rig import wait_until
from bench.rows import Benchmark, Row, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rig import Rig

RUNS = 10_000
LIMIT = 1200
PAYLOADS: dict[str, Callable[[int], dict[str, Any]]] = {
    "small": lambda i: {"i": i},
    "200 B": lambda i: {"i": i, "text": "x" * 182},
}


def _row(state: str, payload: str) -> Row:
    other = "message" if state == "queued" else "result"
    # The bar is for a small payload and a small result; the larger one is there to compare.
    limit = LIMIT if payload == "small" else None
    return Row(
        f"{state} {payload}", f"store memory, {state} run, {payload} payload / Celery's {other}",
        "B", most=limit, absolute=True,
    )  # fmt: skip


ROWS = tuple(_row(state, payload) for payload in PAYLOADS for state in ("queued", "finished"))


def _ours(rig: Rig, payloads: list[Any]) -> tuple[float, float]:
    rig.reset()
    echo = rig.ours.echo
    echo.trigger(payloads[0]).sync()
    empty = rig.used_memory()
    queue_runs(echo, payloads)
    queued = rig.used_memory() - empty
    with rig.our_worker(len(payloads) + 1) as worker:
        worker.series()
        wait_until(lambda: rig.runs_in("COMPLETED") > len(payloads))
    # The worker is gone; what is left over the empty store are the finished runs.
    return queued / len(payloads), (rig.used_memory() - empty) / len(payloads)


def _celery(rig: Rig, payloads: list[Any]) -> tuple[float, float]:
    rig.reset()
    echo = rig.plain.echo
    echo.delay(payloads[0]).forget()
    empty = rig.used_memory()
    with echo.app.producer_or_acquire() as producer:
        for payload in payloads:
            echo.apply_async((payload,), producer=producer)
    queued = rig.used_memory() - empty
    with rig.celery_worker(PREFORK, len(payloads) + 1) as worker:
        worker.series()
        wait_until(lambda: rig.client.hlen("unacked") == 0)
    return queued / len(payloads), (rig.used_memory() - empty) / len(payloads)


def measure(rig: Rig) -> dict[str, Sample]:
    samples = {}
    for name, payload in PAYLOADS.items():
        payloads = [payload(i) for i in range(rig.count(RUNS, 1000))]
        ours, celery = _ours(rig, payloads), _celery(rig, payloads[: len(payloads) // 5])
        samples[f"queued {name}"] = Sample(ours[0], celery[0])
        samples[f"finished {name}"] = Sample(ours[1], celery[1])
    return samples


BENCHMARK = Benchmark("memory", ROWS, measure, most_repeats=1)
