"""What only processes can do: be killed, for a limit or from outside."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.worker.recorded.conftest import OldProject
from tests.worker.workers import Deployment
from trigger_celery import wait

pytestmark = pytest.mark.processes


SOFT = ("TIMED_OUT", "SoftTimeLimitExceeded", "the soft time limit of 1 s was exceeded")
HARD = ("TIMED_OUT", "TimeLimitExceeded", "the hard time limit of 1 s was exceeded")


def told(run: Any) -> tuple[str, str | None, str]:
    return run.status, run.error.name, run.error.message


def test_time_limits(deployment: Deployment) -> None:
    """What is raised in the code is retried as anything is; what kills the process is final."""
    worker = deployment.start_worker("prefork", 3)
    expected = {
        "limited-soft": (SOFT, [1, 2]),
        "limited-soft-async": (SOFT, [1]),
        "limited-hard": (HARD, [1]),
    }
    most = {"limited-soft": 2, "limited-soft-async": 1, "limited-hard": 2}
    ids = {
        kind: deployment.trigger(kind, {"seconds": 60}, max_attempts=count)
        for kind, count in most.items()
    }
    for kind, (ending, attempts) in expected.items():
        assert told(deployment.wait(ids[kind], timeout=60)) == ending
        begun = deployment.ledger(ids[kind], "begin")
        assert [entry.attempt for entry in begun] == attempts
    again = deployment.batch("echo", [1, 2, 3])
    assert deployment.wait_all(again) == {"COMPLETED": 3}
    assert worker.is_running


def test_a_process_that_dies_costs_one_attempt(deployment: Deployment) -> None:
    worker = deployment.start_worker("prefork", 1)
    run = deployment.run("fail-sync", {"what": "kill", "until": 1})
    assert (run.status, run.output, run.attempt_count) == ("COMPLETED", 2, 2)
    assert run.attempts[0].error.code == "TASK_PROCESS_EXITED"
    assert worker.is_running


def test_a_process_is_killed_from_outside(deployment: Deployment) -> None:
    deployment.start_worker("prefork", 2)
    run = deployment.trigger("once", {"seconds": 60})
    (begun,) = deployment.wait_for("begin", run)
    os.kill(begun.pid, signal.SIGKILL)
    assert deployment.wait(run).status == "CRASHED"
    ids = deployment.batch("work-sync", [{}] * 10)
    assert deployment.wait_all(ids) == {"COMPLETED": 10}


def test_idle_processes_are_killed_from_outside(deployment: Deployment) -> None:
    worker = deployment.start_worker("prefork", 2)
    for _ in range(3):
        for child in worker.children():
            os.kill(child, signal.SIGKILL)
        ids = deployment.batch("work-sync", [{}] * 4)
        assert deployment.wait_all(ids) == {"COMPLETED": 4}


def test_processes_that_serve_one_run_each(deployment: Deployment) -> None:
    deployment.start_worker("prefork", 2, arguments=("--max-tasks-per-child", "1"))
    ids = deployment.batch("work", [{}] * 10)
    assert deployment.wait_all(ids) == {"COMPLETED": 10}
    assert len({entry.pid for entry in deployment.ledger(event="begin")}) == 10


def test_processes_that_are_spawned(deployment: Deployment) -> None:
    """Fresh interpreters, which import the tasks themselves."""
    deployment.start_worker(
        "prefork",
        1,
        module="tests.worker.waiting_tasks",
        conf={"worker_pool_start_method": "spawn"},
        wait_hold=0.2,
    )
    run = deployment.trigger("program-sync", {"amount": 7})
    (token,) = deployment.wait_for("token", run)
    assert wait.complete_token(token.more["token"], "yes").sync()
    ended = deployment.wait(run, timeout=60)
    assert (ended.status, ended.output["child"]) == ("COMPLETED", {"cost": 21})
    assert deployment.run("fail", {"what": "no", "until": 1}).output == 2
    limited = [
        deployment.trigger(f"limited-{kind}", {"seconds": 60}, max_attempts=1)
        for kind in ("soft", "hard")
    ]
    assert [told(deployment.wait(one, timeout=60)) for one in limited] == [SOFT, HARD]
    result = deployment.app.send_task("plain-add", (1, 2), ignore_result=False)
    assert result.get(timeout=30) == 3
    recorded = OldProject(deployment).status(result.id, "COMPLETED")
    assert (recorded.output, recorded.attempts[0].worker) == (3, "w1@tests")


def test_a_worker_ends_with_its_processes(deployment: Deployment) -> None:
    """Children of a killed worker do not go on for ever."""
    worker = deployment.start_worker("prefork", 2)
    assert deployment.run("echo", 1).output == 1
    children = worker.children()
    worker.kill(whole=False)
    wait_until(lambda: not any(map(_lives, children)), "the pool processes are gone")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
