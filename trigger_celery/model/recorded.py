"""Recorded runs: tasks that Celery's broker carries, and of which we only write down what happens.

What is written down are *facts*. They come from producers and workers, in any order and perhaps
twice; together they say what the run is. The rules that make a status of them are in
`engine/lua/include/standing.lua`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from json import loads
from typing import Final

from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.run import Attempt
from trigger_celery.model.run_error import RunError

INTERNAL: Final = frozenset(
    {"celery.chord_unlock", "celery.backend_cleanup", "celery.accumulate", "celery.ping"}
)
"""Tasks that Celery sends itself: recorded only where a pattern names them."""

RETRY: Final = "RETRY"
"""An execution ended, and another message was sent for the next."""
BACK: Final = "BACK"
"""An execution ended, and the message went back to the broker."""

REJECTED: Final = "SYSTEM_FAILURE"
"""A worker threw the message away and executed nothing."""

NOWHERE: Final = "~"
"""The position of what is known to have happened, and not at which message."""

BEYOND_VISIBILITY: Final = "delay beyond the visibility timeout"
CHORD_WITHOUT_RESULT: Final = "in a chord without a result"
"""Notes of a message: letters first, so that nothing takes them for a time."""

_NESTING: Final = 1_000_000
_MOST_RETRIES: Final = _NESTING - 1
_MOST_NESTING: Final = 1000


def position(replaced: object, retries: object) -> str:
    """Return where a message stands among those with its id: a retry, or a replacement, is later."""
    nesting = replaced if isinstance(replaced, int) else 0
    tries = retries if isinstance(retries, int) else 0
    return str(min(nesting, _MOST_NESTING) * _NESTING + min(tries, _MOST_RETRIES))


class RecordRule:
    """Which tasks are recorded: all, none, or by patterns of their names.

    A pattern is one of `fnmatch`, and takes tasks out when it begins with `!`; the last that fits
    decides. With patterns that only take out, all others are recorded.
    """

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Iterable[str]) -> None:
        given = tuple(patterns)
        only_out = all(pattern.startswith("!") for pattern in given)
        self._patterns = (("*", *given) if given and only_out else given)[::-1]

    @classmethod
    def of(cls, value: object) -> RecordRule:
        """Return the rule of a setting: true, false, or patterns. Raises InvalidOptionError."""
        if isinstance(value, RecordRule):
            return value
        if isinstance(value, bool):
            return cls(("*",) if value else ())
        if isinstance(value, str):
            words = {"1": True, "true": True, "yes": True, "on": True}
            words |= {"0": False, "false": False, "no": False, "off": False}
            known = words.get(value.strip().lower())
            if known is not None:
                return cls.of(known)
            value = value.split(",")
        if not isinstance(value, list | tuple | set | frozenset) or not all(
            isinstance(pattern, str) and pattern.strip(" !") for pattern in value
        ):
            raise InvalidOptionError(
                f"record={value!r:.80}: expects true, false, or patterns of task names such as "
                "'shop.*,!shop.noisy'"
            )
        return cls(pattern.strip() for pattern in value)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordRule) and self._patterns == other._patterns

    def __hash__(self) -> int:
        return hash(self._patterns)

    def fits(self, task: str) -> bool:
        """Say whether the task is recorded."""
        for pattern in self._patterns:
            if fnmatchcase(task, pattern.lstrip("!")):
                named = pattern != "*" or task not in INTERNAL
                return named and not pattern.startswith("!")
        return False

    def __str__(self) -> str:
        if self._patterns in ((), ("*",)):
            return "true" if self._patterns else "false"
        return ",".join(self._patterns[::-1])

    __repr__ = __str__


ALL_TASKS: Final = RecordRule(("*",))
"""Every task but Celery's own."""

_IS_PUBLISHED: Final = re.compile(r"p\d+").fullmatch
_IS_LOOSE_END: Final = re.compile(r"e[\d~]+:").fullmatch
_IS_FACT: Final = re.compile(r"([se])([\d~]+):(.*)").fullmatch

Start = tuple[int, int, str, list[str]]
"""Position, ms, place, and the parts of what is told."""


def notes_of(record: Mapping[str, str]) -> tuple[str, ...]:
    """Return what is worth knowing of the messages that a record tells of, each note once."""
    published = sorted(field for field in record if _IS_PUBLISHED(field))
    told = (record[field].split("\x1f")[2:] for field in published)
    notes = [note for found in told for one in found for note in one.split(",")]
    for field in sorted(field for field in record if _IS_LOOSE_END(field)):
        _, outcome, _, note = record[field].split("\x1f")
        notes += [note] if outcome == REJECTED else []
    return tuple(dict.fromkeys(notes))


def attempts_of(record: Mapping[str, str], reasons: Mapping[str, str]) -> tuple[Attempt, ...]:
    """Return the executions that a record tells of, as attempts in their order.

    All executions of one message have one number: a second one is another delivery of it.
    *reasons* are errors by the field of the end.
    """
    ends: dict[str, list[str]] = {}
    starts: list[Start] = []
    for field, value in record.items():
        found = _IS_FACT(field)
        if found is None:
            continue
        parts, place = value.split("\x1f"), field[1:]
        if found[1] == "e":
            ends[place] = [*parts, reasons.get(field, "")]
        else:
            starts.append((int(found[2]), int(parts[0]), place, parts))
    starts.sort()
    _give_loose_ends(starts, ends)
    numbers: dict[int, int] = {}
    attempts = []
    for where, _, place, parts in starts:
        # Those before it may not be known any more.
        number = numbers.setdefault(where, max(len(numbers), where % _NESTING) + 1)
        attempts.append(_attempt(number, parts, ends.get(place), record.get(f"l{place}")))
    return tuple(attempts)


def _give_loose_ends(starts: list[Start], ends: dict[str, list[str]]) -> None:
    """What a worker's main process told, of an execution whose own process told nothing more.

    It belongs to the last execution of its message that has no other end. A message that was
    thrown away had none.
    """
    told = [place for place, end in ends.items() if place.endswith(":") and end[1] != REJECTED]
    for loose in sorted(told, key=lambda place: int(ends[place][0])):
        where = loose[:-1]
        for at, _, place, _ in reversed(starts):
            if place not in ends and where in (NOWHERE, str(at)):
                ends[place] = ends[loose]
                break


def _attempt(number: int, start: list[str], end: list[str] | None, lost: str | None) -> Attempt:
    began, worker, again = start
    notes = ["redelivered"] if again else []
    if end is None:
        if lost is not None:
            notes.append("presumed lost")
        return Attempt(
            number,
            _instant(began),
            None if lost is None else _instant(lost),
            worker=worker or None,
            note=", ".join(notes) or None,
        )
    at, outcome, more, note, reason = end
    if note:
        notes.append(note)
    delay = int(more) / 1000 if outcome == RETRY and more else None
    return Attempt(
        number,
        _instant(began),
        _instant(at),
        RunError.from_dict(loads(reason)) if reason else None,
        worker=worker or None,
        retry_delay=delay,
        note=", ".join(notes) or None,
    )


def _instant(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)
