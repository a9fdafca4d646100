"""The same program gives the same output on every pool, and waiting holds no slot."""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, queues, runs, wait

pytestmark = pytest.mark.processes

KINDS = ("", "-sync")
OUTPUT = {
    "approval": {"by": "Ada"},
    "child": {"cost": 21},
    "gathered": ["one", [0, 1, 2], 6],
    "mixed": [True, False],
}


def complete(shared: Deployment, run: str, data: object = None, event: str = "token") -> None:
    """Complete the token that a run wrote into the ledger."""
    (entry, *_) = shared.wait_for(event, run)
    assert wait.complete_token(entry.more["token"], data).sync()


def waits(shared: Deployment, run: str) -> None:
    wait_until(lambda: shared.status(run) == "WAITING", f"{run} waits: {shared.status(run)}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_children_a_batch_and_steps_in_one_program(shared: Deployment, kind: str) -> None:
    run = shared.trigger(f"program{kind}", {"amount": 7})
    complete(shared, run, {"by": "Ada"})
    assert shared.wait(run).output == OUTPUT
    assert len(shared.ledger(run, "step price")) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_waits_for_longer_than_the_memory_is_held(
    shared: Deployment, kind: str
) -> None:
    run = shared.trigger(f"program{kind}", {"amount": 7})
    waits(shared, run)
    gone = shared.trigger("echo", 1, delay="1s")
    shared.wait(gone)
    complete(shared, run, {"by": "Ada"})
    assert shared.wait(run).output == OUTPUT
    assert len(shared.ledger(run, "step price")) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_ten_levels_of_parents_and_children_in_a_queue_with_one_slot(
    shared: Deployment, kind: str
) -> None:
    run = shared.run(f"nest{kind}", 10)
    assert (run.status, run.output, run.attempt_count) == (RunStatus.COMPLETED, 10, 1)


def test_parents_that_wait_hold_no_slot(shared: Deployment) -> None:
    ids = [shared.trigger("finally", {}) for _ in range(10)]
    for run in ids:
        waits(shared, run)
    state = {queue.name: queue for queue in queues.list().sync()}["task/finally"]
    assert (state.running, state.queued) == (0, 0)
    assert shared.run("echo", "meanwhile").output == "meanwhile"
    for run in ids:
        complete(shared, run)
    assert shared.wait_all(ids) == {"COMPLETED": 10}


@pytest.mark.usefixtures("side_by_side")
def test_a_run_in_a_queue_with_one_slot_goes_on_when_the_slot_is_free(
    shared: Deployment, gate: Path
) -> None:
    parent = shared.trigger("give-up-then-wait", {})
    complete(shared, parent, event="given up")
    (inner, *_) = shared.wait_for("child token")
    child = inner.run
    waits(shared, child)
    other = shared.trigger("in-one", {"gate": str(gate)})
    shared.wait_for("begin", other)
    assert wait.complete_token(inner.more["token"]).sync()
    wait_until(lambda: shared.status(child) == "QUEUED", "the child queues for the slot")
    gate.touch()
    assert shared.wait(parent).output == 1
    assert shared.status(other) == "COMPLETED"


def test_runs_that_trigger_with_the_same_keys_share_what_they_made(shared: Deployment) -> None:
    labels = {"test": True, "version": "20260821.1", "machine": "micro", "ttl": "1h"}
    name = token_hex()
    ids = [
        shared.trigger("shares", name, idempotency_key=[name, number], **labels)
        for number in range(2)
    ]
    one, two = (shared.wait(run).output for run in ids)
    assert one["mine"][0] != two["mine"][0]
    assert one["mine"][1] is two["mine"][1] is False
    assert one["child"] == two["child"]
    assert one["child"]["output"] == "ours"
    assert one["many"] == two["many"] == [1, 1, 2]
    assert one["same"]
    assert two["same"]
    # Both may be in one quiet time, or the second came later; in the first case the last call counts.
    assert one["put_off"]["output"] in ids
    assert (one["put_off"]["id"] == two["put_off"]["id"]) is (one["put_off"] == two["put_off"])
    assert one["run"] == [f"{name}-0", "global", True]
    assert one["labels"] == ["20260821.1", "micro", "1h"]
    child = runs.retrieve(one["child"]["id"]).sync()
    assert (child.is_test, child.idempotency_key) == (True, f"ours-{name}")
