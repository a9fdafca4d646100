"""Options of Celery's `apply_async`, sorted: what becomes a trigger option, what is kept, what is not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from trigger_celery.bridge.celery_side import REQUEST_NAMES, Side, side_of
from trigger_celery.bridge.celery_times import in_utc
from trigger_celery.bridge.celery_words import TRIGGER_WORDS, meant
from trigger_celery.bridge.request import OPTIONS
from trigger_celery.engine.admission import SHOWN
from trigger_celery.errors import InvalidOptionError, UnknownOptionError
from trigger_celery.model.duration import parse_delay

TIMES: Final = ("countdown", "eta")
LIMITS: Final = ("time_limit", "soft_time_limit")
OF_MESSAGES: Final = frozenset(
    {
        "add_to_parent", "app_id", "chunked", "cluster_id", "compression", "connection", "content_encoding",
        "content_type", "correlation_id", "declare", "delivery_mode", "exchange", "exchange_type",
        "expiration", "ignore_queue_type", "immediate", "mandatory", "origin",
        "producer", "publisher", "result_cls", "retry", "retry_policy", "route_name", "router",
        "routing_key", "serializer", "task_type", "timeout", "confirm_timeout", "message_id",
        "interval", "max_retries", "properties", "timestamp", "type", "user_id", "MessageDeduplicationId",
        "MessageGroupId",
    }
)  # fmt: skip
"""Options of a message's way through the broker, which a run does not take: accepted, without effect."""

OVER: Final = -1
"""The TTL of a run that has expired before it is made: it is never begun."""

WARNED: Final = ("exchange", "routing_key")
"""Of these, those that say where a task is executed: their user is told."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """The options of one call. `trigger` are those of a trigger; times are in ms."""

    trigger: dict[str, Any]
    side: Side
    ttl_ms: int | None
    max_duration_ms: int | None
    has_parent: bool
    """Whether the call names the task it belongs to; None of them: the one it is made in."""
    add_to_parent: bool
    shown: dict[str, str]


def sort_options(task_id: str, given: Mapping[str, Any], *, warn: bool = True) -> Sorted:
    """Sort the options of a call. None means not given.

    Raises UnknownOptionError, InvalidOptionError.
    """
    options = {name: value for name, value in given.items() if value is not None}
    if "eta" in options and "countdown" in options:
        options.pop("eta" if options["countdown"] else "countdown")  # as Celery does
    side = side_of(options)
    stamps = set(side.get("stamped_headers", ()))
    trigger: dict[str, Any] = {}
    for name, value in options.items():
        if name in OPTIONS:
            trigger[name] = value
        elif name in TIMES:
            trigger.setdefault("delay", _delay(value))
        elif not (
            name in REQUEST_NAMES
            or name in OF_MESSAGES
            or name in LIMITS
            or name in SHOWN
            or name == "expires"
            or name in stamps
        ):
            raise _unknown(task_id, name)
    _check_times(options)
    if warn:
        _warn(task_id, options)
    delay = parse_delay(trigger["delay"]) if "delay" in trigger else None
    wait_ms = 0
    if delay is not None:
        wait_ms = delay.after_ms if delay.after_ms is not None else _until(delay.at_ms or 0)
    return Sorted(
        trigger,
        side,
        _ttl_ms(task_id, options.get("expires"), wait_ms),
        _duration_ms(task_id, options),
        "parent_id" in options,
        bool(options.get("add_to_parent", True)),
        {name: str(options[name]) for name in SHOWN if name in options},
    )


def _unknown(task_id: str, name: str) -> UnknownOptionError:
    known = [*OPTIONS, *TIMES, *LIMITS, "expires", *SHOWN, *REQUEST_NAMES]
    return UnknownOptionError(
        f"apply_async of {task_id!r} has no option {name!r}."
        f"{meant(name, known, TRIGGER_WORDS)} It takes those of Celery and the trigger "
        f"options: {', '.join(OPTIONS)}."
    )


def _check_times(options: Mapping[str, Any]) -> None:
    times = [name for name in (*TIMES, "delay") if name in options]
    if len(times) > 1:
        raise InvalidOptionError(f"give one of {', '.join(times)}, not all")
    if "expires" in options and "ttl" in options:
        raise InvalidOptionError("give one of expires, ttl, not both")


def _warn(task_id: str, options: Mapping[str, Any]) -> None:
    for name in WARNED:
        if options.get(name):
            warnings.warn(
                f"apply_async of {task_id!r}: {name} has no effect, because a run does not travel "
                "through the broker. worker_queue= of @task, or task_routes, says which workers "
                "execute it.",
                stacklevel=6,
            )


def _delay(given: Any) -> Any:
    """Return a time of Celery's as a delay: less than nothing is now, without a time zone UTC."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return max(0, given)
    return in_utc(given)


def _until(at_ms: float) -> int:
    return round(at_ms - datetime.now(UTC).timestamp() * 1000)


def _ttl_ms(task_id: str, expires: Any, wait_ms: int) -> int | None:
    """Return how long a run may wait to be begun once it is due; OVER when that has passed already."""
    if expires is None:
        return None
    if isinstance(expires, str):
        try:
            expires = datetime.fromisoformat(expires)
        except ValueError:
            raise InvalidOptionError(
                f"apply_async of {task_id!r}: expires={expires!r} is neither seconds nor a date"
            ) from None
    if isinstance(expires, datetime):
        left = _until(in_utc(expires).timestamp() * 1000)
    elif isinstance(expires, int | float) and not isinstance(expires, bool):
        left = round(expires * 1000)
    else:
        raise InvalidOptionError(
            f"apply_async of {task_id!r}: expires={expires!r:.60} is neither seconds nor a date"
        )
    return left - wait_ms if left > wait_ms else OVER


def _duration_ms(task_id: str, options: Mapping[str, Any]) -> int | None:
    """Return the smaller of the two time limits: an attempt is stopped by one limit."""
    limits = [options[name] for name in LIMITS if name in options]
    for limit in limits:
        if isinstance(limit, bool) or not isinstance(limit, int | float) or limit <= 0:
            raise InvalidOptionError(
                f"apply_async of {task_id!r}: a time limit of {limit!r:.60} is no number of seconds"
            )
    return round(min(limits) * 1000) if limits else None
