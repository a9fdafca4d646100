"""Somebody completes a token, or it times out; the first ending wins."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.driving import DAY, HOUR, Engine
from trigger_celery.engine.waitpoints import TokenFilter
from trigger_celery.errors import InvalidOptionError, TokenNotFoundError
from trigger_celery.model.waitpoint import TokenStatus


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def test_a_run_waits_until_somebody_completes_the_token(engine: Engine) -> None:
    grant, token = engine.begin(), engine.token()
    assert engine.wait(grant, token) == "parked"
    assert engine.complete(token, '{"approved": true}')
    assert engine.mail() == [f"resume {grant.id} {token}"]
    assert engine.status(grant.id) == "EXECUTING"
    assert engine.read_token(token).output == {"approved": True}


@pytest.mark.parametrize("length", [0, 1, 60, 61, 62, 63, 100_000])
def test_a_result_of_any_size_comes_back_whole(engine: Engine, length: int) -> None:
    token = engine.token()
    engine.complete(token, '"' + "x" * length + '"')
    assert engine.read_token(token).output == "x" * length


def test_a_result_that_is_text_comes_back_as_text(engine: Engine) -> None:
    token = engine.token()
    engine.complete(token, "plain", "text/plain")
    assert engine.read_token(token).output == "plain"


def test_completing_without_a_result(engine: Engine) -> None:
    token = engine.token()
    assert engine.complete(token, "")
    completed = engine.read_token(token)
    assert (completed.status, completed.output) == ("COMPLETED", None)


def test_a_token_that_nobody_completes_times_out(engine: Engine) -> None:
    grant, token = engine.begin(), engine.token(HOUR)
    engine.wait(grant, token)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    assert engine.read_token(token).status == "TIMED_OUT"
    assert engine.mail() == [f"resume {grant.id} {token}"]


def test_the_first_completion_wins(engine: Engine) -> None:
    token = engine.token()
    assert engine.complete(token, '"first"')
    assert not engine.complete(token, '"second"')
    assert engine.read_token(token).output == "first"


def test_a_completion_after_the_timeout_changes_nothing(engine: Engine) -> None:
    token = engine.token(HOUR)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    assert not engine.complete(token, '"late"')
    late = engine.read_token(token)
    assert (late.status, late.output) == ("TIMED_OUT", None)


def test_a_timeout_after_the_completion_changes_nothing(engine: Engine) -> None:
    token = engine.token(HOUR)
    engine.complete(token, '"early"')
    engine.clock.advance(HOUR + 1)
    assert engine.fire() == 0
    assert engine.read_token(token).status == "COMPLETED"


def test_a_token_completed_before_anybody_waits(engine: Engine) -> None:
    grant, token = engine.begin(), engine.token()
    engine.complete(token)
    assert engine.wait(grant, token) == "ready"


def test_a_timeout_may_be_a_moment_and_one_in_the_past_is_at_once(engine: Engine) -> None:
    token = engine.token(at=engine.clock.now() + HOUR)
    assert engine.read_token(token).status == "WAITING"
    past = engine.token(at=engine.clock.now() - HOUR)
    assert engine.read_token(past).status == "TIMED_OUT"


def test_what_a_token_tells_of_itself(engine: Engine) -> None:
    token = engine.read_token(engine.token(HOUR, "order-1", tags=("a", "b")))
    assert token.created_at is not None
    assert token.timeout_at == token.created_at + timedelta(hours=1)
    assert token.idempotency_key_expires_at == token.created_at + timedelta(days=30)
    assert (token.tags, token.idempotency_key, token.completed_at) == (("a", "b"), "order-1", None)


def test_a_token_that_is_not_there(engine: Engine) -> None:
    nobody = "waitpoint_" + "0" * 26
    with pytest.raises(TokenNotFoundError, match="never created"):
        engine.complete(nobody)
    with pytest.raises(TokenNotFoundError, match="never created"):
        engine.read_token(nobody)


def test_tokens_are_listed_newest_first_page_by_page(engine: Engine) -> None:
    made = []
    for _ in range(7):
        made.append(engine.token())
        engine.clock.advance(10)
    found, cursor = [], None
    for size in (3, 3, 1):
        page, cursor = engine.list_tokens(limit=3, cursor=cursor)
        assert len(page) == size
        found += [token.id for token in page]
    assert found == made[::-1]
    assert cursor is None


def test_tokens_are_listed_by_status_tag_key_and_time(engine: Engine) -> None:
    waiting = engine.token(tags=("a",))
    engine.clock.advance(HOUR)
    done = engine.token(key="k", tags=("a", "b"))
    engine.complete(done)

    def listed(**wanted: object) -> list[str]:
        tokens, _ = engine.list_tokens(TokenFilter(**wanted))  # type: ignore[arg-type]
        return [token.id for token in tokens]

    assert listed() == [done, waiting]
    assert listed(statuses=(TokenStatus.WAITING,)) == [waiting]
    assert listed(statuses=(TokenStatus.COMPLETED, TokenStatus.WAITING)) == [done, waiting]
    assert listed(tags=("b", "c")) == [done]
    assert listed(key="k") == [done]
    assert listed(created_from_ms=engine.clock.now() - 1_000) == [done]
    assert listed(created_to_ms=engine.clock.now() - 1_000) == [waiting]


def test_a_rare_tag_among_many_tokens_is_found(engine: Engine) -> None:
    rare = engine.token(tags=("rare",))
    for _ in range(600):
        engine.clock.advance(1)
        engine.token()
    (found,), cursor = engine.list_tokens(TokenFilter(tags=("rare",)), 1)
    assert found.id == rare
    _, cursor = engine.list_tokens(TokenFilter(tags=("rare",)), 1, cursor)
    assert cursor is None


def test_a_cursor_of_somebodys_own_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidOptionError, match="next_cursor"):
        engine.list_tokens(cursor="second page")


def test_a_token_without_a_worker_times_out_all_the_same(engine: Engine) -> None:
    engine.close()
    token = engine.token(400 * DAY)
    engine.clock.advance(400 * DAY + 1)
    assert engine.fire() == 1
    assert engine.read_token(token).status == "TIMED_OUT"
