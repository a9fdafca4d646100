"""When cron patterns fire where clocks change, against tables and against a walk through a year."""

from bisect import bisect_right
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from tests.model import cron_by_hand
from trigger_celery.errors import InvalidCronError
from trigger_celery.model.cron import Cron, parse_cron

YEAR = 2026
ZONES = [
    "America/New_York",
    "Europe/London",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Africa/Cairo",  # goes forward at midnight: a day without 00:00
    "America/Nuuk",  # goes back at midnight: to the day before
    "UTC",
]

GAP = "does not exist"
FOLD = "exists twice"
CASES = [
    # zone, the local day, the pattern, what fires on that day
    ("America/New_York", "2026-03-08", "30 2 * * *", ["03:00-04:00"]),
    ("America/New_York", "2026-03-08", "*/15 2 * * *", ["03:00-04:00"]),
    ("America/New_York", "2026-03-08", "0 2,3 * * *", ["03:00-04:00"]),
    (
        "America/New_York",
        "2026-03-08",
        "0 1-4 * * *",
        ["01:00-05:00", "03:00-04:00", "04:00-04:00"],
    ),
    ("America/New_York", "2026-03-08", "0 9 * * *", ["09:00-04:00"]),
    ("America/New_York", "2026-11-01", "30 1 * * *", ["01:30-04:00"]),
    ("America/New_York", "2026-11-01", "0,30 1 * * *", ["01:00-04:00", "01:30-04:00"]),
    ("America/New_York", "2026-11-01", "0 */12 * * *", ["00:00-04:00", "12:00-05:00"]),
    ("Europe/London", "2026-03-29", "30 1 * * *", ["02:00+01:00"]),
    (
        "Europe/London",
        "2026-03-29",
        "0 */2 * * *",
        [f"{h:02}:00+0{h > 1:d}:00" for h in range(0, 24, 2)],
    ),
    ("Europe/London", "2026-10-25", "15 1 * * *", ["01:15+01:00"]),
    ("Australia/Sydney", "2026-10-04", "0 2 * * *", ["03:00+11:00"]),
    ("Australia/Sydney", "2026-04-05", "59 2 * * *", ["02:59+11:00"]),
    ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", ["02:30+11:00"]),
    ("Australia/Lord_Howe", "2026-10-04", "45 2 * * *", ["02:45+11:00"]),
    ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", ["01:45+11:00"]),
    ("Africa/Cairo", "2026-04-24", "0 0 * * *", ["01:00+03:00"]),
]
HOURLY = [
    ("America/New_York", "2026-03-08", "30 * * * *", ["00:30-05:00", "01:30-05:00", "03:30-04:00"]),
    ("America/New_York", "2026-11-01", "30 * * * *", ["00:30-04:00", "01:30-04:00", "01:30-05:00"]),
    ("Europe/London", "2026-03-29", "0 0-23 * * *", ["00:00+00:00", "02:00+01:00", "03:00+01:00"]),
    ("Europe/London", "2026-10-25", "0 * * * *", ["00:00+01:00", "01:00+01:00", "01:00+00:00"]),
    ("Australia/Sydney", "2026-04-05", "0 1-23,0 * * *", [f"0{h}:00+11:00" for h in range(3)]),
    ("Australia/Sydney", "2026-10-04", "0 * * * *", ["00:00+10:00", "01:00+10:00", "03:00+11:00"]),
    (
        "Australia/Lord_Howe",
        "2026-10-04",
        "0 * * * *",
        ["00:00+10:30", "01:00+10:30", "02:30+11:00"],
    ),
    (
        "Australia/Lord_Howe",
        "2026-04-05",
        "45 * * * *",
        ["00:45+11:00", "01:45+11:00", "01:45+10:30"],
    ),
]


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def on_day(cron: Cron, day: str) -> list[str]:
    """Return what fires on a local day, as time and offset."""
    zone = ZoneInfo(cron.timezone)
    start, end = (
        int(datetime.fromisoformat(day + time).replace(tzinfo=zone).timestamp() * 1000)
        for time in ("T00:00", "T23:59:59")
    )
    found = cron.between(start - 1, end, 2000)
    return [
        datetime.fromtimestamp(at / 1000, zone).isoformat(timespec="minutes")[11:] for at in found
    ]


@pytest.mark.parametrize(("zone", "day", "pattern", "expected"), CASES)
def test_a_time_that_does_not_exist_fires_after_the_gap_and_one_that_exists_twice_once(
    zone: str, day: str, pattern: str, expected: list[str]
) -> None:
    assert on_day(parse_cron(pattern, zone), day) == expected


