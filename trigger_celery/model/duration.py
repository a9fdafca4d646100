"""Lengths of time and moments as users write them, in milliseconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from math import isfinite
from typing import Final, NoReturn

from trigger_celery.errors import InvalidDurationError

MAX_TEXT: Final = 100
MAX_MS: Final = 10 * 365 * 86_400_000

_UNITS: Final = {
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
}
_WHOLE: Final = re.compile(r"(?:[0-9]+(?:w|d|hr|h|m|s))+").fullmatch
_GROUPS: Final = re.compile(r"([0-9]+)(w|d|h|m|s)r?").findall
_MILLISECOND: Final = timedelta(milliseconds=1)
_ACCEPTED: Final = (
    "text of whole numbers and units w d h m s, a number of seconds, or a timedelta; "
    "for example '1h30m', 90 or timedelta(minutes=90)"
)


@dataclass(frozen=True, slots=True)
class Delay:
    """When something is due: so long from now, or at a moment. One of the two is None."""

    after_ms: int | None
    at_ms: int | None


def parse_duration(value: str | int | float | timedelta, *, name: str = "duration") -> int:
    """Return a length of time in milliseconds.

    Text is groups of a whole number and a unit, in any order: `1w2d3h4m5s`, `hr` for `h`. A unit
    twice is refused. Numbers are seconds. *name* is the option that the error message speaks of.
    """
    if isinstance(value, str):
        return _parse_text(value, name)
    if isinstance(value, bool) or not isinstance(value, (int, float, timedelta)):
        _refuse(name, value, f"is not a duration: pass {_ACCEPTED}")
    if isinstance(value, timedelta):
        return _in_range(round(value / _MILLISECOND), value < timedelta(), value, name)
    if isinstance(value, float) and not isfinite(value):
        _refuse(name, value, f"is not a finite duration: pass {_ACCEPTED}")
    return _in_range(round(min(value, MAX_MS) * 1000), value < 0, value, name)


def parse_delay(value: str | int | float | timedelta | datetime, *, name: str = "delay") -> Delay:
    """Return a delay or a moment. Text is tried as an ISO date first, then as a duration.

    A datetime or date without a zone is in the system's local time. A moment in the past is fine
    and means at once.
    """
    if isinstance(value, datetime):
        return _moment(value, value, name)
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return _moment(at, value, name)
        if not _WHOLE(value):
            _refuse(name, value, f"is neither an ISO date nor a duration: pass {_ACCEPTED}")
    return Delay(parse_duration(value, name=name), None)


def format_duration(ms: int) -> str:
    """Return a length as text such as `1w2d3h4m5s`, largest units first; zero is `0s`.

    Milliseconds below a second are shown (`1s250ms`), which `parse_duration` does not read.
    """
    parts = []
    rest = ms
    for unit, size in _UNITS.items():
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount}{unit}")
    if rest:
        parts.append(f"{rest}ms")
    return "".join(parts) or "0s"


def _moment(at: datetime, value: object, name: str) -> Delay:
    try:
        return Delay(None, round(at.timestamp() * 1000))
    except (OverflowError, ValueError, OSError):
        _refuse(name, value, "is a date that this system's local time cannot express")


@lru_cache(maxsize=256)
def _parse_text(text: str, name: str) -> int:
    if len(text) > MAX_TEXT or not _WHOLE(text):
        _refuse(name, text, f"is not a duration: pass {_ACCEPTED}")
    amounts: dict[str, int] = {}
    for amount, unit in _GROUPS(text):
        if unit in amounts:
            _refuse(name, text, f"has the unit {unit!r} twice; add the two up")
        amounts[unit] = int(amount)
    return _in_range(
        sum(_UNITS[unit] * amount for unit, amount in amounts.items()), False, text, name
    )


def _in_range(ms: int, negative: bool, value: object, name: str) -> int:
    if negative:
        _refuse(name, value, f"is negative: pass {_ACCEPTED}")
    if ms > MAX_MS:
        _refuse(name, value, "is longer than 10 years, the limit; for example '520w' is allowed")
    return ms


def _refuse(name: str, value: object, problem: str) -> NoReturn:
    text = repr(value)
    raise InvalidDurationError(f"{name}={text if len(text) <= 60 else text[:57] + '…'} {problem}.")
