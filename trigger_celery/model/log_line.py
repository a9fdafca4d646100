"""A line of a run's log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from trigger_celery.errors import InvalidOptionError, closest

LogLevel = Literal["debug", "info", "warn", "error"]
LogSource = Literal["logger", "logging", "print", "span"]

RANKS: Final[Mapping[str, int]] = {"debug": 10, "info": 20, "warn": 30, "error": 40}
"""The levels, in the order of the standard library's numbers."""
NONE: Final = 100
"""The rank that no line reaches."""

_SPELLINGS: Final = {"log": "info", "warning": "warn", "critical": "error"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a run said at one moment.

    `source` is where it came from: the task logger, the standard library's `logging`, `print`, or
    a span, which is logged when it ends. `parent_span_id` is the span around it.
    """

    at: datetime
    level: LogLevel
    message: str
    attempt: int
    source: LogSource = "logger"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    logger: str | None = None
    exception: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    duration_ms: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without what is not there."""
        named = {name: getattr(self, name) for name in self.__slots__}
        shown = {name: value for name, value in named.items() if value not in (None, {})}
        return {**shown, "at": self.at.isoformat(timespec="milliseconds")}


def check_level(value: object) -> str:
    """Return a level in its one spelling; `none` is allowed. Raises InvalidOptionError."""
    text = value.strip().lower() if isinstance(value, str) else ""
    text = _SPELLINGS.get(text, text)
    if text != "none" and text not in RANKS:
        names = [*RANKS, "none"]
        raise InvalidOptionError(
            f"{value!r} is no log level.{closest(text, names)} Levels: {', '.join(names)}."
        )
    return text


def rank_of(level: str) -> int:
    """Return the number of a level; that of `none` is above all others."""
    return RANKS.get(level, NONE)


def level_of(number: int) -> LogLevel:
    """Return the level of a number of the standard library."""
    if number >= 40:
        return "error"
    if number >= 30:
        return "warn"
    return "info" if number >= 20 else "debug"


def read_line(text: str | bytes) -> LogLine:
    """Return the line of its stored form."""
    stored = json.loads(text)
    return LogLine(
        at=datetime.fromtimestamp(stored["t"], UTC),
        level=cast("LogLevel", stored["l"]),
        message=stored["m"],
        attempt=stored["a"],
        source=stored.get("s", "logger"),
        attributes=stored.get("d", {}),
        logger=stored.get("n"),
        exception=stored.get("x"),
        span_id=stored.get("i"),
        parent_span_id=stored.get("p"),
        duration_ms=stored.get("u"),
    )
