"""A short retry delay is spent in place; from 30 seconds on the run gives its slot back."""

from __future__ import annotations

import pytest

from tests.driving import ERROR, Engine
from trigger_celery.model.ids import token


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register(queues={"q": 1})


def test_a_short_retry_keeps_its_slot_and_its_worker(engine: Engine) -> None:
    run, other = engine.create_many(2, queue="q")
    grant = engine.take_one()
    assert engine.retry(grant, 29_999) == "ok"
    assert engine.status(run) == "EXECUTING"
    assert engine.read(run).attempt_count == 2
    assert engine.take() == []
    assert engine.end(grant) == "ok"
    assert engine.take_one().id == other


def test_a_long_retry_frees_the_slot_and_comes_back_in_time(engine: Engine) -> None:
    run, other = engine.create_many(2, queue="q")
    grant = engine.take_one()
    assert engine.retry(grant, 30_000) == "ok"
    assert engine.status(run) == "QUEUED"
    engine.end(engine.take_one())
    assert engine.status(other) == "COMPLETED"
    engine.clock.advance(29_000)
    assert engine.fire() == 0
    engine.clock.advance(1_001)
    assert engine.fire() == 1
    again = engine.take_one()
    assert (again.id, again.attempt) == (run, 2)
    assert int(again.epoch) > int(grant.epoch)


def test_after_a_long_retry_the_old_worker_may_not_write(engine: Engine) -> None:
    engine.create(queue="q")
    grant = engine.take_one()
    engine.retry(grant, 30_000)
    assert engine.end(grant) == "stale"


def test_a_repeated_retry_is_one_retry(engine: Engine) -> None:
    run = engine.create(queue="q")
    grant = engine.take_one()
    for _ in range(2):
        assert engine.retry(grant, 100, op="same") == "ok"
    assert engine.read(run).attempt_count == 2
    assert len(engine.read(run).attempts) == 1


def test_every_failed_attempt_is_kept_with_its_error(engine: Engine) -> None:
    run = engine.create(queue="q")
    grant = engine.take_one()
    engine.retry(grant, 10)
    engine.retry(grant, 60_000)
    engine.clock.advance(60_001)
    engine.fire()
    engine.fail(engine.take_one())
    found = engine.read(run).attempts
    assert [attempt.number for attempt in found] == [1, 2, 3]
    assert all(a.error is not None and a.error.message == "no" for a in found)
    assert all(a.started_at and a.finished_at for a in found)


def test_at_most_250_attempts_are_kept(engine: Engine) -> None:
    run = engine.create(queue="q")
    grant = engine.take_one()
    for _ in range(251):
        engine.retry(grant, 0)
    assert len(engine.read(run).attempts) == 250


def test_a_run_that_waits_for_a_retry_can_be_cancelled(engine: Engine) -> None:
    run = engine.create(queue="q")
    engine.retry(engine.take_one(), 60_000)
    assert engine.cancel(run) == "CANCELED"
    engine.clock.advance(60_001)
    assert engine.fire() == 0
    assert len(engine.read(run).attempts) == 1


def test_a_cancelled_retry_takes_its_attempts_along_when_it_is_pruned(engine: Engine) -> None:
    run = engine.create(queue="q")
    engine.retry(engine.take_one(), 60_000)
    engine.cancel(run)
    assert engine.client.pttl(engine.key("attempts", run)) > 0


def test_a_process_that_died_costs_an_attempt(engine: Engine) -> None:
    run = engine.create(queue="q")
    grant = engine.take_one()
    assert engine.end(grant, "lost", 0, ERROR) == "ok"
    assert engine.status(run) == "EXECUTING"
    assert engine.read(run).attempt_count == 2


def test_a_process_that_died_in_the_last_attempt_ends_the_run_as_crashed(engine: Engine) -> None:
    run = engine.create(queue="q")
    assert engine.end(engine.take_one(), "lost", "", ERROR) == "crashed"
    assert engine.status(run) == "CRASHED"


def test_the_third_process_that_died_ends_the_run_as_crashed(engine: Engine) -> None:
    run = engine.create(queue="q")
    grant = engine.take_one()
    for wanted in ("EXECUTING", "EXECUTING", "CRASHED"):
        answer = engine.end(grant, "lost", 0, ERROR)
        assert answer == ("crashed" if wanted == "CRASHED" else "ok")  # no attempt follows in place
        assert engine.status(run) == wanted
    assert engine.client.zcard(engine.key("queue_slots", token("q"))) == 0


def test_a_worker_that_leaves_during_a_short_delay_costs_no_attempt(engine: Engine) -> None:
    engine.register("w1", {"t": 2})
    engine.register("w2", {"t": 2})
    run = engine.create()
    grant = engine.take_one("w1")
    engine.retry(grant, 29_000)
    assert engine.close("w1") == 1
    assert engine.status(run) == "QUEUED"
    assert engine.take("w2") == []
    engine.clock.advance(29_001)
    engine.fire()
    again = engine.take_one("w2")
    assert again.attempt == 2
    assert [attempt.number for attempt in engine.read(run).attempts] == [1]
    assert engine.end(grant) == "stale"
    assert engine.end(again) == "ok"
