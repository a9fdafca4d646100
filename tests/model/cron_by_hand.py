"""Cron once more, without any library: walks through a year of real minutes and looks at the clock.

It shares no code with what it checks: own grammar, own calendar, and no `fold`.
"""

import calendar
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
QUARTER = 900
_QUARTERS = range(0, 86_400, QUARTER)


def numbers(field: str, low: int, high: int, names: list[str] = []) -> set[int]:  # noqa: B006
    """Return what a field of numbers, names, ranges and steps allows."""
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")

        def number(word: str) -> int:
            return (
                names.index(word) + (low if names is MONTHS else 0) if word in names else int(word)
            )

        if span == "*":
            begin, end = low, high
        else:
            begin = number(first)
            end = number(last) if last else high if step else begin
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def day_matches(pattern: str, day: date) -> bool:
    _, _, of_month, months, of_week = pattern.split()
    if day.month not in numbers(months, 1, 12, MONTHS):
        return False
    length = calendar.monthrange(day.year, day.month)[1]
    weekday = day.isoweekday() % 7
    in_month = any(
        day.day == length if term == "L" else day.day in numbers(term, 1, 31)
        for term in of_month.split(",")
    )
    in_week = False
    for term in of_week.split(","):
        if term.endswith("L"):
            in_week |= int(term[:-1]) % 7 == weekday and day.day > length - 7
        elif "#" in term:
            name, _, nth = term.partition("#")
            in_week |= int(name) % 7 == weekday and (day.day - 1) // 7 + 1 == int(nth)
        else:
            in_week |= weekday in {number % 7 for number in numbers(term, 0, 7, WEEKDAYS)}
    if of_month.startswith("*") or of_week.startswith("*"):
        return in_month and in_week
    return in_month or in_week


@lru_cache(maxsize=16)
def clock(zone: str, year: int) -> list[tuple[int, int]]:
    """Return what the clock shows in each quarter of an hour of a year, both in seconds.

    The clock changes at quarters only, so the minutes between follow.
    """
    start = int(datetime(year, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp())
    shown = []
    for at in range(start, start + 365 * 86_400, QUARTER):
        offset = datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset()
        assert offset is not None
        shown.append((at, at + int(offset.total_seconds())))
    return shown


def changes(zone: str, year: int) -> list[int]:
    """Return when the clock is changed in a year."""
    quarters = clock(zone, year)
    return [at for (_, before), (at, shown) in pairwise(quarters) if shown - before != QUARTER]


def fires(pattern: str, zone: str, year: int) -> list[int]:
    """Return the instants of a year at which a pattern fires, in seconds."""
    minute, hour = pattern.split()[:2]
    hours = numbers(hour, 0, 23)
    hourly = len(hours) == 24
    times = {3600 * h + 60 * m for h in hours for m in numbers(minute, 0, 59)}
    in_quarter = {q: [t - q for t in sorted(times) if q <= t < q + QUARTER] for q in _QUARTERS}
    first_day = date(year, 1, 1) - timedelta(days=1)
    days = {
        (first_day + timedelta(days=n) - date(1970, 1, 1)).days: day_matches(
            pattern, first_day + timedelta(days=n)
        )
        for n in range(368)
    }

    def matching(wall: int) -> list[int]:
        number, second = divmod(wall, 86_400)
        return in_quarter[second] if days[number] else []

    found = []
    quarters = clock(zone, year)
    seen = quarters[0][1]  # up to here the clock has shown, or skipped, everything
    for at, shown in quarters:
        skipped = range(seen, shown, QUARTER)
        made_up = not hourly or (shown - seen) % 3600 != 0
        if made_up and any(matching(wall) for wall in skipped):
            found.append(at)
        if hourly or shown >= seen:
            found.extend(at + later for later in matching(shown))
        seen = shown + QUARTER if hourly else max(seen, shown + QUARTER)
    return sorted(set(found))
