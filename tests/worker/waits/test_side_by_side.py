"""Several waits of one run at once, and waits that its code gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.waits.test_programs import complete, waits
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, queues, runs, wait

pytestmark = pytest.mark.processes


def test_gathers_within_gathers_keep_their_order(shared: Deployment) -> None:
    assert shared.run("nested-gather").output == [["a1", 3, "a2"], ["b1", 3, "b2"], None]


def test_children_in_a_task_group(shared: Deployment) -> None:
    assert shared.run("task-group").output == [0, 1, 2]


def test_a_task_group_that_fails_gives_the_waits_of_the_others_up(shared: Deployment) -> None:
    run = shared.run("group-fails")
    assert (run.status, run.output) == (RunStatus.COMPLETED, "went on")
    assert shared.run("in-one", {}).output == 1


def slots(name: str) -> int:
    return next((state.running for state in queues.list().sync() if state.name == name), 0)


@pytest.mark.parametrize("how", ["wait_for", "timeout", "both", "race"])
def test_a_wait_that_is_given_up(shared: Deployment, gate: Path, how: str) -> None:
    """The run has its slot back before it goes on, and whatever it gave up wakes nothing."""
    run = shared.trigger("give-up", {"how": how, "gate": str(gate)})
    shared.wait_for("begin", run)
    assert shared.status(run) == "EXECUTING"
    assert slots("one") == 1
    complete(shared, run)
    assert shared.status(run) == "EXECUTING"
    gate.touch()
    ended = shared.wait(run)
    assert (ended.status, ended.output, ended.attempt_count) == (RunStatus.COMPLETED, [1, True], 1)


@pytest.mark.usefixtures("side_by_side")
def test_a_run_that_gives_a_wait_up_queues_for_its_slot(shared: Deployment, gate: Path) -> None:
    run = shared.trigger("give-up", {"how": "timeout", "seconds": 0})
    shared.wait_for("token", run)
    waits(shared, run)
    other = shared.trigger("in-one", {"gate": str(gate)})
    shared.wait_for("begin", other)
    wait_until(lambda: shared.status(run) in ("QUEUED", "EXECUTING"), "the wait is given up")
    if shared.status(run) == "QUEUED":
        assert not shared.ledger(run, "begin")
        assert slots("one") == 1
    gate.touch()
    complete(shared, run)
    assert shared.wait(run).status == RunStatus.COMPLETED
    both = [entry for entry in shared.ledger() if entry.run in (run, other)]
    spans = {
        each: [e.at for e in both if e.run == each and e.event in ("begin", "end")]
        for each in (run, other)
    }
    assert spans[run][1] <= spans[other][0] or spans[other][1] <= spans[run][0]


def test_what_was_given_up_is_completed_while_the_run_waits_for_something_else(
    shared: Deployment,
) -> None:
    """It does not take the slot that the awaited run needs."""
    run = shared.trigger("give-up-then-wait", {})
    (given_up,) = shared.wait_for("given up", run)
    child = wait_until(
        lambda: next((e for e in shared.ledger(event="child token") if e.at > given_up.at), None),
        "the child waits",
    )
    waits(shared, run)
    waits(shared, child.run)
    assert wait.complete_token(given_up.more["token"]).sync()
    wait_until(lambda: slots("one") == 0, "nobody holds the slot")
    assert wait.complete_token(child.more["token"]).sync()
    assert shared.wait(run).output == 1


@pytest.mark.parametrize("moment", [0.0, 0.00005, 0.0002])
def test_waits_given_up_at_any_moment(shared: Deployment, moment: float) -> None:
    run = shared.run("brief", moment)
    assert (run.status, run.output, run.attempt_count) == (RunStatus.COMPLETED, "40 given up", 1)


@pytest.mark.parametrize("ending", ["completed", "timed out"])
def test_finally_is_executed_once_when_the_memory_is_kept(shared: Deployment, ending: str) -> None:
    payload = {"timeout": "1h"} if ending == "completed" else {"timeout": 0.05}
    run = shared.trigger("finally", payload)
    if ending == "completed":
        complete(shared, run)
    output = "completed" if ending == "completed" else "WaitpointTimeoutError"
    assert shared.wait(run).output == output
    assert len(shared.ledger(run, "cleaned")) == 1


def test_two_waits_for_the_same_token_at_once(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("twins", token.id)
    shared.wait_for("given up", run)
    waits(shared, run)
    wait.complete_token(token, "yes").sync()
    assert shared.wait(run).output == ["given up", "yes", "yes", "yes"]


@pytest.mark.usefixtures("side_by_side")
def test_a_child_that_was_given_up_may_wait_for_its_parent(shared: Deployment, pool: str) -> None:
    if pool != "asyncio":
        pytest.skip("elsewhere the parent may be replayed, and waits for the child once more")
    token = wait.create_token().sync()
    run = shared.trigger("impatient", token.id)
    shared.wait_for("given up", run)
    waits(shared, run)
    wait.complete_token(token).sync()
    assert shared.wait(run).output == "done"
    (child,) = [one for one in runs.list(task="asks-parent").sync() if one.parent_id == run]
    assert shared.wait(child.id).output == "done"
