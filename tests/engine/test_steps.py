"""The result of a step is recorded once, and outlives the attempt."""

from __future__ import annotations

import pytest

from tests.driving import Engine
from trigger_celery.engine.waitpoints import NewWaitpoint
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import waitpoint_id
from trigger_celery.model.packet import Packet


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def test_a_replay_finds_what_its_steps_returned(engine: Engine) -> None:
    grant, target = engine.begin(), engine.token()
    assert engine.step(grant, "charge#1", '"paid"') == '"paid"'
    engine.wait(grant, target)
    engine.evict(grant)
    engine.complete(target)
    again = engine.take_one()
    assert engine.record(again).steps == {"charge#1": Packet('"paid"', "application/json")}


def test_the_first_result_counts(engine: Engine) -> None:
    grant = engine.begin()
    assert engine.step(grant, "charge#1", '"first"') == '"first"'
    assert engine.step(grant, "charge#1", '"second"') == '"first"'
    assert engine.step(grant, "charge#2", '"second"') == '"second"'


def test_steps_outlive_an_attempt_and_the_calls_do_not(engine: Engine) -> None:
    grant = engine.begin()
    engine.step(grant, "charge#1", '"paid"')
    engine.wait(grant, "", path="2", call="trigger")
    engine.retry(grant, 60_000)
    engine.clock.advance(60_001)
    engine.fire()
    record = engine.record(engine.take_one())
    assert (list(record.steps), record.calls) == (["charge#1"], {})


def test_steps_outlive_a_lost_worker(engine: Engine) -> None:
    engine.register("w2")
    grant = engine.begin()
    engine.step(grant, "charge#1", '"paid"')
    engine.let_lapse("w2")
    again = engine.take_one("w2")
    assert again.attempt == 2
    assert list(engine.record(again).steps) == ["charge#1"]


@pytest.mark.parametrize("data", ['""', '"a\x1fb\nc"', "null", '"' + "x" * 100_000 + '"'])
def test_any_result_comes_back_whole(engine: Engine, data: str) -> None:
    grant = engine.begin()
    assert engine.step(grant, "s#1", data) == data
    assert engine.record(grant).steps["s#1"].data == data
    assert engine.step(grant, "s#1", "other") == data


def test_nobody_but_the_owner_records(engine: Engine) -> None:
    grant = engine.begin()
    engine.back(grant)
    heir = engine.take_one()
    assert engine.step(grant, "s#1", "1") is None
    assert engine.step(heir, "s#1", "2") == "2"
    engine.end(heir)
    assert engine.step(heir, "s#2", "3") is None


@pytest.mark.parametrize("end", ["done", "failed", "cancelled"])
def test_a_run_that_has_ended_keeps_no_record(engine: Engine, end: str) -> None:
    grant = engine.begin()
    engine.step(grant, "s#1", "1")
    engine.wait(grant, "", path="1", call="x")
    match end:
        case "done":
            engine.end(grant)
        case "failed":
            engine.fail(grant)
        case _:
            engine.cancel(grant.id)
    record = engine.record(grant)
    assert (record.calls, record.steps) == ({}, {})


def test_a_replay_that_asks_for_something_else_is_told_what_was_before(engine: Engine) -> None:
    grant, target = engine.begin(), engine.token()
    assert engine.wait(grant, "", path="1", call="trigger a") == "ready"
    engine.wait(grant, target, path="2", call="for_token")
    engine.evict(grant)
    engine.complete(target)
    again = engine.take_one()
    answer = engine.ask_to_wait(again, "", path="1", call="trigger b")
    assert (answer.word, answer.more) == ("mismatch", ("trigger a",))
    assert engine.wait(again, "", path="1", call="trigger a") == "ready"


def test_a_run_that_makes_too_many_calls_is_told_so(engine: Engine) -> None:
    grant = engine.begin()
    name = engine.key("calls", grant.id)
    engine.client.hset(name, mapping={str(number): "x" for number in range(9_999)})
    engine.client.hset(engine.key("run", grant.id), "waits", "1")
    assert engine.wait(grant, "", path="last", call="x") == "ready"
    assert engine.wait(grant, "", path="one too many", call="x") == "full"
    assert engine.wait(grant, "", path="last", call="x") == "ready"


def test_code_that_goes_on_after_its_run_was_cancelled_leaves_nothing(engine: Engine) -> None:
    grant = engine.begin()
    engine.cancel(grant.id)
    assert engine.wait(grant, engine.token()) == "stale"
    assert engine.step(grant, "s#1", "1") is None
    engine.child(grant, engine.new_run(), "3", "trigger")
    engine.waitpoint(NewWaitpoint(waitpoint_id(), "TOKEN", Delay(1_000, None)), grant, "4")
    assert engine.record(grant).calls == {}
