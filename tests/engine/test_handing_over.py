"""A single run is handed to an idle session that takes runs in its mailbox, within every limit."""

from __future__ import annotations

from tests.driving import RETENTION, Engine
from trigger_celery.engine import attempts, sessions
from trigger_celery.engine.sessions import Owned
from trigger_celery.model.ids import op_id, token


def test_an_idle_session_gets_the_run_itself(engine: Engine) -> None:
    engine.register(direct=True)
    assert engine.take() == []
    run = engine.create(payload='{"a": 1}', max_attempts=2)
    [message] = engine.mail()
    grant = attempts.handed(message.encode())
    assert (grant.id, grant.executing, grant.attempt, grant.payload) == (run, True, 1, '{"a": 1}')
    assert engine.status(run) == "EXECUTING"
    assert engine.run(sessions.owned(engine.scope, "w1")) == {run: Owned(grant.epoch, "EXECUTING")}


def test_it_is_not_idle_any_more_until_it_asks_again(engine: Engine) -> None:
    engine.register(direct=True)
    engine.take()
    first, second = engine.create(), engine.create()
    assert len(engine.mail()) == 1
    assert engine.statuses([first, second]) == ["EXECUTING", "QUEUED"]
    assert [grant.id for grant in engine.take()] == [second]


def test_limits_count(engine: Engine) -> None:
    engine.register(direct=True, queues={"task/t": 1}, limit=5)
    engine.take()
    first = engine.create()
    engine.take()
    second = engine.create()
    assert engine.statuses([first, second]) == ["EXECUTING", "QUEUED"]
    assert engine.mail()[1:] == ["work"]


def test_a_full_environment_hands_nothing_over(engine: Engine) -> None:
    engine.register(direct=True, limit=1)
    engine.take()
    first = engine.create()
    engine.take()
    second = engine.create("other")
    assert engine.statuses([first, second]) == ["EXECUTING", "QUEUED"]


def test_what_waits_longest_goes_first(engine: Engine) -> None:
    engine.register(direct=True)
    older = engine.create()
    engine.register("w2", direct=True)
    engine.take("w2", want=0)
    engine.client.zadd(engine.key("idle", token("celery")), {"w2": 1})
    newer = engine.create()
    [message] = engine.mail("w2")
    assert attempts.handed(message.encode()).id == older
    assert engine.status(newer) == "QUEUED"


def test_a_session_that_is_gone_gets_nothing(engine: Engine) -> None:
    engine.register(direct=True)
    engine.take()
    engine.client.zrem(engine.key("workers"), "w1")
    run = engine.create()
    assert engine.status(run) == "QUEUED"


def test_a_run_that_did_not_arrive_goes_back_without_an_attempt_used(engine: Engine) -> None:
    engine.register(direct=True)
    engine.take()
    run = engine.create(max_attempts=1)
    engine.mail()
    [(owned, how)] = engine.run(sessions.owned(engine.scope, "w1")).items()
    ending = attempts.Ending(owned, how.epoch, "back", "", "")
    engine.run(attempts.finish(engine.scope, op_id(), [ending], RETENTION))
    assert (engine.status(run), engine.fields(run)["attempt"]) == ("QUEUED", "0")


def test_a_run_handed_to_a_worker_that_was_gone_already_loses_no_attempt(engine: Engine) -> None:
    engine.register(direct=True)
    engine.take()
    engine.clock.advance(5)  # it was killed; its lease has not lapsed yet
    run = engine.create(max_attempts=1)
    assert engine.status(run) == "EXECUTING"
    engine.register("w2")
    engine.let_lapse("w2")
    again = engine.take_one("w2")
    assert (again.id, again.attempt) == (run, 1)
    assert engine.read(run).attempts == ()


def test_a_run_handed_to_a_worker_that_was_seen_since_loses_its_attempt(engine: Engine) -> None:
    engine.register(direct=True)
    engine.take()
    run = engine.create(max_attempts=1)
    engine.clock.advance(5)
    engine.take()  # it asks for more after what it was handed
    engine.register("w2")
    engine.let_lapse("w2")
    assert engine.status(run) == "CRASHED"


def test_a_run_that_takes_its_workers_down_is_handed_over_three_times_at_most(
    engine: Engine,
) -> None:
    engine.register(direct=True)
    engine.take()
    engine.clock.advance(5)
    run = engine.create(max_attempts=1)
    engine.client.hset(engine.key("run", run), "lost", 2)
    engine.register("w2")
    engine.let_lapse("w2")
    assert engine.status(run) == "CRASHED"
