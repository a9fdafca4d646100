"""Which cron patterns and zones are taken, and what is said about the others."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import InputError, InvalidCronError
from trigger_celery.model.cron import Cron, parse_cron, time_zones

FRIDAY = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1000)
"""Friday, the first of May."""


def days(pattern: str, count: int = 3) -> list[str]:
    return [
        datetime.fromtimestamp(ms / 1000, UTC).strftime("%a %m-%d %H:%M")
        for ms in parse_cron(pattern).upcoming(FRIDAY, count)
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/20 9-10 * * *", ["Fri 05-01 09:00", "Fri 05-01 09:20", "Fri 05-01 09:40"]),
        ("0 0 * * 0", ["Sun 05-03 00:00", "Sun 05-10 00:00", "Sun 05-17 00:00"]),
        ("0 0 * * 7", ["Sun 05-03 00:00", "Sun 05-10 00:00", "Sun 05-17 00:00"]),
        ("0 0 * * 5-7", ["Sat 05-02 00:00", "Sun 05-03 00:00", "Fri 05-08 00:00"]),
        ("0 0 * * mon,WED", ["Mon 05-04 00:00", "Wed 05-06 00:00", "Mon 05-11 00:00"]),
        ("0 0 * * 1L", ["Mon 05-25 00:00", "Mon 06-29 00:00", "Mon 07-27 00:00"]),
        ("0 0 * * 7L", ["Sun 05-31 00:00", "Sun 06-28 00:00", "Sun 07-26 00:00"]),
        ("0 0 * * 5#2", ["Fri 05-08 00:00", "Fri 06-12 00:00", "Fri 07-10 00:00"]),
        ("0 0 * * 7#1", ["Sun 05-03 00:00", "Sun 06-07 00:00", "Sun 07-05 00:00"]),
        ("0 0 L * *", ["Sun 05-31 00:00", "Tue 06-30 00:00", "Fri 07-31 00:00"]),
        ("0 0 LW * *", ["Fri 05-29 00:00", "Tue 06-30 00:00", "Fri 07-31 00:00"]),
        ("0 0 15,L * *", ["Fri 05-15 00:00", "Sun 05-31 00:00", "Mon 06-15 00:00"]),
        ("0 0 29 2 *", ["Tue 02-29 00:00", "Sun 02-29 00:00", "Fri 02-29 00:00"]),
        ("0 0 ? jun-Jul ?", ["Mon 06-01 00:00", "Tue 06-02 00:00", "Wed 06-03 00:00"]),
        ("5-5/10 0 * * *", ["Fri 05-01 00:05", "Sat 05-02 00:05", "Sun 05-03 00:05"]),
        ("05-5/10 0 * * *", ["Fri 05-01 00:05", "Sat 05-02 00:05", "Sun 05-03 00:05"]),
        ("0 0 * * mon-1/2", ["Mon 05-04 00:00", "Mon 05-11 00:00", "Mon 05-18 00:00"]),
        ("50/5 0 * * *", ["Fri 05-01 00:50", "Fri 05-01 00:55", "Sat 05-02 00:50"]),
        (" 0\t0  * * 1 ", ["Mon 05-04 00:00", "Mon 05-11 00:00", "Mon 05-18 00:00"]),
        ("@hourly", ["Fri 05-01 01:00", "Fri 05-01 02:00", "Fri 05-01 03:00"]),
        ("@daily", ["Sat 05-02 00:00", "Sun 05-03 00:00", "Mon 05-04 00:00"]),
        ("@midnight", ["Sat 05-02 00:00", "Sun 05-03 00:00", "Mon 05-04 00:00"]),
        ("@Weekly", ["Sun 05-03 00:00", "Sun 05-10 00:00", "Sun 05-17 00:00"]),
        ("@monthly", ["Mon 06-01 00:00", "Wed 07-01 00:00", "Sat 08-01 00:00"]),
        ("@yearly", ["Fri 01-01 00:00", "Sat 01-01 00:00", "Mon 01-01 00:00"]),
        ("@annually", ["Fri 01-01 00:00", "Sat 01-01 00:00", "Mon 01-01 00:00"]),
    ],
)
def test_patterns_in_their_forms(pattern: str, expected: list[str]) -> None:
    assert days(pattern) == expected


def test_day_of_month_or_day_of_week_is_enough_when_both_are_given() -> None:
    assert days("0 0 13 * 5", 4) == [
        "Fri 05-08 00:00", "Wed 05-13 00:00", "Fri 05-15 00:00", "Fri 05-22 00:00",
    ]  # fmt: skip


def test_a_day_field_that_starts_with_a_star_leaves_it_to_the_other() -> None:
    assert days("0 0 */2 * 1") == ["Mon 05-11 00:00", "Mon 05-25 00:00", "Mon 06-01 00:00"]


FIELDS = [
    ("60 * * * *", "minute field, '60': 60 is out of range, 0 to 59. Allowed: 0-59;"),
    ("* 24 * * *", "hour field, '24': 24 is out of range, 0 to 23. Allowed: 0-23;"),
    (
        "* * 0 * *",
        "day-of-month field, '0': 0 is out of range, 1 to 31. Allowed: 1-31, L (the last",
    ),
    ("* * 1,32 * *", "day-of-month field, '1,32': 32 is out of range"),
    ("* * * 13 *", "month field, '13': 13 is out of range, 1 to 12. Allowed: 1-12 or JAN-DEC;"),
    ("* * * * 8", "day-of-week field, '8': 8 is out of range, 0 to 7. Allowed: 0-7 (0 and 7 are"),
    ("x * * * *", "minute field, 'x': 'X' is not understood here"),
    ("\u0665 * * * *", "minute field, '\u0665': '\u0665' is not understood here"),
    ("0 0 * * FUN", "day-of-week field, 'FUN': 'FUN' is not understood here"),
    ("0 0 * * FUN", "Did you mean 'SUN'?"),
    ("0 0 * JANUARY *", "Did you mean 'JAN'?"),
    ("0 0 * * FRI-MON", "range 'FRI-MON' does not go upwards; Sunday at the end of a range is 7"),
    ("30-10 * * * *", "minute field, '30-10': the range '30-10' does not go upwards"),
    ("1,,2 * * * *", "minute field, '1,,2': a value is missing"),
    ("-5 * * * *", "minute field, '-5': a value is missing"),
    ("*/0 * * * *", "minute field, '*/0': the step 0 is out of range, 1 to 60"),
    ("*/90 * * * *", "minute field, '*/90': the step 90 is out of range, 1 to 60"),
    ("* */25 * * *", "hour field, '*/25': the step 25 is out of range, 1 to 24"),
    ("* */ * * *", "hour field, '*/': the step '' is not a number"),
    ("*/2/3 * * * *", "minute field, '*/2/3': the step '2/3' is not a number"),
    ("? * * * *", "minute field, '?': ? is for the two day fields only"),
    ("0 0 L/2 * *", "day-of-month field, 'L/2': L is one day, and has no steps"),
    ("0 0 15W * *", "day-of-month field, '15W': '15W' is not understood here"),
    ("0 0 L-3 * *", "day-of-month field, 'L-3': 'L' is not understood here"),
    ("0 0 5#2 * *", "day-of-month field, '5#2': '5#2' is not understood here"),
    ("0 0 * L *", "month field, 'L': 'L' is not understood here"),
    ("0 0 * * 5#6", "day-of-week field, '5#6': '5#6' is not understood here"),
    ("0 0 * * 8L", "day-of-week field, '8L': '8L' is not understood here"),
]
WHOLE = [
    ("", "is empty. Write minute, hour, day of month, month and day of week, for example"),
    ("   ", "is empty"),
    (
        "0 0 9 * * *",
        "has 6 fields, not 5: seconds are not allowed. Leave out the first: '0 9 * * *'.",
    ),
    ("0 0 9 * * Montag", "has 6 fields, not 5: seconds are not allowed. Write minute, hour"),
    ("0 0 9 * * * 2027", "has 7 fields, not 5: seconds and years are not allowed"),
    ("* * * *", "has 4 fields, not 5, and which are left out cannot be guessed. Write minute"),
    ("5", "has 1 field, not 5"),
    ("@dayly", "is not a known alias. Did you mean '@daily'? Known are @yearly, @annually,"),
    ("@every 5m", "is not cron: write a step, for example '*/5 * * * *'."),
    ("@reboot", "means the start of a machine, and a schedule has none."),
    ("0 0 30 2 *", "never comes: no month of '2' has a day '30' (day-of-month field)"),
    ("0 0 31 4,6,SEP *", "never comes: no month of '4,6,SEP' has a day '31'"),
    ("0 0 */15 2 5#5", "never comes"),
    ("1," * 200 + "1 * * * *", "is longer than 256 characters"),
]


@pytest.mark.parametrize(("pattern", "said"), FIELDS)
def test_a_wrong_field_is_named_with_what_it_may_say(pattern: str, said: str) -> None:
    with pytest.raises(InvalidCronError) as refused:
        parse_cron(pattern)
    assert said in str(refused.value)
    assert str(refused.value).startswith(f"cron={pattern!r} is wrong in the ")


@pytest.mark.parametrize(("pattern", "said"), WHOLE)
def test_what_is_no_pattern_is_refused_with_the_way_out(pattern: str, said: str) -> None:
    with pytest.raises(InvalidCronError) as refused:
        parse_cron(pattern)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("pattern", [5, None, ["0", "9"], b"0 9 * * *"])
def test_what_is_not_text_is_refused(pattern: object) -> None:
    with pytest.raises(InvalidCronError, match="is not text"):
        parse_cron(pattern)  # type: ignore[arg-type]


@given(st.text(alphabet="0123456789*/-,#LW?@ abcMONJAN", max_size=40))
def test_any_text_is_taken_or_refused_with_a_reason(pattern: str) -> None:
    try:
        cron = parse_cron(pattern)
    except InvalidCronError:
        return
    assert cron.next_after(FRIDAY) > FRIDAY
    assert cron.next_after(FRIDAY) % 60_000 == 0
    assert cron.description


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "Did you mean 'Europe/Berlin'?"),
        ("Berlin", "Did you mean 'Europe/Berlin'?"),
        ("new york", "Did you mean 'America/New_York'?"),
        ("+02:00", "offsets such as '+02:00' know no summer time"),
        ("", "timezone='' is not a known time zone"),
        ("../../etc/passwd", "is not a known time zone"),
        ("localtime", "is not a known time zone"),
        (None, "timezone=None is not text"),
        (["UTC"], "timezone=['UTC'] is not text"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_closest(zone: object, said: str) -> None:
    with pytest.raises(InvalidCronError) as refused:
        parse_cron("0 9 * * *", zone)  # type: ignore[arg-type]
    assert said in str(refused.value)


def test_the_zones_are_listed_in_order() -> None:
    zones = time_zones()
    assert zones == sorted(zones)
    assert {"UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"} < set(zones)
    assert set(zones) - set(time_zones(exclude_utc=True)) == {"UTC"}
    assert parse_cron("0 9 * * *", zones[-1]).timezone == zones[-1]


def test_a_pattern_is_a_value_with_its_blanks_tidied() -> None:
    assert parse_cron(" 0  9 * * mon ", "Asia/Tokyo") == Cron("0 9 * * mon", "Asia/Tokyo")
    assert len({parse_cron("@daily"), parse_cron("@daily", "UTC")}) == 1
    assert issubclass(InvalidCronError, InputError)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("0 9 * * 1-5", "At 09:00 on Monday through Friday"),
        ("@daily", "At 00:00 every day"),
        ("*/5 * * * *", "Every fifth minute of every hour"),
        ("0 0 L * *", "At 00:00 on the last day of every month"),
        ("0 0 13 * 5", "At 00:00 on the 13th day of month and on Friday"),
    ],
)
def test_a_pattern_says_itself_in_words(pattern: str, words: str) -> None:
    assert parse_cron(pattern).description == words


def test_the_occurrences_of_a_time_are_the_earliest_after_it_up_to_its_end() -> None:
    cron = parse_cron("*/5 * * * *")
    five = 300_000
    assert cron.between(FRIDAY, FRIDAY + 2 * five, 10) == [FRIDAY + five, FRIDAY + 2 * five]
    assert cron.between(FRIDAY - 1, FRIDAY + 100 * five, 2) == [FRIDAY, FRIDAY + five]
    assert cron.between(FRIDAY, FRIDAY + five - 1, 10) == []
    assert cron.next_after(FRIDAY - 1) == FRIDAY
    assert cron.next_after(FRIDAY) == FRIDAY + five


def test_the_latest_of_a_year_of_minutes_is_found_without_going_through_them() -> None:
    cron = parse_cron("* * * * *", "America/New_York")
    year = 365 * 86_400_000
    assert cron.latest_until(FRIDAY + 59_999, FRIDAY - year) == FRIDAY
    assert cron.latest_until(FRIDAY + 59_999, FRIDAY) is None
    assert cron.latest_until(FRIDAY, FRIDAY) is None
    rare = parse_cron("0 0 29 2 *")
    leap_day = int(datetime(2024, 2, 29, tzinfo=UTC).timestamp() * 1000)
    assert rare.latest_until(FRIDAY, FRIDAY - year) is None
    assert rare.latest_until(FRIDAY, 0) == leap_day
