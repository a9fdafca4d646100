"""Load on several workers: limits hold, nothing is lost, nothing is executed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.worker.workers import Deployment, Entry
from trigger_celery import StoreUnavailableError

pytestmark = pytest.mark.processes


def most_at_once(entries: list[Entry]) -> int:
    """Return how many executions overlapped at most, by the ledger."""
    now = most = 0
    for entry in sorted(entries, key=lambda entry: entry.at):
        now += {"begin": 1, "end": -1}.get(entry.event, 0)
        most = max(most, now)
    return most


@pytest.mark.parametrize("pools", [("asyncio", "asyncio"), ("asyncio", "prefork")])
def test_a_limit_of_four_on_two_workers(deployment: Deployment, pools: tuple[str, str]) -> None:
    for pool in pools:
        deployment.start_worker(pool, 3)
    ids = deployment.batch("limited", [{"seconds": 0.005}] * 500)
    assert deployment.wait_all(ids, timeout=60) == {"COMPLETED": 500}
    most = most_at_once(deployment.ledger())
    figures = deployment.count(f"limit 4 on {' and '.join(pools)}, {most} at most", ids)
    assert most <= 4
    assert figures["never_executed"] == figures["executed_twice"] == 0
    assert len({entry.pid for entry in deployment.ledger(event="begin")}) >= 2


def test_ten_thousand_delayed_runs(deployment: Deployment) -> None:
    for _ in range(2):
        deployment.start_worker("asyncio", 200)
    ids = deployment.batch("echo", [None] * 10_000, delay="2s")
    assert deployment.wait_all(ids, timeout=60) == {"COMPLETED": 10_000}
    figures = deployment.count("10,000 delayed runs", ids, event="run")
    assert figures["never_executed"] == figures["executed_twice"] == 0


def every_flush(deployment: Deployment, ids: list[str]) -> Iterator[int]:
    while deployment.unfinished(ids):
        deployment.client.script_flush()
        yield 1


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_scripts_are_flushed_all_the_time(deployment: Deployment, pool: str) -> None:
    deployment.start_worker(pool, 4)
    ids = deployment.batch("work", [{}] * 300)
    ids += deployment.batch("fail", [{"what": "again", "until": 1}] * 100)
    flushes = sum(every_flush(deployment, ids))
    assert deployment.wait_all(ids) == {"COMPLETED": 400}
    figures = deployment.count(f"{flushes} x SCRIPT FLUSH on {pool}", ids[:300])
    assert figures["executed_twice"] == 0


def test_runs_keep_their_order_on_one_slot(deployment: Deployment) -> None:
    ids = deployment.batch("echo", list(range(100)))
    deployment.start_worker("asyncio", 1)
    deployment.wait_all(ids)
    executed = [entry.run for entry in deployment.ledger(event="run")]
    assert executed == ids
    assert all(a.at <= b.at for a, b in pairwise(deployment.ledger(event="run")))


def test_memory_is_full_for_a_while(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(store_retry=0.5)
    deployment.start_worker("asyncio", 4)
    ids = deployment.batch("work", [{"seconds": 0.5}] * 4)
    deployment.wait_for("begin", count=4)
    deployment.client.config_set("maxmemory", 1)
    refused = 0
    for _ in range(5):
        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            deployment.trigger("work", {})
        refused += 1
    assert deployment.wait_all(ids) == {"COMPLETED": 4}, "what executes may end all the same"
    deployment.client.config_set("maxmemory", 0)
    ids += deployment.batch("work", [{}] * 50)
    assert deployment.wait_all(ids) == {"COMPLETED": 54}
    figures = deployment.count(f"memory full, {refused} triggers refused", ids)
    assert figures["executed_twice"] == 0
