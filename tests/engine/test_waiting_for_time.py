"""A run waits for a date without holding a slot, and goes on when the date is reached."""

from __future__ import annotations

import pytest

from tests.driving import DAY, HOUR, Engine
from trigger_celery.engine.services.promoter import Promoter
from trigger_celery.errors import TokenNotFoundError


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def test_a_run_that_waits_an_hour_goes_on_after_it_and_not_before(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR)
    assert engine.wait(grant, date) == "parked"
    assert engine.status(grant.id) == "WAITING"
    engine.clock.advance(HOUR - 1_000)
    assert engine.fire() == 0
    assert engine.status(grant.id) == "WAITING"
    engine.clock.advance(1_001)
    assert engine.fire() == 1
    assert engine.status(grant.id) == "EXECUTING"
    assert engine.mail() == [f"resume {grant.id} {date}"]
    assert engine.end(grant) == "ok"


def test_a_run_waits_thirty_days(engine: Engine) -> None:
    grant = engine.begin()
    engine.wait(grant, engine.date(30 * DAY))
    for _ in range(30):
        engine.fire()
        assert engine.status(grant.id) == "WAITING"
        engine.clock.advance(DAY)
    engine.clock.advance(1)
    engine.fire()
    assert engine.end(grant) == "ok"
    assert engine.status(grant.id) == "COMPLETED"


def test_a_wait_that_is_over_already_is_no_wait(engine: Engine) -> None:
    grant = engine.begin()
    assert engine.wait(grant, engine.date(0)) == "ready"
    date = engine.date(500)
    engine.clock.advance(501)
    engine.fire()
    assert engine.wait(grant, date) == "ready"
    assert engine.status(grant.id) == "EXECUTING"
    assert engine.mail() == ["timer"]


def test_a_date_in_the_past_is_reached(engine: Engine) -> None:
    assert engine.waitpoint_fields(engine.date(-HOUR))["status"] == "COMPLETED"


def test_one_wait_after_the_other(engine: Engine) -> None:
    grant = engine.begin()
    for _ in range(3):
        assert engine.wait(grant, engine.date(HOUR)) == "parked"
        engine.clock.advance(HOUR + 1)
        engine.fire()
        assert engine.status(grant.id) == "EXECUTING"
    assert engine.end(grant) == "ok"


def test_two_waits_at_once(engine: Engine) -> None:
    grant = engine.begin()
    short, long = engine.date(HOUR), engine.date(2 * HOUR)
    assert engine.wait(grant, short, park=False) == "waiting"
    assert engine.status(grant.id) == "EXECUTING"
    assert engine.wait(grant, long, park=False) == "waiting"
    assert engine.park(grant, short, long).word == "parked"
    assert engine.status(grant.id) == "WAITING"
    engine.clock.advance(HOUR + 1)
    engine.fire()
    assert engine.mail() == [f"resume {grant.id} {short}"]
    assert engine.park(grant, long).word == "parked"
    engine.clock.advance(HOUR)
    engine.fire()
    assert engine.mail() == [f"resume {grant.id} {long}"]
    assert engine.end(grant) == "ok"


def test_while_a_run_executes_it_is_told_what_is_done(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR)
    engine.wait(grant, date, park=False)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    assert engine.mail() == [f"done {grant.id} {date}"]
    assert engine.status(grant.id) == "EXECUTING"


def test_a_run_is_not_parked_when_one_of_its_waits_is_over(engine: Engine) -> None:
    grant = engine.begin()
    short, long = engine.date(HOUR), engine.date(2 * HOUR)
    engine.wait(grant, short, park=False)
    engine.wait(grant, long, park=False)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    answer = engine.park(grant, short, long)
    assert (answer.word, answer.more) == ("ready", (short,))
    assert engine.status(grant.id) == "EXECUTING"


def test_a_run_that_waits_for_nothing_is_not_parked(engine: Engine) -> None:
    assert engine.park(engine.begin()).word == "ready"


def test_a_run_whose_code_gives_its_wait_up_goes_on(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR)
    engine.wait(grant, date)
    assert engine.resume(grant) == "told"
    assert engine.mail() == [f"resume {grant.id} -"]
    assert engine.status(grant.id) == "EXECUTING"
    assert engine.resume(grant) == "ok"
    assert engine.mail() == []
    assert engine.end(grant) == "ok"
    assert engine.waiters(date) == set()


def test_a_run_of_a_pool_of_processes_is_told_in_its_own_mailbox(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR)
    engine.wait(grant, date, post="process-7")
    engine.clock.advance(HOUR + 1)
    engine.fire()
    assert engine.mail() == []
    assert engine.mail("process-7") == [f"resume {grant.id} {date}"]


def test_a_retry_waits_anew(engine: Engine) -> None:
    grant = engine.begin()
    first = engine.date(HOUR)
    engine.wait(grant, first, path="1")
    engine.resume(grant)
    engine.retry(grant, 60_000)
    assert engine.waits_of(grant.id) == engine.waiters(first) == set()
    assert engine.record(grant).calls == {}
    engine.clock.advance(60_001)
    engine.fire()
    again = engine.take_one()
    assert (again.attempt, again.resumed) == (2, False)
    assert engine.wait(again, engine.date(HOUR), path="1", call="other") == "parked"


def test_the_first_to_end_of_a_run_whose_waits_are_not_over(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR)
    engine.wait(grant, date, park=False)
    assert engine.end(grant) == "ok"
    assert engine.waiters(date) == set()
    assert engine.client.exists(engine.key("waitpoint", date)) == 0  # of no use to anybody else
    engine.clock.advance(HOUR + 1)
    assert engine.fire() == 0


def test_the_start_of_an_attempt_is_not_moved_by_its_waits(engine: Engine) -> None:
    grant = engine.begin()
    started = engine.read(grant.id).started_at
    engine.wait(grant, engine.date(HOUR))
    engine.clock.advance(HOUR + 1)
    engine.fire()
    engine.fail(grant)
    (attempt,) = engine.read(grant.id).attempts
    assert attempt.started_at == started


def test_somebody_else_cannot_wait_for_a_run(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR)
    engine.back(grant)
    heir = engine.take_one()
    assert engine.wait(grant, date) == engine.park(grant, date).word == "stale"
    assert engine.resume(grant) == "stale"
    assert engine.evict(grant) == ["stale"]
    assert engine.step(grant, "s#1", "1") is None
    assert engine.end(heir) == "ok"


def test_what_is_not_there_cannot_be_waited_for(engine: Engine) -> None:
    grant = engine.begin()
    for target in ("waitpoint", "run", "batch"):
        assert engine.wait(grant, f"{target}_{'0' * 26}") == "unknown"
    assert engine.end(grant) == "ok"


def test_a_date_is_no_token(engine: Engine) -> None:
    date = engine.date(HOUR)
    with pytest.raises(TokenNotFoundError):
        engine.complete(date)


def test_dates_due_soon_are_announced_and_the_promoter_sleeps_until_then(engine: Engine) -> None:
    promoter = Promoter(engine.scope, 7 * DAY)
    engine.date(HOUR)
    assert engine.mail() == []
    assert engine.run(promoter.tick()) == 1.0
    engine.date(500)
    assert engine.mail() == ["timer"]
    assert 0.3 < engine.run(promoter.tick()) <= 0.5
