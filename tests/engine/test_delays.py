"""A delayed run starts at its time, and not before."""

from __future__ import annotations

from datetime import timedelta

from tests.driving import RETENTION, Engine
from trigger_celery.engine.services.promoter import Promoter


def test_a_delayed_run_waits_for_its_time(engine: Engine) -> None:
    engine.register()
    run = engine.create(delay=60_000)
    assert engine.status(run) == "DELAYED"
    engine.clock.advance(59_000)
    assert engine.fire() == 0
    assert engine.take() == []
    engine.clock.advance(1_001)
    assert engine.fire() == 1
    assert engine.status(run) == "QUEUED"
    assert engine.take_one().id == run


def test_a_run_may_be_delayed_to_a_moment(engine: Engine) -> None:
    run = engine.create(at=engine.clock.now() + 3_600_000)
    assert engine.status(run) == "DELAYED"
    engine.clock.advance(3_600_001)
    engine.fire()
    assert engine.status(run) == "QUEUED"


def test_a_moment_in_the_past_means_at_once(engine: Engine) -> None:
    run = engine.create(at=engine.clock.now() - 1_000_000)
    assert engine.status(run) == "QUEUED"
    assert engine.read(run).delayed_until is None


def test_no_delay_means_at_once(engine: Engine) -> None:
    assert engine.status(engine.create(delay=0)) == "QUEUED"


def test_delayed_until_and_queued_at_are_told(engine: Engine) -> None:
    run = engine.create(delay=60_000)
    before = engine.read(run)
    assert before.created_at is not None
    assert before.delayed_until == before.created_at + timedelta(minutes=1)
    assert before.queued_at is None
    engine.clock.advance(90_000)
    engine.fire()
    assert engine.read(run).queued_at == before.delayed_until


def test_a_run_queued_late_keeps_the_place_of_its_due_time(engine: Engine) -> None:
    engine.register()
    delayed = engine.create(delay=1_000)
    engine.clock.advance(5_000)
    later = engine.create()
    engine.fire()
    assert [grant.id for grant in engine.take()] == [delayed, later]


def test_runs_due_at_the_same_moment_all_start(engine: Engine) -> None:
    at = engine.clock.now() + 10_000
    runs = engine.create_many(30, at=at)
    engine.clock.advance(10_001)
    assert [engine.fire(7) for _ in range(6)] == [7, 7, 7, 7, 2, 0]
    assert set(engine.statuses(runs)) == {"QUEUED"}


def test_a_delayed_run_can_be_cancelled(engine: Engine) -> None:
    run = engine.create(delay=1_000)
    assert engine.cancel(run) == "CANCELED"
    engine.clock.advance(2_000)
    assert engine.fire() == 0
    assert engine.status(run) == "CANCELED"


def test_the_promoter_sleeps_until_the_next_timer_and_a_second_at_most(engine: Engine) -> None:
    promoter = Promoter(engine.scope, RETENTION)
    assert engine.run(promoter.tick()) == 1.0
    engine.create(delay=500)
    assert 0.4 < engine.run(promoter.tick()) <= 0.5
    engine.clock.advance(500)
    assert engine.run(promoter.tick()) == 1.0
    engine.create(delay=60_000)
    assert engine.run(promoter.tick()) == 1.0


def test_a_full_batch_makes_the_promoter_go_on_at_once(engine: Engine) -> None:
    runs = engine.create_many(250, delay=1_000)
    engine.clock.advance(1_001)
    promoter = Promoter(engine.scope, RETENTION)
    assert engine.run(promoter.tick()) == 0.0
    assert engine.run(promoter.tick()) == 1.0
    assert set(engine.statuses(runs)) == {"QUEUED"}
