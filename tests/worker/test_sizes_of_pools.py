"""The pool's size while it works: grow, shrink, autoscale; and many runs at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment

pytestmark = pytest.mark.processes


def test_two_hundred_runs_at_once_keep_their_context(deployment: Deployment) -> None:
    deployment.start_worker("asyncio", 200)
    ids = deployment.batch("look", [None] * 200)
    deployment.wait_all(ids)
    assert {tuple(deployment.get(run).output) for run in ids} == {(True,) * 6}


@pytest.mark.parametrize(
    ("pool", "kind"), [("asyncio", ""), ("asyncio", "-sync"), ("prefork", "-sync")]
)
def test_grow_and_shrink(deployment: Deployment, tmp_path: Path, pool: str, kind: str) -> None:
    deployment.start_worker(pool, 1)
    control = deployment.app.control
    gates = [tmp_path / f"gate-{number}" for number in range(2)]
    ids = [deployment.trigger(f"work{kind}", {"gate": str(gates[0])}) for _ in range(3)]
    deployment.wait_for("begin", count=1)
    (answer,) = control.pool_grow(1, reply=True, timeout=5, limit=1)
    assert "ok" in next(iter(answer.values()))
    assert len(deployment.wait_for("begin", count=2)) == 2
    gates[0].touch()
    deployment.wait_all(ids)
    (answer,) = control.pool_shrink(1, reply=True, timeout=5, limit=1)
    assert "ok" in next(iter(answer.values()))
    ids = [deployment.trigger(f"work{kind}", {"gate": str(gates[1])}) for _ in range(2)]
    deployment.wait_for("begin", count=4)
    assert sorted(deployment.statuses(ids)) in (["EXECUTING", "QUEUED"], ["DEQUEUED", "EXECUTING"])
    gates[1].touch()
    deployment.wait_all(ids)


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
@pytest.mark.parametrize("kind", ["", "-sync"])
def test_autoscale(deployment: Deployment, tmp_path: Path, pool: str, kind: str) -> None:
    deployment.start_worker(pool, 1, arguments=("--autoscale=4,1",))
    gate = tmp_path / "gate"
    ids = [deployment.trigger(f"work{kind}", {"gate": str(gate)}) for _ in range(4)]
    deployment.wait_for("begin", count=4)
    gate.touch()
    assert deployment.wait_all(ids) == {"COMPLETED": 4}


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_terminating_a_run_cancels_it(deployment: Deployment, pool: str) -> None:
    worker = deployment.start_worker(pool, 1)
    for kind in ("work", "work-sync") if pool == "prefork" else ("work",):
        run = deployment.trigger(kind, {"seconds": 60})
        deployment.wait_for("begin", run)
        (answer,) = deployment.app.control.revoke(
            run, terminate=True, reply=True, timeout=10, limit=1
        )
        assert run in str(answer)
        ended = deployment.wait(run)
        assert (ended.status, ended.attempt_count) == ("CANCELED", 1)
        assert deployment.run("echo", 1).output == 1  # there is a slot for it
        assert len(deployment.ledger(run, "begin")) == 1
    assert worker.is_running


def test_queues_and_routes(deployment: Deployment) -> None:
    ordinary = deployment.start_worker("asyncio")
    special = deployment.start_worker("asyncio", arguments=("-Q", "special"))
    both = [deployment.run(task).output for task in ("elsewhere", "routed")]
    assert both == [special.pid] * 2
    assert deployment.run("work", {}).output == ordinary.pid


def test_no_worker_serves_the_queue(deployment: Deployment) -> None:
    deployment.start_worker("asyncio")
    run = deployment.trigger("elsewhere")
    assert deployment.run("echo", 1).output == 1
    assert deployment.status(run) == "QUEUED"
    late = deployment.start_worker("asyncio", arguments=("-Q", "special"))
    assert deployment.wait(run).output == late.pid


@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_a_task_that_no_worker_knows_yet(deployment: Deployment, pool: str) -> None:
    deployment.start_worker(pool, 2)
    run = deployment.trigger("late", 1)
    wait_until(lambda: deployment.status(run) == "PENDING_VERSION", "the run is parked")
    deployment.start_worker(pool, 2, module="tests.worker.late_tasks")
    assert deployment.wait(run).output == "here"
    again = deployment.batch("late", [1] * 10)
    assert deployment.wait_all(again) == {"COMPLETED": 10}
    assert len(deployment.ledger(event="run")) == 11
