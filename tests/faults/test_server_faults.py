"""The server dies, freezes, comes back: workers and callers go on by themselves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import LEASE
from tests.faults.test_frozen_workers import let_pass
from tests.waiting import wait_until
from tests.worker.workers import START_TIMEOUT, Deployment
from trigger_celery.dev.embedded import EmbeddedServer

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
def test_the_server_is_killed_and_restarted_under_load(
    deploy: Callable[..., Deployment], pool: str
) -> None:
    deployment = deploy(keep=True)
    deployment.server.stop()
    deployment.server.start()
    workers = [deployment.start_worker(pool, 4), deployment.start_worker("asyncio", 4)]
    ids = deployment.batch("work", [{"seconds": 0.05}] * 150)
    ids += deployment.batch("work-sync", [{"seconds": 0.05}] * 50)
    for part in (40, 90):
        wait_until(
            lambda part=part: len(deployment.ledger(event="end")) >= part,
            "the load is under way",
            timeout=20,
        )
        deployment.server.kill()
        deployment.server.start()
        ids += deployment.batch("work", [{}] * 10)
    statuses = deployment.wait_all(ids, timeout=50)
    figures = deployment.count(f"server killed twice under {pool}, {dict(statuses)}", ids)
    assert figures["lost"] == 0
    assert figures["never_executed"] == 0
    assert statuses == {"COMPLETED": 220}
    assert all(worker.is_running for worker in workers)
    assert deployment.run("echo", 1).output == 1


@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads", "solo"])
def test_a_run_ends_and_the_worker_stops_while_the_server_is_away(
    deploy: Callable[..., Deployment], tmp_path: Path, pool: str
) -> None:
    deployment = deploy(keep=True)
    worker = deployment.start_worker(pool, 1)
    gate = tmp_path / "gate"
    run = deployment.trigger("work-sync", {"gate": str(gate)})
    deployment.wait_for("begin", run)
    deployment.server.kill()
    gate.touch()
    deployment.wait_for("end", run)
    worker.signal(signal.SIGTERM)
    let_pass(0.5)
    deployment.server.start()
    worker.wait()
    assert deployment.status(run) == "COMPLETED"
    assert len(deployment.ledger(event="begin")) == 1
    assert not deployment.sessions()


def test_a_caller_waits_for_a_restart(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(keep=True)
    deployment.start_worker("asyncio")
    deployment.run("echo", 1)
    deployment.server.kill()
    ids: list[str] = []
    caller = threading.Thread(target=lambda: ids.append(deployment.trigger("echo", 2)))
    caller.start()
    let_pass(0.5)
    deployment.server.start()
    caller.join(10)
    assert deployment.wait(ids[0]).output == 2


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_the_server_freezes_for_longer_than_a_lease(deployment: Deployment, pool: str) -> None:
    """All leases look lapsed then; nothing is taken over before they could be renewed."""
    workers = [deployment.start_worker(pool, 2), deployment.start_worker("asyncio", 2)]
    ids = deployment.batch("work", [{"seconds": 0.5}] * 8)
    deployment.wait_for("begin", count=4)
    sessions = set(deployment.sessions())
    deployment.server.pause()
    let_pass(1.5 * LEASE)
    deployment.server.resume()
    assert deployment.wait_all(ids) == {"COMPLETED": 8}
    assert set(deployment.sessions()) == sessions
    figures = deployment.count(f"server frozen for 1.5 leases under {pool}", ids)
    assert figures["executed_twice"] == 0
    assert all(worker.is_running for worker in workers)


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_the_server_comes_back_empty(deployment: Deployment, pool: str) -> None:
    """Without persistence the runs are gone; the workers register anew and serve new ones."""
    worker = deployment.start_worker(pool, 2)
    session = deployment.session_of(worker)
    deployment.trigger("work", {"seconds": 0.5})
    deployment.wait_for("begin")
    deployment.server.restart()
    wait_until(lambda: deployment.session_of(worker) not in (None, session), "it registered anew")
    assert deployment.run("echo", 1).output == 1


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_a_worker_that_starts_before_its_server_waits_for_it(
    deployment: Deployment, pool: str
) -> None:
    deployment.server.stop()
    early, told_to_end = (
        deployment.start_worker(pool, 1, wait=False, store_retry="0.2") for _ in range(2)
    )
    for worker in (early, told_to_end):
        wait_until(
            lambda worker=worker: "Trying again in 2 seconds" in worker.log,
            "the worker tries again",
            timeout=START_TIMEOUT,
        )
    assert told_to_end.terminate() == 0
    assert "Traceback" not in told_to_end.log
    assert early.is_running
    deployment.server.start()
    run = deployment.trigger("work", {})
    assert deployment.wait_all([run]) == {"COMPLETED": 1}
    assert len(deployment.sessions()) == 1


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_plain_tasks_are_executed_while_only_our_server_is_away(
    deployment: Deployment, pool: str, server_binary: str | None
) -> None:
    """The broker is another server. The worker ends as told, or serves runs once it can."""
    ours = EmbeddedServer(binary=server_binary)
    ours.start()
    ours.stop()
    workers = [
        deployment.start_worker(pool, 1, wait=False, store_retry="0.2", redis_url=ours.url)
        for _ in range(2)
    ]
    for worker in workers:
        wait_until(
            lambda worker=worker: " ready." in worker.log, "it is ready", timeout=START_TIMEOUT
        )
    sums = [deployment.app.send_task("plain-add", (n, n)) for n in range(4)]
    assert [result.get(timeout=30) for result in sums] == [0, 2, 4, 6]
    serves, told_to_end = workers
    assert told_to_end.terminate(60) == 0
    assert "Traceback" not in told_to_end.log
    ours.start()
    try:
        wait_until(lambda: "are served as" in serves.log, "it has registered")
        assert deployment.app.send_task("plain-add", (1, 2)).get(timeout=30) == 3
        assert serves.terminate(60) == 0
    finally:
        ours.stop()
