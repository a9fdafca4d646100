"""Tokens are made, completed, read and listed by anybody: no run and no worker is needed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.driving import DAY, HOUR, Engine
from trigger_celery import (
    InvalidDurationError,
    InvalidOptionError,
    InvalidTagsError,
    OutputTooLargeError,
    PayloadNotSerializableError,
    Token,
    TokenNotFoundError,
    TokenStatus,
    TriggerCelery,
    wait,
)

pytestmark = pytest.mark.usefixtures("trigger")

UNKNOWN = "waitpoint_" + "0" * 26


def test_a_new_token(engine: Engine) -> None:
    token = wait.create_token(timeout="10m", tags=["a", "b"]).sync()
    assert (token.status, token.is_cached, token.tags) == ("waiting", False, ("a", "b"))
    assert token.created_at is not None
    assert token.timeout_at == token.created_at + timedelta(minutes=10)
    assert (token.output, token.completed_at, token.idempotency_key) == (None, None, None)
    assert token.to_dict()["status"] == "WAITING"


async def test_in_async_code(trigger: TriggerCelery) -> None:
    token = await wait.create_token()
    assert await wait.complete_token(token, {"by": "Ada"})
    assert (await wait.retrieve_token(token)).data == {"by": "Ada"}
    await trigger.store.aclose()


def test_a_token_without_a_timeout_lasts_a_year(engine: Engine) -> None:
    token = wait.create_token().sync()
    assert token.created_at is not None
    assert token.timeout_at == token.created_at + timedelta(days=365)


def test_completing_it_again_changes_nothing(engine: Engine) -> None:
    token = wait.create_token().sync()
    assert wait.complete_token(token, "first").sync() is True
    assert wait.complete_token(token.id, "second").sync() is False
    found = wait.retrieve_token(token).sync()
    assert (found.status, found.output) == (TokenStatus.COMPLETED, "first")
    assert found.completed_at is not None


def test_completing_it_after_its_timeout_changes_nothing(engine: Engine) -> None:
    engine.register()
    token = wait.create_token(timeout=60).sync()
    engine.clock.advance(60_001)
    engine.fire()
    assert wait.complete_token(token, "late").sync() is False
    found = wait.retrieve_token(token).sync()
    assert (found.status, found.output) == ("TIMED_OUT", None)


@pytest.mark.parametrize(
    "data",
    [None, 0, "text", ["a"], {"at": datetime(2024, 5, 1, tzinfo=UTC), "price": Decimal("1.10")},
     "é\x00\U0001f600", "x" * 600_000],
)  # fmt: skip
def test_data_come_back_as_they_were(engine: Engine, data: Any) -> None:
    token = wait.create_token().sync()
    assert wait.complete_token(token, data).sync()
    assert wait.retrieve_token(token).sync().output == data


def test_empty_text_comes_back_as_it_was(engine: Engine) -> None:
    token = wait.create_token().sync()
    wait.complete_token(token, "").sync()
    assert wait.retrieve_token(token).sync().output == ""


@pytest.mark.parametrize("data", ["x" * (10 * 2**20 + 1), ["é" * (5 * 2**20)]])
def test_data_over_10_mb_are_refused(engine: Engine, data: Any) -> None:
    token = wait.create_token().sync()
    with pytest.raises(OutputTooLargeError, match="token's data"):
        wait.complete_token(token, data)
    assert wait.retrieve_token(token).sync().status == "WAITING"


def test_data_that_cannot_be_stored_are_refused(engine: Engine) -> None:
    with pytest.raises(PayloadNotSerializableError, match="token's data"):
        wait.complete_token(UNKNOWN, {"a": object()})


@pytest.mark.parametrize("token", [UNKNOWN, "token_1", "", "run_" + "0" * 26])
def test_a_token_that_is_not_there(engine: Engine, token: str) -> None:
    for call in (wait.retrieve_token, wait.complete_token):
        with pytest.raises(TokenNotFoundError, match="never created"):
            call(token).sync()


@pytest.mark.parametrize("token", [None, 7, {"id": UNKNOWN}])
def test_what_is_no_token(engine: Engine, token: Any) -> None:
    with pytest.raises(InvalidOptionError, match="is not a token"):
        wait.complete_token(token)


# Timeouts


@pytest.mark.parametrize("timeout", ["soon", "", "1x", "-1h", -1, True, [1], "2024-13-01"])
def test_a_timeout_that_does_not_parse(engine: Engine, timeout: Any) -> None:
    with pytest.raises(InvalidDurationError, match="timeout="):
        wait.create_token(timeout=timeout)


@pytest.mark.parametrize("timeout", [3600, "1h", timedelta(hours=1)])
def test_forms_of_a_timeout(engine: Engine, timeout: Any) -> None:
    token = wait.create_token(timeout=timeout).sync()
    assert token.created_at is not None
    assert token.timeout_at == token.created_at + timedelta(hours=1)


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A computer twelve hours ahead of UTC."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("form", ["datetime", "text"])
def test_a_moment_without_a_zone_is_local_time(engine: Engine, far_away: None, form: str) -> None:
    naive = datetime(2999, 7, 1, 12)  # noqa: DTZ001 - that is the point
    token = wait.create_token(timeout=naive if form == "datetime" else naive.isoformat()).sync()
    assert token.timeout_at == datetime(2999, 7, 1, 0, tzinfo=UTC)


def test_a_moment_with_a_zone_is_that_moment(engine: Engine, far_away: None) -> None:
    at = datetime(2999, 7, 1, 12, tzinfo=UTC)
    assert wait.create_token(timeout=at).sync().timeout_at == at


def test_a_moment_in_the_past_times_out_at_once(engine: Engine) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    assert wait.create_token(timeout=past).sync().status == "TIMED_OUT"


# Idempotency


def test_the_same_key_finds_the_same_token(engine: Engine) -> None:
    first = wait.create_token(idempotency_key="order-1").sync()
    again = wait.create_token(idempotency_key="order-1", timeout="1m").sync()
    assert (again.id, again.is_cached, first.is_cached) == (first.id, True, False)
    assert again.timeout_at == first.timeout_at
    assert again.idempotency_key == "order-1"
    assert wait.create_token(idempotency_key="order-2").sync().id != first.id


def test_a_key_counts_until_its_time_is_over(engine: Engine) -> None:
    first = wait.create_token(idempotency_key="k", idempotency_key_ttl="1h").sync()
    assert first.created_at is not None
    assert first.idempotency_key_expires_at == first.created_at + timedelta(hours=1)
    engine.clock.advance(HOUR - 60_000)
    assert wait.create_token(idempotency_key="k").sync().id == first.id
    engine.clock.advance(60_001)
    second = wait.create_token(idempotency_key="k").sync()
    assert (second.id != first.id, second.is_cached) == (True, False)
    engine.clock.advance(29 * DAY)
    assert wait.create_token(idempotency_key="k").sync().id == second.id
    engine.clock.advance(DAY + 1)
    assert wait.create_token(idempotency_key="k").sync().id != second.id


def test_a_completed_token_is_found_by_its_key_too(engine: Engine) -> None:
    first = wait.create_token(idempotency_key="k").sync()
    wait.complete_token(first, 7).sync()
    found = wait.create_token(idempotency_key="k").sync()
    assert (found.id, found.status, found.output) == (first.id, "COMPLETED", 7)


def test_a_key_of_a_wait_is_none_of_a_token(engine: Engine) -> None:
    engine.date(HOUR, "k")
    token = wait.create_token(idempotency_key="k").sync()
    assert token.is_cached is False
    assert wait.complete_token(token).sync()


# Reading and listing


def ids(**filters: Any) -> list[str]:
    return [token.id for token in wait.list_tokens(**filters).sync()]


def test_tokens_are_listed_by_every_filter(engine: Engine) -> None:
    engine.register()
    old = wait.create_token(tags="x", timeout="1h").sync()
    engine.clock.advance(2 * HOUR)
    engine.fire()
    engine.clock.advance(-2 * HOUR + 1_000)
    done = wait.create_token(tags=["x", "y"], idempotency_key="k").sync()
    wait.complete_token(done).sync()
    engine.clock.advance(1_000)
    waiting = wait.create_token().sync()
    everything = [waiting.id, done.id, old.id]
    assert ids() == everything
    assert ids(status="waiting") == [waiting.id]
    assert ids(status=TokenStatus.TIMED_OUT) == [old.id]
    assert ids(status=["COMPLETED", "TIMED_OUT"]) == [done.id, old.id]
    assert ids(tags="x") == [done.id, old.id]
    assert ids(tags=["y", "z"]) == [done.id]
    assert ids(idempotency_key="k") == [done.id]
    assert ids(tags="x", status="COMPLETED") == [done.id]
    assert ids(tags="nobody") == []
    now = datetime.now(UTC)
    assert ids(created_from=now + timedelta(hours=1)) == []
    assert ids(created_from=done.created_at) == [waiting.id, done.id]
    assert ids(created_to=done.created_at) == [done.id, old.id]
    assert (
        ids(created_from=now - timedelta(hours=1), created_to=now + timedelta(hours=1))
        == everything
    )


def test_tokens_are_listed_by_period(engine: Engine) -> None:
    engine.clock.advance(-2 * HOUR)
    old = wait.create_token().sync()
    engine.clock.advance(2 * HOUR)
    new = wait.create_token().sync()
    assert ids(period="3h") == [new.id, old.id]
    assert ids(period=3600) == [new.id]


def test_tokens_are_listed_in_pages(engine: Engine) -> None:
    made = []
    for _ in range(45):
        made.append(wait.create_token(tags="all").sync().id)
        engine.clock.advance(1)
    found: list[Token] = []
    sizes, cursor = [], None
    while True:
        page = wait.list_tokens(tags="all", after=cursor).sync()
        assert wait.list_tokens(tags="all", cursor=cursor).sync() == page
        found += page
        sizes.append(len(page))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [token.id for token in found] == made[::-1]
    assert [size for size in sizes if size] == [20, 20, 5]
    assert len(wait.list_tokens(limit=100).sync()) == 45
    assert len(wait.list_tokens(limit=1).sync()) == 1


def test_a_list_does_not_carry_outputs(engine: Engine) -> None:
    wait.complete_token(wait.create_token().sync(), "x" * 1000).sync()
    assert [token.output for token in wait.list_tokens().sync()] == [None]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"limit": 0}, "1 to 100"),
        ({"limit": 101}, "1 to 100"),
        ({"limit": "10"}, "1 to 100"),
        ({"status": "waitin"}, "Did you mean 'WAITING'"),
        ({"cursor": "second page"}, "next_cursor"),
        ({"idempotency_key": ""}, "idempotency_key"),
    ],
)
def test_filters_that_make_no_sense(engine: Engine, filters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        wait.list_tokens(**filters).sync()


@pytest.mark.parametrize("tags", [[""], ["x" * 129], [f"t{n}" for n in range(11)], [1]])
def test_tags_are_checked_as_those_of_runs(engine: Engine, tags: Any) -> None:
    with pytest.raises(InvalidTagsError):
        wait.create_token(tags=tags)


@pytest.mark.parametrize("bad", [{"idempotency_key": ""}, {"idempotency_key_ttl": 0}])
def test_keys_are_checked(engine: Engine, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError):
        wait.create_token(**bad)


def test_a_list_that_is_not_json_ready_is_a_bug(engine: Engine) -> None:
    token = wait.create_token(timeout="1h", idempotency_key="k").sync()
    shown = token.to_dict()
    assert shown["timeout_at"].endswith("Z")
    assert shown["idempotency_key"] == "k"
