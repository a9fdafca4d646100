"""Workers that die: their runs end once, soon, and the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import LEASE
from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery.engine.services.sweeper import Sweeper
from trigger_celery.settings import Settings

pytestmark = pytest.mark.processes

SWEEP = LEASE / 6
SLACK = 1.5
"""Seconds for a busy machine."""


def test_the_bound_at_the_default_settings() -> None:
    settings = Settings(redis_url="redis://localhost")
    sweeper = Sweeper("scope", settings.lease_ms(), settings.run_retention)
    bound = settings.worker_lease + sweeper.interval_ms / 1000
    print(f"\ntakeover bound: lease {settings.worker_lease} s + sweep {sweeper.interval_ms} ms")
    assert bound <= 70


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
def test_takeover(deployment: Deployment, tmp_path: Path, pool: str) -> None:
    """Soon, by a worker that is there; what becomes of everything else is in `test_kill_matrix.py`."""
    first = deployment.start_worker(pool, 2)
    gate = tmp_path / "gate"
    ids = [deployment.trigger("work", {"gate": str(gate)}) for _ in range(2)]
    deployment.wait_for("begin", count=2)
    deployment.start_worker("asyncio")
    first.kill()
    killed = time.monotonic()
    deployment.wait_for("begin", count=4)
    gate.touch()
    assert deployment.wait_all(ids) == {"COMPLETED": 2}
    later = deployment.ledger(event="begin")[2:]
    took = max(entry.at for entry in later) - killed
    print(f"\n{pool}: taken over after {took:.2f} s, lease {LEASE} s + sweep {SWEEP:.2f} s")
    assert took <= LEASE + SWEEP + SLACK
    assert [entry.attempt for entry in later] == [2, 2]
    assert len(deployment.ledger(event="end")) == 2
    for run in ids:
        assert deployment.get(run).attempts[0].error.code == "TASK_RUN_WORKER_LOST"
    deployment.count(f"kill -9 of a {pool} worker", ids)


def test_only_the_main_process_of_prefork_is_killed(deployment: Deployment) -> None:
    """Its children may go on for a while: what they write counts only while the lease holds."""
    first = deployment.start_worker("prefork", 2)
    ids = [deployment.trigger("work-sync", {"seconds": s}) for s in (1.5, 4)]
    deployment.wait_for("begin", count=2)
    deployment.start_worker("asyncio")
    first.kill(whole=False)
    assert deployment.wait_all(ids) == {"COMPLETED": 2}
    for run in ids:
        ended = deployment.get(run)
        executed = deployment.ledger(run, "begin")
        assert ended.attempt_count == len(executed)
        assert ended.output == executed[-1].pid
    deployment.count("kill -9 of a prefork main process", ids)


def test_a_run_without_attempts_left_crashes(deployment: Deployment) -> None:
    first = deployment.start_worker("asyncio")
    run = deployment.trigger("once", {"seconds": 60})
    deployment.wait_for("begin", run)
    deployment.start_worker("asyncio")
    first.kill()
    ended = deployment.wait(run)
    assert (ended.status, ended.error.code) == ("CRASHED", "TASK_RUN_WORKER_LOST")
    assert len(deployment.ledger(run, "begin")) == 1
    (told,) = deployment.wait_for("on_failure", run)
    assert told.more["error"] == ended.error.message


def test_poison_stops_after_three_losses_in_prefork(deployment: Deployment) -> None:
    worker = deployment.start_worker("prefork", 2)
    run = deployment.trigger("poison", {"what": "kill"})
    ids = deployment.batch("work-sync", [{"seconds": 0.01}] * 20)
    ended = deployment.wait(run, timeout=60)
    assert (ended.status, ended.error.code) == ("CRASHED", "TASK_PROCESS_EXITED")
    assert len(deployment.ledger(run, "run")) == 3
    assert deployment.wait_all(ids) == {"COMPLETED": 20}
    assert len(deployment.wait_for("on_failure", run)) == 1
    assert worker.is_running
    print("\npoison in prefork: executed 3 times, neighbours unharmed")


def test_poison_stops_after_three_losses_of_whole_workers(
    deploy: Callable[..., Deployment],
) -> None:
    deployment = deploy(worker_lease=1.0)
    for _ in range(4):
        deployment.start_worker("asyncio")
    run = deployment.trigger("poison", {"what": "kill"})
    ended = deployment.wait(run, timeout=25)
    assert (ended.status, ended.error.code) == ("CRASHED", "TASK_RUN_WORKER_LOST")
    assert len(deployment.ledger(run, "run")) == 3
    assert sum(worker.is_running for worker in deployment.workers) == 1
    print("\npoison in asyncio: 3 workers lost, the fourth survives")


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_kill_storm(deploy: Callable[..., Deployment], pool: str) -> None:
    """Every acknowledged run ends, though the workers die all the time."""
    deployment = deploy(worker_lease=1.0)
    workers = [deployment.start_worker(pool, 4, wait=False) for _ in range(2)]
    deployment.start_worker(pool, 4)
    ids = deployment.batch("fail", [{"what": "again", "until": 1}] * 100)
    ids += deployment.batch("work", [{"seconds": 0.02}] * 100)
    ids += deployment.batch("work-sync", [{"seconds": 0.02}] * 100)
    kills = 0
    while kills < 8 and deployment.unfinished(ids):
        before = len(deployment.ledger())
        wait_until(
            lambda before=before: (
                len(deployment.ledger()) > before + 15 or not deployment.unfinished(ids)
            ),
            "the workers get on",
            timeout=15,
            interval=0.02,
        )
        workers.pop(0).kill()
        kills += 1
        workers.append(deployment.start_worker(pool, 4, wait=False))
    statuses = deployment.wait_all(ids, timeout=40)
    begun = deployment.count(f"kill storm on {pool}, {kills} kills, {dict(statuses)}", ids[100:])
    assert set(statuses) <= {"COMPLETED", "CRASHED", "FAILED"}
    assert begun["lost"] == 0
    assert begun["never_executed"] == 0
    for run in ids[100:]:
        ended = deployment.get(run)
        executed = deployment.ledger(run, "begin")
        assert len(executed) <= ended.attempt_count, (ended, executed)
