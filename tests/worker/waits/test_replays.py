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


TOLD_BEFORE = ["a", "b", "c", "d", "e", "f", ["e", "f"], "in a branch"]
TOLD_AFTER = ["after", "after, in a branch"]
"""What a run of `sends` tells plain tasks."""


class Told:
    """The messages of plain tasks that workers have executed."""

    def __init__(self, deployment: Deployment) -> None:
        self._entries = lambda: [one.more for one in deployment.ledger(event="told")]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self._entries()) >= count, "messages are executed", timeout=30)

    def values(self) -> list[Any]:
        # The order of a chord's results is that of its parts, whoever is done first.
        return [one["value"] for one in self._entries()]

    def ids(self) -> list[str]:
        return [one["task"] for one in self._entries()]


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
    sending = [deployment.trigger(f"sends{kind}", token.id) for kind in KINDS]
    ids = [*programs, talking, dated, careful, hooked, *sending]
    for run in ids:
        waits(deployment, run)
    told = Told(deployment)
    told.wait_for(2 * len(TOLD_BEFORE))
    second = replace(worker, start, how, pool)
    for one in (*tokens, token.id):
        assert wait.complete_token(one, {"by": "Ada"}).sync()
    statuses = deployment.wait_all(ids)
    assert statuses == {"COMPLETED": len(ids)}, [deployment.get(run).error for run in ids]
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
    everything = [*TOLD_BEFORE, *TOLD_AFTER]
    told.wait_for(2 * len(everything))
    assert sorted(map(str, told.values())) == sorted(map(str, 2 * everything))
    outputs = [task_id for run in sending for task_id in deployment.get(run).output]
    assert sorted(told.ids()) == sorted(outputs)


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
