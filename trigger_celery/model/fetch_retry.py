"""When an HTTP request is made again: the options of `retry.fetch`, and the moment a server names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Final

from trigger_celery.errors import DefinitionError, InvalidOptionError, closest
from trigger_celery.model.duration import MAX_MS, Delay
from trigger_celery.model.retry import Retry

MAX_TRIES: Final = 10
"""However the options are: a request is made at most so many times."""
DEFAULT_STATUSES: Final = "408,409,429,5xx"

Condition = Callable[[Any, Any], Any]
Body = Callable[[], str]

_STATUS = re.compile(r"[1-5](?:xx|[0-9]x|[0-9]{2})", re.IGNORECASE).fullmatch
_RANGE = re.compile(r"([1-5][0-9]{2})-([1-5][0-9]{2})").fullmatch
_POLICY = tuple(field.name for field in fields(Retry))


@dataclass(frozen=True, slots=True)
class Backoff:
    """Wait as a policy says."""

    policy: Retry
    body_filter: Any = None


@dataclass(frozen=True, slots=True)
class Headers:
    """Wait until the moment that a header of the response names."""

    reset_header: str
    reset_format: str
    remaining_header: str | None = None
    limit_header: str | None = None
    body_filter: Any = None


Strategy = Backoff | Headers


@dataclass(frozen=True, slots=True)
class FetchRetry:
    """The options of `retry.fetch`, checked. *condition* is that of the old form."""

    by_status: tuple[tuple[frozenset[int], Strategy], ...]
    connection_error: Retry | None
    timeout: Retry | None
    condition: Condition | None = None

    def strategy(self, status: int, body: Body) -> Strategy | None:
        """Return what to do about a response; None: it is the answer. *body* reads its text."""
        for statuses, strategy in self.by_status:
            if status in statuses and _passes(strategy.body_filter, body):
                return strategy
        return None


def parse_statuses(text: object) -> frozenset[int]:
    """Return the statuses of a key: 429, 500-599, 5xx, 40x, several by commas, or all from 400 on.

    Raises InvalidOptionError.
    """
    found: set[int] = set()
    for part in str(text).split(","):
        part = part.strip()
        between = _RANGE(part)
        if part.lower() == "all":
            found.update(range(400, 600))
        elif between is not None and int(between[1]) <= int(between[2]):
            found.update(range(int(between[1]), int(between[2]) + 1))
        elif _STATUS(part):
            low = int(part.lower().replace("x", "0"))
            found.update(range(low, low + 10 ** part.lower().count("x")))
        else:
            raise InvalidOptionError(
                f"retry.fetch by_status: {text!r:.60} is no status: use '429', '500-599', '5xx', "
                "'40x', several with commas between them, or 'all'"
            )
    return frozenset(found)


def parse_fetch_retry(options: object) -> FetchRetry:
    """Return the options of `retry=`. What is left out has its default; None or False is never.

    Raises InvalidOptionError.
    """
    given = _mapping({} if options is None else options, "retry")
    _refuse_unknown(given, ("by_status", "connection_error", "timeout"), "retry")
    by_status: Any = given.get("by_status", {DEFAULT_STATUSES: {"strategy": "backoff"}})
    by_status = _mapping(by_status or {}, "by_status")
    return FetchRetry(
        tuple((parse_statuses(key), _strategy(key, value)) for key, value in by_status.items()),
        _policy(given.get("connection_error", {}), "connection_error"),
        _policy(given.get("timeout", {}), "timeout"),
    )


def old_fetch_retry(max_attempts: int, condition: Condition | None) -> FetchRetry:
    """Return the options for the old form: a number of tries, and whether to try again."""
    policy = _policy({"max_attempts": max_attempts}, "retry")
    assert policy is not None  # noqa: S101 - a mapping gives one
    if condition is not None:
        return FetchRetry(
            ((frozenset(range(100, 600)), Backoff(policy)),), policy, policy, condition
        )
    return FetchRetry(((parse_statuses(DEFAULT_STATUSES), Backoff(policy)),), policy, policy)


def _strategy(key: object, value: object) -> Strategy:
    where = f"by_status[{key!r}]"
    options = dict(_mapping(value, where))
    kind = options.pop("strategy", "backoff")
    if kind == "backoff":
        _refuse_unknown(options, (*_POLICY, "body_filter"), where)
        body_filter = _body_filter(options.pop("body_filter", None))
        policy = _policy(options, where)
        assert policy is not None  # noqa: S101 - a mapping gives one
        return Backoff(policy, body_filter)
    if kind != "headers":
        raise InvalidOptionError(
            f"retry.fetch {where}: strategy={kind!r} is neither 'backoff' nor 'headers'"
        )
    names = ("limit_header", "remaining_header", "reset_header", "reset_format", "body_filter")
    _refuse_unknown(options, names, where)
    if not isinstance(options.get("reset_header"), str):
        raise InvalidOptionError(
            f"retry.fetch {where}: the strategy 'headers' needs reset_header, for example "
            "'x-ratelimit-reset'"
        )
    reset_format = options.get("reset_format", "unix_timestamp_in_ms")
    if reset_format not in RESET_FORMATS:
        raise InvalidOptionError(
            f"retry.fetch {where}: reset_format={reset_format!r} is not known."
            f"{closest(str(reset_format), RESET_FORMATS)} Formats: {', '.join(RESET_FORMATS)}."
        )
    return Headers(
        options["reset_header"],
        reset_format,
        options.get("remaining_header"),
        options.get("limit_header"),
        _body_filter(options.get("body_filter")),
    )


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidOptionError(f"retry.fetch {where}: expects a dict, not {value!r:.60}")
    return value


def _refuse_unknown(given: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in given:
        if name not in names:
            raise InvalidOptionError(
                f"retry.fetch {where} has no option {name!r}.{closest(str(name), names)} "
                f"Options: {', '.join(names)}."
            )


def _policy(value: object, where: str) -> Retry | None:
    if value is None or value is False:
        return None
    if isinstance(value, Retry):
        return value
    try:
        return Retry.of(_mapping(value, where), where=f"retry.fetch {where}")
    except DefinitionError as problem:
        raise InvalidOptionError(str(problem)) from None


# Bodies


def _body_filter(value: object) -> Any:
    if value is None or callable(value) or isinstance(value, Mapping):
        return value
    raise InvalidOptionError(
        "retry.fetch body_filter: pass a dict such as {'error': {'type': ['rate_limit']}}, or a "
        f"function of the decoded body, not {value!r:.60}"
    )


def _passes(body_filter: Any, body: Body) -> bool:
    if body_filter is None:
        return True
    try:
        decoded = json.loads(body())
    except ValueError:
        return False
    return bool(body_filter(decoded)) if callable(body_filter) else _fits(body_filter, decoded)


def _fits(wanted: Any, found: Any) -> bool:
    """Whether everything wanted is there; a list names the values of which one is needed."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            name in found and _fits(part, found[name]) for name, part in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return any(_fits(one, found) for one in wanted)
    return bool(wanted == found)


