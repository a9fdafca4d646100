"""Waits and tokens with an idempotency key, and durable calls that are made again."""

from __future__ import annotations

import pytest

from tests.driving import DAY, HOUR, Engine
from trigger_celery.engine.waitpoints import NewWaitpoint, Noted, create_token
from trigger_celery.errors import ReplayMismatchError
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import waitpoint_id


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def new_token(key: str = "", id: str = "") -> NewWaitpoint:
    return NewWaitpoint(id or waitpoint_id(), "TOKEN", Delay(DAY, None), key)


def test_the_same_key_finds_the_same_token(engine: Engine) -> None:
    word, first = engine.waitpoint(new_token("order-1"))
    assert word == "created"
    assert engine.waitpoint(new_token("order-1")) == ("cached", first)
    assert engine.waitpoint(new_token("order-2"))[1] != first


def test_a_token_that_was_completed_is_still_found(engine: Engine) -> None:
    token = engine.token(key="order-1")
    engine.complete(token, '"yes"')
    assert engine.token(key="order-1") == token
    grant = engine.begin()
    assert engine.wait(grant, token) == "ready"


def test_a_wait_with_a_key_is_waited_only_once_across_attempts(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR, key="cool-down")
    engine.wait(grant, date)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    engine.retry(grant, 0)
    assert engine.date(HOUR, key="cool-down") == date
    assert engine.wait(grant, date) == "ready"


def test_a_key_counts_for_its_time(engine: Engine) -> None:
    token = engine.token(key="order-1", key_ttl=60_000)
    name = next(engine.client.scan_iter(match="*:wait_key:*"))
    assert 0 < engine.client.pttl(name) <= 60_000
    engine.client.delete(name)  # its time has passed
    assert engine.token(key="order-1") != token


def test_dates_and_tokens_in_a_run_are_made_once(engine: Engine) -> None:
    grant = engine.begin()
    word, token = engine.waitpoint(new_token(), grant, "1", "create_token")
    assert word == "created"
    assert engine.waitpoint(new_token(), grant, "1", "create_token") == ("again", token)
    engine.wait(grant, token, path="2")
    engine.evict(grant)
    engine.complete(token)
    again = engine.take_one()
    assert engine.waitpoint(new_token(), again, "1", "create_token") == ("again", token)


def test_the_next_attempt_makes_its_own(engine: Engine) -> None:
    grant = engine.begin()
    _, token = engine.waitpoint(new_token(), grant, "1", "create_token")
    engine.retry(grant, 0)
    word, other = engine.waitpoint(new_token(), grant, "1", "create_token")
    assert (word, other != token) == ("created", True)


def test_a_run_finds_by_key_what_another_made_and_keeps_to_it(engine: Engine) -> None:
    token = engine.token(key="order-1")
    grant = engine.begin()
    assert engine.waitpoint(new_token("order-1"), grant) == ("cached", token)
    assert engine.waitpoint(new_token("order-1"), grant) == ("cached", token)  # in a replay too


def test_the_same_id_is_made_once(engine: Engine) -> None:
    new = new_token()
    assert engine.waitpoint(new) == ("created", new.id)
    assert engine.waitpoint(new) == ("again", new.id)
    engine.complete(new.id)
    assert engine.waitpoint(new) == ("again", new.id)
    assert engine.read_token(new.id).status == "COMPLETED"


def test_a_run_that_asks_for_another_thing_at_the_same_place(engine: Engine) -> None:
    grant = engine.begin()
    engine.waitpoint(new_token(), grant, "1", "wait for 1 h")
    flow = create_token(engine.scope, new_token(), DAY, Noted(grant.id, "1", "create_token"))
    with pytest.raises(ReplayMismatchError, match="wait for 1 h"):
        engine.run(flow)


def test_a_token_says_whether_it_was_found_by_its_key(engine: Engine) -> None:
    tokens = [engine.run(create_token(engine.scope, new_token("k"), DAY)) for _ in range(2)]
    assert [token.is_cached for token in tokens] == [False, True]
    assert tokens[0].id == tokens[1].id


def test_the_same_wait_again_is_the_same_wait(engine: Engine) -> None:
    grant, token = engine.begin(), engine.token()
    for _ in range(3):
        assert engine.wait(grant, token, path="1", park=False) == "waiting"
    assert engine.waiters(token) == {grant.id}
    assert len(engine.record(grant).calls) == 1
    for _ in range(3):
        assert engine.wait(grant, token, path="1") == "parked"
    engine.complete(token)
    assert engine.mail() == [f"resume {grant.id} {token}"]
