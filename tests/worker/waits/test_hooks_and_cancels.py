"""Hooks around waits, and cancels in every state."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.waits.test_programs import waits
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, runs, wait

pytestmark = pytest.mark.processes

KINDS = ("", "-sync")


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_are_told_of_waits(shared: Deployment, pool: str, kind: str) -> None:
    """Not of a short one; each wait and its end once, while the process keeps the run."""
    token = wait.create_token().sync()
    run = shared.trigger(f"hooked{kind}", token.id)
    wait_until(lambda: len(shared.ledger(run, "on_wait")) == 2, "it waits for the token")
    waits(shared, run)
    wait.complete_token(token).sync()
    assert shared.wait(run).output == "done"
    entries = [entry for entry in shared.ledger(run) if entry.event.startswith("on_")]
    told = [(entry.event, entry.more["type"]) for entry in entries]
    if {entry.epoch for entry in entries} == {shared.epoch(run)}:
        assert told == [
            (event, type) for type in ("task", "token") for event in ("on_wait", "on_resume")
        ]
    else:  # it gave the run up for a while: solo for the child, others when the machine is busy
        waits_told = [one for one in told if one[0] == "on_wait"]
        assert waits_told == [("on_wait", "task"), ("on_wait", "token")]
    given = shared.ledger(run, "on_wait")[0].more
    assert (given["task"], given["payload"], given["ctx"]) == (f"hooked{kind}", token.id, run)


def test_a_hook_that_fails_is_logged_and_the_run_waits_all_the_same(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("failing-hook", token.id)
    waits(shared, run)
    wait.complete_token(token).sync()
    assert shared.wait(run).output["ok"] is True
    assert "the hook fails" in shared.workers[0].log
    assert shared.run("in-one", {}).output == 1


def cancel(shared: Deployment, run: str, reason: str = "Canceled by user") -> None:
    assert runs.cancel(run, reason=reason).sync().status == RunStatus.CANCELED
    ended = shared.get(run)
    assert ended.error is not None
    assert ended.error.message == reason


def stays_cancelled(shared: Deployment, run: str) -> None:
    assert shared.run("echo", 1).output == 1
    assert shared.status(run) == "CANCELED"


@pytest.mark.usefixtures("side_by_side")
def test_cancelling_a_run_that_is_queued(shared: Deployment, gate: Path) -> None:
    first = shared.trigger("in-one", {"gate": str(gate)})
    shared.wait_for("begin", first)
    run = shared.trigger("in-one", {})
    cancel(shared, run)
    gate.touch()
    assert shared.wait(first).output == 1
    assert not shared.ledger(run)


def test_cancelling_a_run_that_executes_stops_its_code(shared: Deployment) -> None:
    run = shared.trigger("cancel-me", {"seconds": 60})
    shared.wait_for("begin", run)
    cancel(shared, run, "ordered twice")
    shared.wait_for("finally", run)
    (hook,) = shared.wait_for("on_cancel", run)
    assert hook.more["aborted"]
    stays_cancelled(shared, run)


@pytest.mark.parametrize("kind", ["", "-failing-hook", "-sync"])
def test_a_task_that_takes_the_signal_ends_in_its_own_way(shared: Deployment, kind: str) -> None:
    run = shared.trigger(f"cancel-signal{kind}")
    shared.wait_for("begin", run)
    cancel(shared, run)
    (told,) = shared.wait_for("aborted", run)
    assert told.more["reason"] == "run cancelled"
    if kind != "-sync":
        shared.wait_for("end", run)
    stays_cancelled(shared, run)


def test_sync_code_sees_a_cancel_at_its_next_call(
    shared: Deployment, gate: Path, pool: str
) -> None:
    """At once, where it has a process to itself."""
    run = shared.trigger("cancel-sync", {"gate": str(gate)})
    shared.wait_for("begin", run)
    cancel(shared, run)
    gate.touch()
    if pool != "prefork":
        (told,) = shared.wait_for("told", run)
        assert told.more["error"] == "RunCanceledError"
    assert not shared.ledger(run, "not told")
    stays_cancelled(shared, run)


def test_cancelling_a_run_that_waits(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("hooked", token.id)
    wait_until(lambda: len(shared.ledger(run, "on_wait")) == 2, "it waits for the token")
    waits(shared, run)
    cancel(shared, run)
    wait.complete_token(token).sync()
    stays_cancelled(shared, run)
    resumed = [entry.more["type"] for entry in shared.ledger(run, "on_resume")]
    assert "token" not in resumed


def test_a_cancelled_run_that_catches_everything_is_over_all_the_same(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("catches-all", token.id)
    waits(shared, run)
    cancel(shared, run)
    stays_cancelled(shared, run)
    assert not shared.ledger(run, "caught")


@pytest.mark.usefixtures("side_by_side")
def test_descendants_are_cancelled_with_their_ancestor(shared: Deployment, gate: Path) -> None:
    """A child that waits, a grandchild, a batch, and one that nobody waits for."""
    run = shared.trigger("family", {"gate": str(gate)})
    waits(shared, run)

    def family() -> list[str]:
        return [one.id for one in runs.list(period="1m", limit=100).sync() if one.root_id == run]

    wait_until(lambda: len(family()) == 6, "all descendants are there")
    cancel(shared, run)
    ids = family()
    assert shared.wait_all(ids) == {"CANCELED": 6}
    gate.touch()
    stays_cancelled(shared, run)
    assert shared.statuses(ids) == {"CANCELED": 6}
