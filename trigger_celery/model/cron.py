"""Cron schedules: the one evaluator, for what fires and for what is shown.

A pattern is read in its zone's local time; `cronsim` knows the calendar. What the clock's changes do
is decided here:

- A local time that does not exist, because the clock goes forward over it, fires at the first
  instant after the gap. Several in one gap fire once.
- A local time that exists twice, because the clock goes back, fires once: the first time.
- An hourly pattern, one whose hour field allows every hour, fires whenever the clock shows one of its
  minutes: every hour of real time, so in both passes of an hour that exists twice, and not for an
  hour that does not exist. Where the clock skips only a part of an hour (Lord Howe Island), a
  skipped minute of it fires at the first instant after the gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from trigger_celery.errors import InvalidCronError
from trigger_celery.model.cron_grammar import calendar, never
from trigger_celery.model.time_zone import UTC_NAME, time_zone, time_zones

if TYPE_CHECKING:
    from cronsim import CronSim

__all__ = ["Cron", "parse_cron", "time_zones"]

_HOUR: Final = 3600
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_EVERY_HOUR: Final = frozenset(range(24))
_NEAR: Final = 3 * _HOUR
"""No zone changes its clock twice in so many seconds, and none by more."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron pattern in a time zone. Made by `parse_cron`; equal when both texts are.

    Moments are milliseconds of the epoch, UTC.
    """

    pattern: str
    timezone: str = UTC_NAME

    def next_after(self, ms: int) -> int:
        """Return the first occurrence after *ms*."""
        return _next(self.pattern, self.timezone, ms // 1000) * 1000

    def upcoming(self, after_ms: int, count: int) -> list[int]:
        """Return the next *count* occurrences after *after_ms*."""
        found = []
        for _ in range(count):
            after_ms = self.next_after(after_ms)
            found.append(after_ms)
        return found

    def between(self, after: int, until: int, limit: int) -> list[int]:
        """Return the occurrences after *after* and up to *until*, the earliest *limit* of them."""
        found: list[int] = []
        while len(found) < limit:
            after = self.next_after(after)
            if after > until:
                break
            found.append(after)
        return found

    def latest_until(self, ms: int, after: int) -> int | None:
        """Return the last occurrence up to *ms*, None if it is not after *after*.

        Takes no longer when the two are years apart.
        """
        last = ms // 1000
        for least in _backwards(self, last):
            found = self.next_after(max(least * 1000, after))
            if found <= ms:
                while (later := self.next_after(found)) <= ms:
                    found = later
                return found
            if least * 1000 <= after:
                break
        return None

    @property
    def description(self) -> str:
        """The pattern in words, such as `At 09:00 on Monday`."""
        return _description(self.pattern)


def parse_cron(pattern: str, timezone: str = UTC_NAME) -> Cron:
    """Return a checked pattern. Raises InvalidCronError, which says the field and what is allowed.

    Five fields; or an alias such as `@daily`. *timezone* is an IANA name.
    """
    if not isinstance(pattern, str):
        raise InvalidCronError(f"cron={pattern!r:.60} is not text: pass for example '0 9 * * 1-5'.")
    if not isinstance(timezone, str):
        raise InvalidCronError(
            f"timezone={timezone!r:.60} is not text: pass the name of a zone, such as 'Europe/Berlin'."
        )
    calendar(pattern)
    time_zone(timezone)
    return Cron(" ".join(pattern.split()), timezone)


@lru_cache(maxsize=4096)
def _next(pattern: str, timezone: str, after: int) -> int:
    days, zone = calendar(pattern), time_zone(timezone)
    try:
        if days.hours >= _EVERY_HOUR:
            return _next_hourly(days, zone, after)
        return _next_local(days, zone, after)
    except StopIteration:
        never(pattern)
    except (OverflowError, ValueError):
        raise InvalidCronError(
            f"cron={pattern!r:.60} has no next time: dates are of the years 1 to 9999"
        ) from None


@lru_cache(maxsize=512)
def _description(pattern: str) -> str:
    return calendar(pattern).explain()


def _next_local(days: CronSim, zone: ZoneInfo, after: int) -> int:
    """Return the next occurrence of a pattern for hours of the day."""
    walls = _forwards(days, datetime.fromtimestamp(after, zone).replace(tzinfo=None, fold=0))
    while (at := _instant(next(walls), zone)) <= after:
        pass
    return at


def _next_hourly(days: CronSim, zone: ZoneInfo, after: int) -> int:
    """Return the next occurrence of a pattern for every hour.

    Up to where the clock changes, local and real time go at one pace. There, what the clock shows
    at that instant decides, and the search goes on behind it. A date far away is first
    approached to some hours.
    """
    while True:
        now = datetime.fromtimestamp(after, zone)
        wall = now.replace(tzinfo=None, fold=0)
        due = _first(days, wall)
        at = after + int((due - wall).total_seconds())
        reach = min(at, after + _NEAR)
        if datetime.fromtimestamp(reach, zone).utcoffset() == now.utcoffset():
            if at == reach:
                return at
            after = max(reach, min(_both(due, zone)) - _NEAR)
        else:
            edge = _change(zone, after, reach)
            if _fires_at_change(days, zone, edge):
                return edge
            after = edge


def _fires_at_change(days: CronSim, zone: ZoneInfo, edge: int) -> bool:
    """Tell whether an hourly pattern fires at the instant of a change of the clock."""
    wall = datetime.fromtimestamp(edge, zone).replace(tzinfo=None, fold=0)
    shown_before = datetime.fromtimestamp(edge - 1, zone).replace(tzinfo=None, fold=0) + _SECOND
    in_part = wall > shown_before and (wall - shown_before).seconds % _HOUR
    return _first(days, (shown_before if in_part else wall) - _SECOND) <= wall


def _instant(wall: datetime, zone: ZoneInfo) -> int:
    """Return when a clock first shows *wall*, or would have if it did not skip it."""
    first, second = _both(wall, zone)
    return _change(zone, second, first) if second < first else first


def _both(wall: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """Return when *wall* is by the offsets before and after a change of the clock near it.

    The second is the later one if the time exists twice, the earlier one if it does not exist.
    """
    first = int(wall.replace(tzinfo=zone).timestamp())
    return first, int(wall.replace(tzinfo=zone, fold=1).timestamp())


def _change(zone: ZoneInfo, before: int, behind: int) -> int:
    """Return the first second with another offset than *before* has; *behind* has another."""
    offset = datetime.fromtimestamp(before, zone).utcoffset()
    while behind - before > 1:
        middle = (before + behind) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            before = middle
        else:
            behind = middle
    return behind


def _first(days: CronSim, wall: datetime) -> datetime:
    return next(_forwards(days, wall))


def _forwards(days: CronSim, wall: datetime) -> Iterator[datetime]:
    """Return the pattern's wall-clock times after *wall*, without any zone."""
    found = copy(days)
    found.dt = wall.replace(second=0)
    return found


def _backwards(cron: Cron, last: int) -> Iterator[int]:
    """Yield instants after which the pattern's latest wall-clock times up to *last* lie."""
    zone = time_zone(cron.timezone)
    found = copy(calendar(cron.pattern))
    shown = datetime.fromtimestamp(last, zone).replace(tzinfo=None, fold=0)
    found.dt = shown.replace(second=0) + _MINUTE
    found.tick_direction = -1
    for wall in found:
        yield min(_both(wall, zone)) - 1
