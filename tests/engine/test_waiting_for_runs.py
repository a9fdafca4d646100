"""A run waits for another run, usually its child, however that one ends."""

from __future__ import annotations

import pytest

from tests.driving import ERROR, HOUR, Engine
from trigger_celery.engine.attempts import Ending
from trigger_celery.model.packet import JSON


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register(tasks={"t": 2, "child": 1})


def test_a_parent_waits_for_its_child(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"), "1", "child")
    assert engine.wait(parent, child, path="1", call="child") == "parked"
    grant = engine.take_one()
    assert (grant.id, grant.parent_id, grant.root_id, grant.depth) == (
        child, parent.id, parent.id, 1,
    )  # fmt: skip
    assert engine.end(grant, data='"label"') == "ok"
    assert engine.status(parent.id) == "EXECUTING"
    assert engine.mail() == [f"resume {parent.id} {child}"]
    assert engine.read(child).output == "label"
    assert engine.end(parent) == "ok"


@pytest.mark.parametrize("status", ["FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE"])
def test_a_child_that_fails_wakes_its_parent_too(engine: Engine, status: str) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"))
    engine.wait(parent, child)
    engine.fail(engine.take_one(), status)
    assert engine.mail() == [f"resume {parent.id} {child}"]


def test_a_child_that_is_cancelled_wakes_its_parent_too(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"))
    engine.wait(parent, child)
    engine.cancel(child)
    assert engine.mail() == [f"resume {parent.id} {child}"]


def test_a_child_whose_worker_is_lost_in_its_last_attempt_wakes_its_parent(engine: Engine) -> None:
    engine.register("w2", {"t": 2, "child": 1})
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"))
    engine.wait(parent, child)
    engine.take_one("w2")
    engine.let_lapse("w1")
    assert engine.status(child) == "CRASHED"
    assert f"resume {parent.id} {child}" in engine.mail()


def test_a_child_that_is_tried_again_does_not_wake_its_parent(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"))
    engine.wait(parent, child)
    grant = engine.take_one()
    engine.retry(grant, 0)
    assert engine.status(parent.id) == "WAITING"
    engine.end(grant)
    assert engine.status(parent.id) == "EXECUTING"


def test_a_child_that_ended_before_its_parent_asked(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"))
    engine.end(engine.take_one())
    assert engine.wait(parent, child) == "ready"
    assert engine.status(parent.id) == "EXECUTING"


def test_a_delayed_child_is_waited_for(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child", delay=HOUR))
    engine.wait(parent, child)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    engine.end(engine.take_one())
    assert engine.status(parent.id) == "EXECUTING"


def test_a_parent_waits_for_several_children_at_once(engine: Engine) -> None:
    parent = engine.begin()
    children = [engine.child(parent, engine.new_run("child")) for _ in range(3)]
    for child in children:
        assert engine.wait(parent, child, park=False) == "waiting"
    engine.park(parent, *children)
    first, *others = engine.take()
    engine.end(first)
    assert engine.mail() == [f"resume {parent.id} {first.id}"]
    for grant in others:
        engine.end(grant)
    assert engine.mail() == [f"done {parent.id} {grant.id}" for grant in others]


def test_a_child_is_executed_by_the_worker_that_its_parent_frees(engine: Engine) -> None:
    engine.register(tasks={"t": 2, "child": 1}, limit=1)
    grant = engine.begin()
    chain = [grant]
    for _ in range(4):
        child = engine.child(chain[-1], engine.new_run("child"))
        assert engine.wait(chain[-1], child) == "parked"
        chain.append(engine.take_one())
    for grant in reversed(chain):
        assert engine.end(grant) == "ok"
    assert {engine.status(grant.id) for grant in chain} == {"COMPLETED"}
    assert chain[-1].depth == 4
    assert chain[-1].root_id == chain[0].id


def test_several_runs_wait_for_the_same_run(engine: Engine) -> None:
    waited = engine.begin()
    others = [engine.begin() for _ in range(3)]
    for grant in others:
        assert engine.wait(grant, waited.id) == "parked"
    engine.end(waited)
    assert set(engine.mail()) == {f"resume {grant.id} {waited.id}" for grant in others}


def test_the_end_of_a_child_and_the_next_run_in_one_call(engine: Engine) -> None:
    engine.register(tasks={"t": 2, "child": 1}, limit=1)
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"))
    engine.wait(parent, child)
    grant = engine.take_one()
    engine.create()
    ending = Ending(grant.id, grant.epoch, "done", JSON, "1")
    exchange = engine.dequeue("w1", 5, [ending])
    assert (exchange.answers, exchange.runs) == (["ok"], [])
    assert engine.status(parent.id) == "EXECUTING"


def test_a_parent_that_fails_leaves_its_child_alone(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run("child"))
    engine.wait(parent, child, park=False)
    engine.fail(parent)
    assert engine.fire() == 0
    grant = engine.take_one()
    assert engine.end(grant, "failed", "FAILED", ERROR) == "ok"
    assert engine.status(child) == "FAILED"
