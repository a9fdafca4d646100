import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import InvalidDurationError
from trigger_celery.model.duration import (
    MAX_MS,
    Delay,
    format_duration,
    parse_delay,
    parse_duration,
)


@pytest.fixture
def local_time_of_kolkata():
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Kolkata"
    time.tzset()
    yield
    del os.environ["TZ"]
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("0s", 0),
        ("1s", 1000),
        ("10m", 600_000),
        ("2h30m", 9_000_000),
        ("1hr", 3_600_000),
        ("1hr5s", 3_605_000),
        ("30m2h", 9_000_000),
        ("1w2d3h4m5s", 788_645_000),
        ("007s", 7000),
        (90, 90_000),
        (0.25, 250),
        (0, 0),
        (timedelta(hours=1, milliseconds=1), 3_600_001),
        (timedelta(microseconds=1), 0),
        ("520w", 520 * 604_800_000),
    ],
)
def test_durations_in_their_forms(value, ms):
    assert parse_duration(value) == ms


@pytest.mark.parametrize(
    "value",
    [
        "",
        "5",
        "1.5h",
        "1 h",
        "-1s",
        "+1s",
        "500ms",
        "1y",
        "1H",
        "1h ",
        " 1h",
        "1h\n",
        "h",
        "٣s",
        "1m" * 51,
        "522w",
        "9" * 99 + "s",
        -1,
        -0.001,
        float("nan"),
        float("inf"),
        1e308,
        10**400,
        True,
        None,
        [],
        timedelta(seconds=-1),
        timedelta.max,
        timedelta.min,
        MAX_MS // 1000 + 1,
    ],
)
def test_what_is_no_duration_is_refused_with_the_name_of_the_option(value):
    with pytest.raises(InvalidDurationError, match=r"^ttl=.*for example"):
        parse_duration(value, name="ttl")


@pytest.mark.parametrize("value", ["1h2h", "1h2hr", "1s1m1s"])
def test_a_unit_given_twice_is_refused(value):
    with pytest.raises(InvalidDurationError, match="twice"):
        parse_duration(value)


@given(st.integers(0, MAX_MS // 1000))
def test_what_is_formatted_is_read_back(seconds):
    assert parse_duration(format_duration(seconds * 1000)) == seconds * 1000


@given(
    st.dictionaries(
        st.sampled_from("wdhms"), st.integers(0, 400).filter(lambda n: n < 400), min_size=1
    ),
    st.randoms(),
)
def test_the_order_of_the_groups_does_not_matter(groups, random):
    parts = [f"{amount}{unit}" for unit, amount in groups.items()]
    shuffled = random.sample(parts, len(parts))
    assert parse_duration("".join(parts)) == parse_duration("".join(shuffled))


@given(st.text(max_size=20))
def test_any_text_gives_a_duration_or_the_definite_error(text):
    with suppress(InvalidDurationError):
        assert 0 <= parse_duration(text) <= MAX_MS


def test_formatting_shows_milliseconds_and_zero():
    assert format_duration(0) == "0s"
    assert format_duration(250) == "250ms"
    assert format_duration(61_250) == "1m1s250ms"
    assert format_duration(788_645_000) == "1w2d3h4m5s"


def test_a_delay_is_a_length_or_a_moment():
    assert parse_delay("1h") == parse_delay(3600) == parse_delay(timedelta(hours=1))
    assert parse_delay("1h") == Delay(3_600_000, None)
    moment = Delay(None, 1_714_564_800_000)
    assert parse_delay(datetime(2024, 5, 1, 12, tzinfo=UTC)) == moment
    assert parse_delay("2024-05-01T12:00:00Z") == moment
    assert parse_delay("2024-05-01T14:00:00+02:00") == moment


@pytest.mark.usefixtures("local_time_of_kolkata")
def test_a_moment_without_a_zone_is_local_time():
    moment = Delay(None, 1_714_545_000_000)
    assert parse_delay(datetime(2024, 5, 1, 12)) == moment  # noqa: DTZ001
    assert parse_delay("2024-05-01T12:00:00") == moment
    assert parse_delay("2024-05-01").at_ms == moment.at_ms - 12 * 3_600_000


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_keep_their_millisecond(at):
    exact = (at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1)
    assert abs(parse_delay(at).at_ms - exact) <= 1


@pytest.mark.parametrize("value", ["tomorrow", "", "2024-13-01", "1h1h", -5, True, None])
def test_what_is_neither_date_nor_duration_is_refused(value):
    with pytest.raises(InvalidDurationError, match=r"^delay="):
        parse_delay(value)


def test_a_date_that_local_time_cannot_express_is_refused():
    class Unreachable(datetime):
        def timestamp(self):
            raise OverflowError

    with pytest.raises(InvalidDurationError, match="local time"):
        parse_delay(Unreachable(1, 1, 1))
