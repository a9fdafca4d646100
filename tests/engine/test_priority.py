"""Within a lane runs start by priority, then in the order in which they were queued."""

from __future__ import annotations

import pytest

from tests.driving import Engine


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def order(engine: Engine, want: int = 100) -> list[str]:
    return [grant.id for grant in engine.take(want=want)]


def test_first_in_first_out(engine: Engine) -> None:
    runs = []
    for _ in range(20):
        runs.append(engine.create())
        engine.clock.advance(1)
    assert order(engine) == runs


def test_runs_of_one_batch_start_in_the_order_of_the_batch(engine: Engine) -> None:
    runs = engine.create_many(300)
    assert order(engine, 300) == runs


def test_order_holds_when_they_are_taken_one_by_one(engine: Engine) -> None:
    runs = engine.create_many(25)
    assert [engine.take_one().id for _ in runs] == runs


def test_a_priority_of_10_seconds_overtakes_what_was_queued_9_seconds_ago(engine: Engine) -> None:
    first = engine.create()
    engine.clock.advance(2_000)
    second = engine.create()
    engine.clock.advance(9_000)
    urgent = engine.create(priority=10_000)
    assert order(engine) == [first, urgent, second]


def test_a_negative_priority_lets_others_pass(engine: Engine) -> None:
    patient = engine.create(priority=-5_000)
    engine.clock.advance(4_000)
    other = engine.create()
    engine.clock.advance(2_000)
    late = engine.create()
    assert order(engine) == [other, patient, late]


def test_priority_counts_from_the_due_time_of_a_delayed_run(engine: Engine) -> None:
    delayed = engine.create(delay=10_000, priority=5_000)
    engine.clock.advance(6_000)
    before = engine.create()
    engine.clock.advance(4_001)
    engine.fire()
    assert order(engine) == [delayed, before]


def test_a_run_that_is_given_back_keeps_its_place(engine: Engine) -> None:
    first = engine.create()
    engine.clock.advance(10)
    second = engine.create()
    grant = engine.take_one()
    assert engine.back(grant) == "ok"
    assert order(engine) == [first, second]


def test_the_priority_is_told_to_the_worker_and_shown(engine: Engine) -> None:
    run = engine.create(priority=2_500)
    assert engine.take_one().priority_ms == 2_500
    assert engine.read(run).priority == 2.5
