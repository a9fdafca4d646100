"""A run whose process is gone goes on elsewhere from its record, as the same attempt."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.waiting import wait_until
from tests.worker.waits.test_programs import OUTPUT, waits
from tests.worker.workers import POOLS, Deployment
from trigger_celery import RunStatus, runs, wait

pytestmark = pytest.mark.processes

Start = Callable[..., Any]
KINDS = ("", "-sync")


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def replace(worker: Any, start: Start, how: str, pool: str) -> Any:
    """End a worker whose runs wait, and start another."""
    if how == "kill":
        worker.kill()
    else:
        worker.signal(signal.SIGTERM)
        worker.wait()
    return start(pool)


@pytest.mark.parametrize("how", ["kill", "shutdown"])
def test_runs_go_on_in_another_worker(
    deployment: Deployment, start: Start, pool: str, how: str
) -> None:
    """Programs, hooks, log lines, dates: nothing is done or said twice, and no attempt is lost."""
    worker = start(pool)
    token = wait.create_token().sync()
    date = datetime.now(UTC) + timedelta(seconds=1.5)
    programs = [deployment.trigger(f"program{kind}", {"amount": 7}) for kind in KINDS]
    tokens = [deployment.wait_for("token", run)[0].more["token"] for run in programs]
    talking = deployment.trigger("talking", token.id)
    dated = deployment.trigger("dated", {"date": date.isoformat(), "token": token.id})
    careful = deployment.trigger("catches-all", token.id)
    hooked = deployment.trigger("hooked", token.id)
    wait_until(lambda: len(deployment.ledger(hooked, "on_wait")) == 2, "it waits for the token")
    deployment.wait_for("date", dated)
    ids = [*programs, talking, dated, careful, hooked]
    for run in ids:
        waits(deployment, run)
    second = replace(worker, start, how, pool)
    for one in (*tokens, token.id):
        assert wait.complete_token(one, {"by": "Ada"}).sync()
    statuses = deployment.wait_all(ids)
    assert statuses == {"COMPLETED": 6}, [deployment.get(run).error for run in ids]
    for run in programs:
        assert deployment.get(run).output == OUTPUT
        assert len(deployment.ledger(run, "step price")) == 2
    for run in ids:
        assert deployment.get(run).attempt_count == 1
    assert not deployment.ledger(careful, "caught")
    children = [run.parent_id for run in runs.list(task="echo", limit=100).sync()]
    assert children.count(talking) == 1
    assert worker.log.count("said before the wait") == 1
    assert second.log.count("said before the wait") == 0
    wait_until(lambda: second.log.count("said after the wait") == 1, "the log is written")


def test_a_task_that_changed_while_a_run_waited(
    deployment: Deployment, start: Start, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    """The run fails, without a retry, with what it asked for before and now."""
    worker = start(pool)
    token = wait.create_token().sync()
    ids = [deployment.trigger(f"changing{kind}", token.id) for kind in KINDS]
    for run in ids:
        waits(deployment, run)
    monkeypatch.setenv("TEST_CHANGED", "1")
    replace(worker, start, "kill", pool)
    wait.complete_token(token).sync()
    for run in ids:
        ended = deployment.wait(run)
        assert (ended.status, ended.attempt_count) == (RunStatus.FAILED, 1)
        assert ended.error is not None
        assert ended.error.name == "ReplayMismatchError"
        assert f"before: wait.for_token {token.id}" in ended.error.message
        assert "now:    trigger_and_wait echo" in ended.error.message
        assert len(deployment.ledger(run, "step price")) == 1


def test_the_result_of_a_child_whose_worker_died(
    deployment: Deployment, start: Start, pool: str
) -> None:
    start(pool)
    parent = deployment.trigger("judge", {"task": "killer"})
    waits(deployment, parent)
    victim = start(arguments=("-Q", "special"), wait=False)
    result = deployment.wait(parent, timeout=30).output
    assert not victim.is_running
    assert result["ok"] is False
    assert result["error"]["code"] == "TASK_RUN_WORKER_LOST"