# Moments


_LENGTH = re.compile(
    r"(?:([0-9.]+)d)?(?:([0-9.]+)h)?(?:([0-9.]+)m(?!s))?(?:([0-9.]+)s)?(?:([0-9.]+)ms)?"
).fullmatch
_SIZES = (86_400_000, 3_600_000, 60_000, 1000, 1)


def openai_duration_ms(text: str) -> int:
    """Return the milliseconds of a text such as `1m20s`, `8.64s` or `20ms`. Raises ValueError."""
    found = _LENGTH(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is no duration")
    parts = zip(found.groups(), _SIZES, strict=True)
    return _whole(sum(float(amount) * size for amount, size in parts if amount))


def _whole(ms: float) -> int:
    if not isfinite(ms) or not ms >= 0:
        raise ValueError("not a moment")
    return round(ms)


def _iso(text: str) -> Delay:
    at = datetime.fromisoformat(text)
    return _at(at if at.tzinfo is not None else at.replace(tzinfo=UTC))


def _at(at: datetime) -> Delay:
    return Delay(None, round(at.timestamp() * 1000))


def _retry_after(text: str) -> Delay:
    if text.isdecimal():
        return Delay(int(text) * 1000, None)
    at = parsedate_to_datetime(text)
    return _at(at if at.tzinfo is not None else at.replace(tzinfo=UTC))


RESET_FORMATS: Final[dict[str, Callable[[str], Delay]]] = {
    "unix_timestamp": lambda text: Delay(None, _whole(float(text) * 1000)),
    "unix_timestamp_in_ms": lambda text: Delay(None, _whole(float(text))),
    "iso_8601": _iso,
    "iso_8601_duration_openai_variant": lambda text: Delay(openai_duration_ms(text), None),
    "retry_after": _retry_after,
}
"""What a reset header may hold, and what reads it."""


def reset_of(strategy: Headers, header: Callable[[str], str | None]) -> Delay | None:
    """Return when the server says to come back; None when it does not, or not in ten years."""
    text = header(strategy.reset_header)
    if text is None:
        return None
    try:
        due = RESET_FORMATS[strategy.reset_format](text.strip())
    except (ValueError, OverflowError):
        return None
    now = datetime.now(UTC).timestamp() * 1000
    ahead = due.after_ms if due.at_ms is None else due.at_ms - now
    return due if ahead is not None and ahead <= MAX_MS else None
