"""Checks of trigger options that say when a run counts: ttl, debounce, idempotency key; and of labels.

Each check returns the value in the form the engine stores, or raises an error that says what was
given, what is allowed, and what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypedDict, get_args

from trigger_celery.errors import InvalidDurationError, InvalidOptionError, closest
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.task_options import MAX_IDEMPOTENCY_KEY

MAX_DEBOUNCE_KEY: Final = 512
MIN_DEBOUNCE_MS: Final = 1000
MAX_VERSION: Final = 128

Mode = Literal["leading", "trailing"]
MODES: Final[tuple[str, ...]] = get_args(Mode)

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*").fullmatch
_BROKEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search


class _DebounceRequired(TypedDict):
    key: str
    delay: str | int | float | timedelta


class DebounceOptions(_DebounceRequired, total=False):
    """The option `debounce` of a trigger."""

    mode: Mode
    max_delay: str | int | float | timedelta


@dataclass(frozen=True, slots=True)
class Debounce:
    """A checked `debounce`: times in ms."""

    key: str
    delay_ms: int
    trailing: bool = False
    max_delay_ms: int | None = None


_DEBOUNCE: Final = ("key", "delay", "mode", "max_delay")


def check_debounce(value: object) -> Debounce:
    """Return a debounce. Raises InvalidOptionError, InvalidDurationError."""
    example = "debounce={'key': 'user-42', 'delay': '5s'}"
    if not isinstance(value, Mapping):
        raise InvalidOptionError(f"debounce={_shown(value)} is not a dict; write {example}")
    for word in value:
        if word not in _DEBOUNCE:
            raise InvalidOptionError(
                f"debounce has no {word!r}.{closest(str(word), _DEBOUNCE)} It has "
                f"{', '.join(_DEBOUNCE)}: {example}"
            )
    for word in _DEBOUNCE[:2]:
        if value.get(word) is None:
            raise InvalidOptionError(f"debounce={_shown(dict(value))} lacks {word!r}: {example}")
    mode = "leading" if value.get("mode") is None else value["mode"]
    if mode not in MODES:
        raise InvalidOptionError(
            f"debounce mode={_shown(mode)} is not one of {', '.join(MODES)}."
            f"{closest(str(mode), MODES)} leading keeps the first call's payload, trailing the last's"
        )
    delay = parse_duration(value["delay"], name="debounce delay")
    if delay < MIN_DEBOUNCE_MS:
        raise InvalidOptionError(
            f"debounce delay={value['delay']!r} is under the minimum of 1 second"
        )
    longest = value.get("max_delay")
    most = None if longest is None else parse_duration(longest, name="debounce max_delay")
    if most is not None and most <= delay:
        raise InvalidOptionError(
            f"debounce max_delay={longest!r} is not longer than delay={value['delay']!r}"
        )
    return Debounce(_debounce_key(value["key"]), delay, mode == "trailing", most)


def _debounce_key(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= MAX_DEBOUNCE_KEY:
        raise InvalidOptionError(
            f"debounce key={_shown(key)} is not text of 1 to {MAX_DEBOUNCE_KEY} characters"
        )
    if _BROKEN(key):
        raise InvalidOptionError(f"debounce key={_shown(key)} has a control character")
    return str(key)


def check_ttl(value: object) -> int:
    """Return a TTL in ms: a duration or whole seconds; 0 is no TTL. Raises InvalidDurationError."""
    if isinstance(value, float):
        raise InvalidDurationError(
            f"ttl={value!r} is not a duration such as '10m' nor a whole number of seconds"
        )
    ms = parse_duration(value, name="ttl")  # type: ignore[arg-type]
    if ms % 1000:
        raise InvalidDurationError(f"ttl={value!r} is not a whole number of seconds")
    return ms


def check_version(value: object) -> str:
    """Return the label of a version, such as `20260821.1`. Raises InvalidOptionError."""
    if isinstance(value, str) and len(value) <= MAX_VERSION and _VERSION(value):
        return str(value)
    raise InvalidOptionError(
        f"version={_shown(value)} is not a version such as '20260821.1': 1 to {MAX_VERSION} "
        "letters, digits, '.', '_', '-', '/' and '+'"
    )


def check_test(value: object) -> bool:
    """Return whether a run is a test. Raises InvalidOptionError."""
    if isinstance(value, bool):
        return value
    raise InvalidOptionError(f"test={_shown(value)} is neither True nor False")


def key_parts(key: object) -> list[str]:
    """Return the parts of an idempotency key as it is written. Raises InvalidOptionError."""
    parts: Sequence[Any] | None = None
    if isinstance(key, str):
        parts = [key]
    elif isinstance(key, Sequence) and not isinstance(key, bytes | bytearray):
        parts = key
    if parts is None or not all(type(part) is int or isinstance(part, str) for part in parts):
        raise InvalidOptionError(
            f"idempotency_key={_shown(key)} is not text, nor a list of texts and whole numbers"
        )
    texts = [str(part) for part in parts]
    if not 0 < sum(map(len, texts)) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidOptionError(
            f"an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY:,} characters: {_shown(key)}"
        )
    if any(map(_surrogate, texts)):
        raise InvalidOptionError(f"idempotency_key={_shown(key)} has a lone surrogate: not text")
    return texts


_surrogate: Final = re.compile(r"[\ud800-\udfff]").search


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
