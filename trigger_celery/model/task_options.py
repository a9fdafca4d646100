"""Checks of what users write into task definitions and triggers, and the limits behind them.

Each check returns the value in the form the engine stores, or raises an error that says what was
given, what is allowed, and what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from math import isfinite
from typing import Any, Final

from trigger_celery.errors import (
    DefinitionError,
    InvalidOptionError,
    InvalidQueueError,
    InvalidTagsError,
    MetadataTooLargeError,
)
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.packet import encode_json
from trigger_celery.model.retry import MAX_ATTEMPTS

MAX_TAGS: Final = 10
MAX_TAG_LENGTH: Final = 128
MAX_METADATA_BYTES: Final = 256 * 1024
MAX_BATCH: Final = 1000
MAX_QUEUE_NAME: Final = 128
MAX_CONCURRENCY_LIMIT: Final = 100_000
MAX_CONCURRENCY_KEY: Final = 512
MAX_QUEUE_SIZE: Final = 10**9
MAX_TASK_ID: Final = 128
MAX_PRIORITY_SECONDS: Final = 10**9
MIN_DURATION_MS: Final = 5000
MAX_IDEMPOTENCY_KEY: Final = 2048

_BAD_NAME_CHARACTER: Final = re.compile(r"[^A-Za-z0-9._/-]").search
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]").search
_NAME_CHARACTERS: Final = "letters A-Z a-z, digits, '.', '_', '-' and '/'"


def check_task_id(task_id: object) -> str:
    """Return a task id that is fit to be a name: 1 to 128 of `A-Za-z0-9._/-`."""
    return _name(task_id, "Task id", MAX_TASK_ID, DefinitionError)


def check_queue_name(name: object) -> str:
    """Return a queue name that is fit to be one: 1 to 128 of `A-Za-z0-9._/-`.

    Other characters are refused, not removed: two names never become one queue.
    """
    return _name(name, "Queue name", MAX_QUEUE_NAME, InvalidQueueError)


def check_concurrency_limit(value: object) -> int | None:
    """Return the limit of a queue: None for no limit of its own, 0 to start nothing."""
    span = 0, MAX_CONCURRENCY_LIMIT
    no_limit = "no limit, for example concurrency_limit=4"
    return _whole_number("concurrency_limit", value, span, "limit", no_limit)


def check_total_limit(value: object) -> int | None:
    """Return the limit of a queue over all its concurrency keys: None for none."""
    span = 0, MAX_CONCURRENCY_LIMIT
    return _whole_number("total_concurrency_limit", value, span, "limit", "no limit over all keys")


def check_size_limit(value: object) -> int | None:
    """Return how many runs may wait in a queue: None for the setting `queue_size_limit`."""
    of_setting = "that of the setting queue_size_limit"
    return _whole_number("size_limit", value, (1, MAX_QUEUE_SIZE), "size", of_setting)


def _whole_number(
    name: str, value: object, span: tuple[int, int], kind: str, none: str
) -> int | None:
    if value is None:
        return None
    least, most = span
    if type(value) is not int or not least <= value <= most:
        raise InvalidQueueError(
            f"{name}={_shown(value)} is not a {kind}: pass a whole number from {least} to "
            f"{most:,}, or None for {none}."
        )
    return value


def check_tags(value: object) -> tuple[str, ...]:
    """Return the tags in their order, each once. None is no tags, a text is one tag."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (bytes, dict)) or not isinstance(value, Iterable):
        raise InvalidTagsError(
            f"tags={_shown(value)} is not a tag or a list of tags; for example tags=['user:42']."
        )
    tags = tuple(dict.fromkeys(_tag(tag) for tag in value))
    if len(tags) > MAX_TAGS:
        raise InvalidTagsError(
            f"{len(tags)} tags are given; a run has at most {MAX_TAGS}. "
            f"Put what you do not filter by into metadata."
        )
    return tags


def _tag(tag: object) -> str:
    if not isinstance(tag, str):
        raise InvalidTagsError(f"The tag {_shown(tag)} is of type {type(tag).__name__}, not text.")
    if not tag:
        raise InvalidTagsError("A tag is empty; leave it out or give it text such as 'user:42'.")
    if len(tag) > MAX_TAG_LENGTH:
        raise InvalidTagsError(
            f"The tag {_shown(tag)} has {len(tag)} characters; the limit is {MAX_TAG_LENGTH}."
        )
    if _CONTROL(tag):
        raise InvalidTagsError(f"The tag {_shown(tag)} has a control character.")
    if _SURROGATE(tag):
        raise InvalidTagsError(f"The tag {_shown(tag)} has a lone surrogate: not valid text.")
    return str(tag)


