"""The options of `retry.fetch`: statuses, strategies, bodies, and the moments that servers name."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.duration import Delay
from trigger_celery.model.fetch_retry import (
    Backoff,
    Headers,
    openai_duration_ms,
    parse_fetch_retry,
    parse_statuses,
    reset_of,
)
from trigger_celery.model.retry import Retry


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("429", {429}, {428, 430}),
        ("500-503", {500, 502, 503}, {499, 504}),
        ("5xx", {500, 599}, {499}),
        ("5XX", {500, 599}, {499}),
        ("40x", {400, 409}, {399, 410}),
        ("429, 408,5xx", {429, 408, 504}, {409}),
        ("all", {400, 599}, {200, 399}),
        ("2xx", {200}, {300}),
    ],
)
def test_statuses(text: str, inside: set[int], outside: set[int]) -> None:
    found = parse_statuses(text)
    assert inside <= found
    assert not outside & found


@pytest.mark.parametrize(
    "text", ["", "4", "600", "5x", "x00", "599-500", "429;500", "every", "099"]
)
def test_what_is_no_status(text: str) -> None:
    with pytest.raises(InvalidOptionError, match="is no status"):
        parse_statuses(text)


def test_defaults() -> None:
    rules = parse_fetch_retry(None)
    assert [rules.strategy(status, str) for status in (200, 404)] == [None, None]
    for status in (408, 409, 429, 500, 503):
        assert rules.strategy(status, str) == Backoff(Retry())
    assert (rules.connection_error, rules.timeout) == (Retry(), Retry())


def test_what_is_left_out_keeps_its_default_and_none_is_never() -> None:
    rules = parse_fetch_retry({"timeout": None, "connection_error": {"max_attempts": 5}})
    assert (rules.timeout, rules.connection_error) == (None, Retry(max_attempts=5))
    assert rules.strategy(429, str) is not None
    assert parse_fetch_retry({"by_status": None}).strategy(500, str) is None


def test_the_first_key_that_fits_counts() -> None:
    own = {"strategy": "backoff", "max_attempts": 7}
    rules = parse_fetch_retry({"by_status": {"429": own, "4xx": {}}})
    assert rules.strategy(429, str) == Backoff(Retry(max_attempts=7))
    assert rules.strategy(404, str) == Backoff(Retry())


@pytest.mark.parametrize(
    ("wanted", "body", "fits"),
    [
        ({"error": {"type": "limit"}}, '{"error": {"type": "limit", "n": 1}}', True),
        ({"error": {"type": ["limit", "busy"]}}, '{"error": {"type": "busy"}}', True),
        ({"error": {"type": "limit"}}, '{"error": "limit"}', False),
        ({"error": {"type": "limit"}}, "no json", False),
        (lambda body: body["n"] > 1, '{"n": 2}', True),
        (lambda body: body["n"] > 1, '{"n": 1}', False),
    ],
)
def test_bodies_decide(wanted: Any, body: str, fits: bool) -> None:
    rules = parse_fetch_retry({"by_status": {"all": {"body_filter": wanted}}})
    assert (rules.strategy(400, lambda: body) is not None) is fits


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "expects a dict"),
        ({"byStatus": {}}, "'by_status'?"),
        ({"by_status": {"429": {"strategy": "wait"}}}, "neither 'backoff' nor 'headers'"),
        ({"by_status": {"429": {"max_attemps": 3}}}, "'max_attempts'?"),
        ({"by_status": {"429": {"max_attempts": 0}}}, "max_attempts=0"),
        ({"by_status": {"429": {"strategy": "headers"}}}, "needs reset_header"),
        ({"by_status": {"429": "backoff"}}, "expects a dict"),
        ({"by_status": {"429": {"body_filter": "limit"}}}, "body_filter"),
        ({"timeout": {"factor": 0}}, "factor=0"),
        (
            {
                "by_status": {
                    "4xx": {"strategy": "headers", "reset_header": "r", "reset_format": "iso"}
                }
            },
            "reset_format='iso'",
        ),
    ],
)
def test_bad_options_are_refused(options: Any, says: str) -> None:
    with pytest.raises(InvalidOptionError) as refused:
        parse_fetch_retry(options)
    assert says in str(refused.value)


AT = datetime(2100, 1, 1, tzinfo=UTC)
AT_MS = round(AT.timestamp() * 1000)
SOON = round(datetime.now(UTC).timestamp()) + 60


@pytest.mark.parametrize(
    ("reset_format", "text", "due"),
    [
        pytest.param("unix_timestamp", str(SOON), Delay(None, SOON * 1000), id="seconds"),
        pytest.param("unix_timestamp", f"{SOON}.5", Delay(None, SOON * 1000 + 500), id="a half"),
        pytest.param("unix_timestamp_in_ms", str(SOON * 1000), Delay(None, SOON * 1000), id="ms"),
        ("unix_timestamp", "1", Delay(None, 1000)),
        ("iso_8601", "2001-01-01T00:00:00Z", Delay(None, 978307200000)),
        ("iso_8601", "2001-01-01T00:00:00", Delay(None, 978307200000)),
        ("iso_8601_duration_openai_variant", "1m20s", Delay(80_000, None)),
        ("retry_after", "120", Delay(120_000, None)),
        ("retry_after", "Mon, 01 Jan 2001 00:00:00 GMT", Delay(None, 978307200000)),
        ("unix_timestamp", "soon", None),
        ("unix_timestamp", "inf", None),
        ("unix_timestamp", "nan", None),
        ("unix_timestamp", "-1", None),
        ("unix_timestamp_in_ms", str(AT_MS), None),
        ("iso_8601", "1m", None),
        ("retry_after", "later", None),
        ("iso_8601_duration_openai_variant", "", None),
    ],
)
def test_moments_of_headers(reset_format: str, text: str, due: Delay | None) -> None:
    """What is no moment, or more than ten years ahead, is none."""
    strategy = Headers("x-reset", reset_format)
    assert reset_of(strategy, {"x-reset": text}.get) == due
    assert reset_of(strategy, {}.get) is None


UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


@given(st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 999), min_size=1))
def test_openai_durations_are_read(amounts: dict[str, int]) -> None:
    text = "".join(f"{amounts[unit]}{unit}" for unit in UNITS if unit in amounts)
    assert openai_duration_ms(text) == sum(amounts[unit] * UNITS[unit] for unit in amounts)


@given(st.integers(0, 59), st.integers(0, 999))
def test_openai_durations_may_have_fractions(minutes: int, hundredths: int) -> None:
    text = f"{minutes}m{hundredths / 100}s"
    assert openai_duration_ms(text) == minutes * 60_000 + hundredths * 10


@given(st.text(alphabet="0123456789.dhms -", max_size=12))
def test_other_texts_are_refused_or_read(text: str) -> None:
    """Whatever a server sends, it is a number of milliseconds or a ValueError."""
    with contextlib.suppress(ValueError):
        assert openai_duration_ms(text) >= 0
