"""Workers that freeze and come back: nobody believes what they write after their lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import LEASE
from tests.waiting import wait_until
from tests.worker.workers import Deployment

pytestmark = pytest.mark.processes


def let_pass(seconds: float) -> None:
    """The fault is that time passes."""
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began >= seconds, "time passed", timeout=seconds + 5)


@pytest.mark.parametrize("kind", ["", "-sync"])
@pytest.mark.parametrize("pool", ["asyncio", "prefork", "threads"])
def test_a_zombie_is_refused(deployment: Deployment, tmp_path: Path, pool: str, kind: str) -> None:
    gate = tmp_path / "gate"
    zombie = deployment.start_worker(pool, 2)
    session = deployment.session_of(zombie)
    ids = [deployment.trigger(f"work{kind}", {"gate": str(gate)}) for _ in range(2)]
    deployment.wait_for("begin", count=2)
    second = deployment.start_worker("asyncio")
    zombie.pause()
    frozen = time.monotonic()
    deployment.wait_for("begin", count=4)
    gate.touch()
    assert deployment.wait_all(ids) == {"COMPLETED": 2}
    let_pass(max(0.0, 2 * LEASE - (time.monotonic() - frozen)))
    before = [deployment.get(run) for run in ids]
    zombie.resume()
    wait_until(lambda: deployment.session_of(zombie) not in (None, session), "it has a new session")
    if pool != "asyncio" or kind:  # a coroutine may be cancelled before it ends
        deployment.wait_for("end", count=4)
    after = [deployment.get(run) for run in ids]
    assert after == before
    assert all(run.attempt_count == 2 for run in after)
    assert {run.output for run in after} == {second.pid}
    second.kill()
    assert deployment.run("work", {}).status == "COMPLETED", "it serves as a new session"
    figures = deployment.count(f"zombie on {pool}", ids)
    assert figures["executed_twice"] == 2


def test_a_retry_of_the_zombie_and_its_successor_do_not_meet(deployment: Deployment) -> None:
    """A coroutine that is slow to stop must not touch the same run that came back here."""
    worker = deployment.start_worker("asyncio")
    session = deployment.session_of(worker)
    run = deployment.trigger("stubborn", {"seconds": 3.5, "cleanup": 2})
    deployment.wait_for("begin", run)
    other = deployment.start_worker("prefork", 1)
    worker.pause()
    wait_until(lambda: session not in deployment.sessions(), "its lease lapsed")
    other.kill()
    worker.resume()
    ended = deployment.wait(run, timeout=25)
    assert ended.status == "COMPLETED"
    assert deployment.run("echo", 1).output == 1


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_a_short_freeze_changes_nothing(deployment: Deployment, tmp_path: Path, pool: str) -> None:
    gate = tmp_path / "gate"
    worker = deployment.start_worker(pool, 2)
    ids = [deployment.trigger("work", {"gate": str(gate)}) for _ in range(2)]
    deployment.wait_for("begin", count=2)
    deployment.start_worker("asyncio")
    worker.pause()
    let_pass(LEASE / 2)
    worker.resume()
    gate.touch()
    assert deployment.wait_all(ids) == {"COMPLETED": 2}
    figures = deployment.count(f"frozen for half a lease on {pool}", ids)
    assert figures["executed_twice"] == 0


def test_a_frozen_child_of_prefork_keeps_its_run(deploy: Callable[..., Deployment]) -> None:
    """The lease is the parent's: a stuck attempt is not lost."""
    deployment = deploy(worker_lease=1.0)
    deployment.start_worker("prefork", 1)
    run = deployment.trigger("work-sync", {"seconds": 3})
    deployment.wait_for("begin", run)
    deployment.start_worker("asyncio")
    assert deployment.wait(run).attempt_count == 1
