"""How workers leave: what runs under way become, and how soon others get them."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment

pytestmark = pytest.mark.processes

ALL = ("asyncio", "prefork", "threads", "solo")


@pytest.mark.parametrize("kind", ["", "-sync"])
@pytest.mark.parametrize("pool", ALL)
def test_warm_lets_attempts_end(
    deployment: Deployment, tmp_path: Path, pool: str, kind: str
) -> None:
    worker = deployment.start_worker(pool, 2 if pool != "solo" else 1)
    gate = tmp_path / "gate"
    ids = [deployment.trigger(f"work{kind}", {"gate": str(gate)}) for _ in range(4)]
    begun = {entry.run for entry in deployment.wait_for("begin", count=1 if pool == "solo" else 2)}
    worker.signal(signal.SIGTERM)
    if pool != "solo":  # a solo worker does not look at signals while it executes
        wait_until(lambda: "Warm shutdown" in worker.log, "the worker heard it")
    gate.touch()
    assert worker.wait() == 0
    after = deployment.statuses(ids)
    assert after["COMPLETED"] >= len(begun)
    assert set(after) <= {"COMPLETED", "QUEUED"}
    assert not deployment.sessions()
    assert len(deployment.ledger(event="begin")) == after["COMPLETED"]
    deployment.start_worker("asyncio")
    assert deployment.wait_all(ids) == {"COMPLETED": 4}
    assert len(deployment.ledger(event="begin")) == 4


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_warm_gives_up_after_the_grace_time(deployment: Deployment, pool: str) -> None:
    worker = deployment.start_worker(pool, 2, shutdown_grace="0.5")
    run = deployment.trigger("work", {"seconds": 60})
    deployment.wait_for("begin", run)
    began = time.monotonic()
    worker.terminate()
    assert time.monotonic() - began < 10
    assert deployment.status(run) == "QUEUED"
    assert not deployment.sessions()


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
def test_a_retry_that_waits_is_given_back_uncounted(
    deployment: Deployment, tmp_path: Path, pool: str
) -> None:
    """Two attempts are allowed: none may be used up by a shutdown between them."""
    worker = deployment.start_worker(pool, 2)
    gate = tmp_path / "gate"
    kinds = ("", "-sync")
    ids = [deployment.trigger(f"slow-retry{kind}", {"gate": str(gate)}) for kind in kinds]
    wait_until(
        lambda: all(deployment.get(run).attempt_count == 2 for run in ids),
        "both wait for their second attempt",
    )
    began = time.monotonic()
    assert worker.terminate() == 0
    assert time.monotonic() - began < 8, "it did not wait for the retry's delay"
    assert deployment.statuses(ids) == {"QUEUED": 2}
    gate.touch()
    deployment.start_worker("asyncio")
    assert deployment.wait_all(ids) == {"COMPLETED": 2}
    assert [entry.attempt for entry in deployment.ledger(ids[0], "run")] == [1, 2]
    assert deployment.get(ids[1]).attempt_count == 2


@pytest.mark.parametrize(
    ("pool", "kind"), [("asyncio", ""), ("asyncio", "-sync"), ("prefork", ""), ("prefork", "-sync")]
)
def test_cold_gives_runs_back_at_once(deployment: Deployment, pool: str, kind: str) -> None:
    worker = deployment.start_worker(pool, 2)
    ids = [deployment.trigger(f"work{kind}", {"seconds": 60}) for _ in range(2)]
    deployment.wait_for("begin", count=2)
    waiting = deployment.trigger(f"work{kind}", {"seconds": 0})
    began = time.monotonic()
    worker.signal(signal.SIGQUIT)
    worker.wait()
    assert time.monotonic() - began < 12
    assert not deployment.sessions()
    assert deployment.statuses(ids) == {"QUEUED": 2}
    assert deployment.status(waiting) == "QUEUED"
    assert len(deployment.ledger(event="begin")) == 2
    run = deployment.get(ids[0])
    assert run.attempts[0].error.code == "TASK_RUN_WORKER_SHUTDOWN"


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_cold_after_warm(deployment: Deployment, pool: str) -> None:
    worker = deployment.start_worker(pool, 2)
    run = deployment.trigger("work", {"seconds": 60})
    deployment.wait_for("begin", run)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.log, "the worker heard it")
    worker.signal(signal.SIGQUIT)
    worker.wait()
    assert deployment.status(run) == "QUEUED"
    assert not deployment.sessions()


def test_cold_with_a_run_that_has_no_attempt_left(deployment: Deployment) -> None:
    worker = deployment.start_worker("asyncio")
    run = deployment.trigger("once", {"seconds": 60})
    deployment.wait_for("begin", run)
    worker.signal(signal.SIGQUIT)
    worker.wait()
    assert deployment.status(run) == "CRASHED"
    assert deployment.get(run).error.code == "TASK_RUN_WORKER_SHUTDOWN"


def test_a_coroutine_that_does_not_stop_delays_the_cold_end_for_seconds_only(
    deployment: Deployment,
) -> None:
    worker = deployment.start_worker("asyncio")
    run = deployment.trigger("stubborn", {"seconds": 60, "cleanup": 60})
    deployment.wait_for("begin", run)
    worker.signal(signal.SIGQUIT)
    worker.wait(30)
    assert deployment.status(run) == "QUEUED"


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_remote_shutdown(deployment: Deployment, pool: str) -> None:
    worker = deployment.start_worker(pool, 2)
    assert deployment.run("echo", 1).output == 1
    deployment.app.control.shutdown()
    assert worker.wait() == 0
    assert not deployment.sessions()


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_a_soft_shutdown_lets_attempts_end(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    """Celery's own, by the signal that a platform sends."""
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")
    gate = tmp_path / "gate"
    worker = deployment.start_worker(pool, 2, conf={"worker_soft_shutdown_timeout": 5}, fork=False)
    ids = [deployment.trigger(f"work{kind}", {"gate": str(gate)}) for kind in ("", "-sync")]
    for run in ids:
        deployment.wait_for("begin", run)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Initiating Soft Shutdown" in worker.log, "it shuts down")
    late = deployment.trigger("work", {})
    gate.touch()
    worker.wait(40)
    assert deployment.statuses(ids) == {"COMPLETED": 2}
    assert [len(deployment.ledger(run, "begin")) for run in ids] == [1, 1]
    assert deployment.status(late) == "QUEUED"
