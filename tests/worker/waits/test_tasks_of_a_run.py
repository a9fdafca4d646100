"""Runs whose own asyncio tasks wait for each other, or work while others of them wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.workers import Deployment
from trigger_celery import RunStatus, wait

pytestmark = pytest.mark.processes


def test_children_behind_a_semaphore_in_the_queue_of_their_parent(shared: Deployment) -> None:
    assert shared.run("semaphore", 5).output == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("side_by_side")
def test_a_run_that_works_beside_a_wait_keeps_its_slot(shared: Deployment, gate: Path) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("busy-beside-a-wait", {"token": token.id, "gate": str(gate)})
    shared.wait_for("at work", run)
    other = shared.trigger("in-one-child", 1)
    wait.complete_token(token, "yes").sync()
    assert shared.status(run) == "EXECUTING"
    assert shared.status(other) == "QUEUED"
    gate.touch()
    assert shared.wait(run).output == "yes"
    assert shared.wait(other).output == 1


def test_an_attempt_that_fails_beside_an_open_wait_ends(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.run("fails-beside-a-wait", token.id)
    assert (run.status, run.output, run.attempt_count) == (RunStatus.COMPLETED, "went on", 2)
