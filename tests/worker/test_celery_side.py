"""What Celery's own tools see of runs: inspect, control, events."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.listening import listening
from tests.worker.workers import Deployment

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("kind", ["", "-sync"])
def test_events_carry_the_id_of_the_run(shared: Deployment, kind: str) -> None:
    with listening(shared) as listener:
        good = shared.run(f"echo{kind}", "x").id
        again = shared.run(f"fail{kind}", {"what": "no", "until": 1}).id
        bad = shared.run(f"fail{kind}", {"what": "abort"}).id
        begin = ["task-received", "task-started"]
        assert listener.wait_for(good, "task-succeeded") == [*begin, "task-succeeded"]
        assert listener.wait_for(again, "task-succeeded") == [
            *(*begin, "task-retried"),
            *(*begin, "task-succeeded"),
        ]
        assert listener.wait_for(bad, "task-failed") == [*begin, "task-failed"]
    received = next(e for e in listener.events if e["uuid"] == again)
    assert (received["name"], received["retries"]) == (f"fail{kind}", 0)
    failed = next(e for e in listener.events if e["type"] == "task-failed")
    assert "enough" in failed["exception"]
    retried = [e["retries"] for e in listener.events if e["type"] == "task-received"]
    assert retried == [0, 0, 1, 0]


def test_inspect(shared: Deployment, pool: str, tmp_path: Path) -> None:
    inspect = shared.app.control.inspect(timeout=5, limit=1)
    (registered,) = inspect.registered().values()
    assert {"echo", "echo-sync", "plain-add"} <= set(registered)
    if pool != "solo":  # it answers nothing while it executes
        gate = tmp_path / "gate"
        run = shared.trigger("work", {"gate": str(gate)})
        shared.wait_for("begin", run)
        (active,) = inspect.active().values()
        assert [(request["id"], request["name"]) for request in active] == [(run, "work")]
        gate.touch()
        shared.wait(run)
    wait_until(
        lambda: list(inspect.active().values()) == [[]], "nothing is active any more", interval=0.1
    )
    shared.run("fail", {"what": "abort"})
    shared.run("fail-sync", {"what": "again", "until": 1})
    wait_until(
        lambda: list(inspect.active().values()) == [[]], "a failure is not active", interval=0.1
    )
    (reserved,) = inspect.reserved().values()
    assert reserved == []
    (stats,) = inspect.stats().values()
    assert stats["total"]["fail"] >= 1
    assert stats["pool"]["max-concurrency"] >= 1


def test_limits_of_the_worker_hold_for_runs_and_plain_tasks_together(
    shared: Deployment, pool: str, tmp_path: Path
) -> None:
    if pool == "solo":
        pytest.skip("one at a time by its nature")
    gate = tmp_path / "gate"
    before = len(shared.ledger(event="plain-begin"))
    results = [
        shared.app.send_task("plain-work", ({"gate": str(gate)},), ignore_result=False)
        for _ in range(2)
    ]
    wait_until(
        lambda: len(shared.ledger(event="plain-begin")) == before + 2, "both plain tasks execute"
    )
    run = shared.trigger("echo", 1)
    (busy,) = shared.app.control.inspect(timeout=5, limit=1).active().values()
    assert len(busy) == 2
    assert shared.status(run) in ("QUEUED", "DEQUEUED")
    gate.touch()
    assert shared.wait(run).output == 1
    assert all(result.get(timeout=10) for result in results)