@pytest.mark.parametrize(("zone", "day", "pattern", "first"), HOURLY)
def test_hourly_patterns_fire_in_every_hour(
    zone: str, day: str, pattern: str, first: list[str]
) -> None:
    assert on_day(parse_cron(pattern, zone), day)[:3] == first


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/London", "Australia/Sydney"])
@pytest.mark.parametrize(("pattern", "step"), [("17 * * * *", 60), ("*/10 * * * *", 10)])
def test_hourly_patterns_keep_their_pace_in_real_time_all_year(
    zone: str, pattern: str, step: int
) -> None:
    cron = parse_cron(pattern, zone)
    for change in cron_by_hand.changes(zone, YEAR):
        found = cron.upcoming((change - 43_200) * 1000, 24 * 60 // step)
        assert {b - a for a, b in pairwise(found)} == {step * 60_000}


def test_a_daily_pattern_keeps_its_local_time_over_the_year() -> None:
    zone = ZoneInfo("America/New_York")
    found = parse_cron("0 9 * * *", zone.key).between(
        instant("2026-01-01T00:00-05:00"), instant("2026-12-31T23:00-05:00"), 400
    )
    assert len(found) == 365
    assert {datetime.fromtimestamp(at / 1000, zone).hour for at in found} == {9}
    assert {b - a for a, b in pairwise(found)} == {hours * 3_600_000 for hours in (23, 24, 25)}


def field(low: int, high: int, *special: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    stepped = st.tuples(st.one_of(st.just("*"), span, number.map(str)), st.integers(1, high - low))
    term = st.one_of(
        number.map(str), span, stepped.map(lambda two: f"{two[0]}/{two[1]}"), *map(st.just, special)
    )
    return st.one_of(st.just("*"), st.lists(term, min_size=1, max_size=3).map(",".join))


def days_of_week() -> st.SearchStrategy[str]:
    return field(0, 7, "MON", "MON-FRI", "5L", "7L", "0#1", "3#5", "SUN")


@st.composite
def patterns(draw: st.DrawFn) -> str:
    hour = st.one_of(st.just("*"), st.just("1-3"), field(0, 23))
    parts = (field(0, 59), hour, field(1, 31, "L"), field(1, 12, "APR", "OCT-NOV"), days_of_week())
    return " ".join(draw(part) for part in parts)


@settings(max_examples=30, deadline=None, phases=set(Phase) - {Phase.explain})  # it traces lines
@given(pattern=patterns(), zone=st.sampled_from(ZONES), data=st.data())
def test_a_simulated_year_fires_as_a_walk_through_its_minutes_does(
    pattern: str, zone: str, data: st.DataObject
) -> None:
    try:
        cron = parse_cron(pattern, zone)
    except InvalidCronError:
        assert not any(cron_by_hand.fires(pattern, "UTC", year) for year in (YEAR, 2028))
        return
    expected = [at * 1000 for at in cron_by_hand.fires(pattern, zone, YEAR)]
    first, last = (at * 1000 for at in (cron_by_hand.clock(zone, YEAR)[i][0] for i in (0, -1)))
    last += cron_by_hand.QUARTER * 1000 - 1
    changes = [at * 1000 for at in cron_by_hand.changes(zone, YEAR)]
    start = data.draw(st.sampled_from([first - 1, *(at - 5_400_000 for at in changes)]))
    rest = expected[bisect_right(expected, start) :]
    assert cron.between(start, last, 1000) == rest[:1000]
    near = st.sampled_from([first, *changes]).flatmap(
        lambda at: st.integers(at, at + 3 * 3_600_000)
    )
    for moment in data.draw(st.lists(near, min_size=1, max_size=5)):
        before = expected[: bisect_right(expected, moment)]
        assert cron.latest_until(moment, first - 1) == (before[-1] if before else None)


@given(pattern=patterns(), zone=st.sampled_from(ZONES), ms=st.integers(0, 4_102_444_800_000))
@settings(max_examples=40, deadline=None, phases=set(Phase) - {Phase.explain})
def test_the_latest_occurrence_is_the_one_that_the_next_does_not_follow(
    pattern: str, zone: str, ms: int
) -> None:
    try:
        cron = parse_cron(pattern, zone)
    except InvalidCronError:
        assume(False)
        return
    following = cron.next_after(ms)
    assert following > ms
    assert cron.latest_until(following - 1, ms) is None
    assert cron.latest_until(following, ms) == following
    latest = cron.latest_until(ms, -(10**13))
    assert latest is not None
    assert latest <= ms
    assert cron.next_after(latest) == following