def check_metadata(value: object) -> str:
    """Return metadata as JSON text. It must be a dict of JSON values of at most 256 KB.

    Dates, sets and decimals are refused rather than turned into text behind your back.
    """
    if not isinstance(value, dict):
        raise InvalidOptionError(
            f"metadata must be a dict such as {{'progress': 0}}, not {type(value).__name__}."
        )
    return encode_json(
        value,
        limit=MAX_METADATA_BYTES,
        error=InvalidOptionError,
        too_large=MetadataTooLargeError,
        what="metadata",
    )


def check_priority(value: object) -> int:
    """Return a priority, given in seconds, as milliseconds. May be negative or fractional."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not -MAX_PRIORITY_SECONDS <= value <= MAX_PRIORITY_SECONDS
    ):
        raise InvalidOptionError(
            f"priority={_shown(value)} is not a number of seconds from -10^9 to 10^9. "
            f"priority=10 lets a run overtake what was queued in the last 10 seconds."
        )
    return round(value * 1000)


def check_concurrency_key(value: object) -> str | None:
    """Return a concurrency key as text; None is no key. Numbers become text, 7.0 becomes '7'."""
    if value is None:
        return None
    if isinstance(value, float) and isfinite(value):
        value = int(value) if value.is_integer() else repr(float(value))
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < 1024:
        value = str(int(value))
    if not isinstance(value, str):
        raise InvalidOptionError(
            f"concurrency_key={_shown(value)} is of type {type(value).__name__}; pass text or a "
            f"number that names what to limit, for example concurrency_key=user.id."
        )
    problem = (
        "is empty; pass None for no key"
        if not value
        else f"has {len(value)} characters; the limit is {MAX_CONCURRENCY_KEY}"
        if len(value) > MAX_CONCURRENCY_KEY
        else "has a control character"
        if _CONTROL(value)
        else "has a lone surrogate: not valid text"
        if _SURROGATE(value)
        else None
    )
    if problem:
        raise InvalidOptionError(f"concurrency_key={_shown(value)} {problem}.")
    return str(value)


def check_max_attempts(value: object) -> int:
    """Return the number of attempts, the first one counted, from 1 to 250."""
    if type(value) is not int or not 1 <= value <= MAX_ATTEMPTS:
        raise InvalidOptionError(
            f"max_attempts={_shown(value)} is not a whole number from 1 to {MAX_ATTEMPTS}. "
            f"The first attempt counts: max_attempts=1 never retries."
        )
    return value


def check_max_duration(value: object) -> int:
    """Return the active time an attempt may take, in ms: seconds or a duration, at least 5 s."""
    ms = parse_duration(value, name="max_duration")  # type: ignore[arg-type]
    if ms < MIN_DURATION_MS:
        raise InvalidOptionError(
            f"max_duration={_shown(value)} is under the minimum of {MIN_DURATION_MS // 1000} seconds"
        )
    return ms


def check_idempotency_key(key: str | None) -> str:
    """Return a key as it is stored; none is an empty text. Raises InvalidOptionError."""
    if key is None:
        return ""
    if not 0 < len(str(key)) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidOptionError(
            f"idempotency_key={key!r:.60} is not text of 1 to {MAX_IDEMPOTENCY_KEY:,} characters; make one "
            "with idempotency_keys.create"
        )
    return key


def check_idempotency_ttl(
    ttl: str | float | timedelta | None, otherwise: int, key: object = ""
) -> int:
    """Return how long a *key* counts, in ms. Raises InvalidDurationError.

    And InvalidOptionError when there is no key.
    """
    if ttl is None:
        return otherwise
    if key is None:
        raise InvalidOptionError(
            f"idempotency_key_ttl={ttl!r} says how long an idempotency_key counts, and there is "
            "none: pass idempotency_key=…, or leave both out"
        )
    ms = parse_duration(ttl, name="idempotency_key_ttl")
    if ms <= 0:
        raise InvalidOptionError(f"idempotency_key_ttl={ttl!r} is no time at all")
    return ms


def _name(value: object, what: str, limit: int, error: type[Exception]) -> str:
    if not isinstance(value, str):
        raise error(f"{what} must be text, not {type(value).__name__}: {_shown(value)}.")
    if not value:
        raise error(f"{what} is empty; use {_NAME_CHARACTERS}.")
    if bad := _BAD_NAME_CHARACTER(value):
        raise error(
            f"{what} {_shown(value)} has the character {bad.group()!r}; "
            f"allowed are {_NAME_CHARACTERS}."
        )
    if len(value) > limit:
        raise error(f"{what} {_shown(value)} has {len(value)} characters; the limit is {limit}.")
    return str(value)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "…"
