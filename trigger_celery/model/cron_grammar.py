"""What a cron pattern may say, and what is wrong with one that does not parse."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, NoReturn

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from trigger_celery.errors import InvalidCronError, closest

MAX_TEXT: Final = 256
ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EXAMPLE: Final = (
    "Write minute, hour, day of month, month and day of week, for example '0 9 * * 1-5'"
)
_START: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall-clock time, of any zone


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    field: Field
    low: int
    high: int
    allowed: str
    names: tuple[str, ...] = ()


_MONTHS: Final = (
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
)  # fmt: skip
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_KINDS: Final = (
    _Kind("minute", Field["MINUTE"], 0, 59, "0-59"),
    _Kind("hour", Field["HOUR"], 0, 23, "0-23"),
    _Kind("day-of-month", Field["DAY"], 1, 31, "1-31, L (the last day) or LW (the last weekday)"),
    _Kind("month", Field["MONTH"], 1, 12, "1-12 or JAN-DEC", _MONTHS),
    _Kind(
        "day-of-week",
        Field["DOW"],
        0,
        7,
        "0-7 (0 and 7 are Sunday), SUN-SAT, 5L (the last Friday of the month) or 5#2 (the second)",
        _DAYS,
    ),
)


@lru_cache(maxsize=2048)
def expanded(pattern: str) -> str:
    """Return *pattern* as five checked fields: an alias is spelled out. Raises InvalidCronError."""
    if len(pattern) > MAX_TEXT:
        _refuse(pattern, f"is longer than {MAX_TEXT} characters. {_EXAMPLE}.")
    parts = pattern.split()
    if not parts:
        _refuse(pattern, f"is empty. {_EXAMPLE}.")
    if parts[0].startswith("@"):
        return _alias(pattern)
    if len(parts) != len(_KINDS):
        _wrong_count(pattern, parts)
    for at in (2, 4):
        parts[at] = "*" if parts[at] == "?" else parts[at]
    for kind, part in zip(_KINDS, parts, strict=True):
        _check(pattern, kind, part)
    return " ".join(
        ",".join(_tidied(kind, term) for term in part.upper().split(","))
        for kind, part in zip(_KINDS, parts, strict=True)
    )


@lru_cache(maxsize=2048)
def calendar(pattern: str) -> CronSim:
    """Return what finds the wall-clock times of a pattern; copy it before use.

    Raises InvalidCronError, also for a date that never comes.
    """
    fields = expanded(pattern)
    try:
        found = CronSim(fields, _START)
        next(copy(found))
    except (CronSimError, StopIteration):
        never(pattern)
    return found


def never(pattern: str) -> NoReturn:
    """Refuse a pattern whose date does not exist."""
    day, month = expanded(pattern).split()[2:4]
    _refuse(
        pattern,
        f"never comes: no month of {month!r} has a day {day!r} (day-of-month field) that matches. "
        "For the last day of a month, whichever it is, write L.",
    )


def _alias(pattern: str) -> str:
    word = pattern.strip().lower()
    if word in ALIASES:
        return ALIASES[word]
    why = "means the start of a machine, and a schedule has none" if word == "@reboot" else ""
    if word.startswith("@every"):
        why = "is not cron: write a step, for example '*/5 * * * *'"
    _refuse(
        pattern,
        f"{why or 'is not a known alias'}.{closest(word, ALIASES)} Known are {', '.join(ALIASES)}.",
    )


def _wrong_count(pattern: str, parts: list[str]) -> NoReturn:
    count = len(parts)
    if count > len(_KINDS):
        short = " ".join(parts[1:6])
        try:
            calendar(short)
        except InvalidCronError:
            hint = f"{_EXAMPLE}."
        else:
            hint = f"Leave out the first: {short!r}."
        what = "seconds are not allowed" if count == 6 else "seconds and years are not allowed"
        _refuse(pattern, f"has {count} fields, not 5: {what}. {hint}")
    _refuse(
        pattern,
        f"has {count} field{'s' if count > 1 else ''}, not 5, and which are left out cannot be "
        f"guessed. {_EXAMPLE}.",
    )


def _check(pattern: str, kind: _Kind, part: str) -> None:
    for term in part.upper().split(","):
        reason = _step(kind, term) if "/" in term else None
        if reason is None:
            try:
                kind.field.parse(term)
                continue
            except CronSimError:
                reason = _reason(kind, term)
        meant = closest(term, kind.names) if term.isalpha() else ""
        _refuse(
            pattern,
            f"is wrong in the {kind.name} field, {part!r}: {reason}.{meant} Allowed: {kind.allowed}; "
            "* for every, lists (1,2), ranges (1-5), steps (*/2).",
        )


def _tidied(kind: _Kind, term: str) -> str:
    """Return a range of one value without its step: cronsim would go on to the end of the field."""
    base, step, _ = term.partition("/")
    low, dash, high = base.partition("-")
    return low if step and dash and kind.field.int(low) == kind.field.int(high) else term


def _step(kind: _Kind, term: str) -> str | None:
    """Return what is wrong with a step. One over the field's range would fire once in a range."""
    base, _, step = term.partition("/")
    if kind.name == "day-of-month" and base in ("L", "LW"):
        return f"{base} is one day, and has no steps"
    most = kind.high - kind.low + (kind.high != 7)
    if not (step.isascii() and step.isdigit()):
        return f"the step {step!r} is not a number"
    if not 1 <= int(step) <= most:
        return f"the step {step} is out of range, 1 to {most}"
    return None


def _reason(kind: _Kind, term: str) -> str:
    if not term:
        return "a value is missing"
    base = term.partition("/")[0]
    if "#" in base or (base.endswith("L") and base != "L"):
        return f"{term!r} is not understood here"
    low, dash, high = base.partition("-")
    for word in (low, high) if dash else (low,):
        wrong = _word(kind, word)
        if wrong:
            return wrong
    sunday = "; Sunday at the end of a range is 7" if kind.names == _DAYS else ""
    return f"the range {base!r} does not go upwards{sunday}"


def _word(kind: _Kind, word: str) -> str | None:
    if word in kind.names:
        return None
    if word.isascii() and word.isdigit():
        if kind.low <= int(word) <= kind.high:
            return None
        return f"{word} is out of range, {kind.low} to {kind.high}"
    if not word:
        return "a value is missing"
    if word == "?":
        return "? is for the two day fields only, and stands alone"
    return f"{word!r} is not understood here"


def _refuse(pattern: str, problem: str) -> NoReturn:
    shown = pattern if len(pattern) <= 60 else pattern[:57] + "…"
    raise InvalidCronError(f"cron={shown!r} {problem}")
