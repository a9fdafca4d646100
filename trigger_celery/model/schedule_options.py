"""Checks of what schedules are made with. Each raises an error that says what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from trigger_celery.errors import InvalidCronError, InvalidOptionError, UnknownOptionError, closest
from trigger_celery.model.cron import Cron, parse_cron
from trigger_celery.model.schedule import (
    CATCH_UPS,
    MAX_CATCH_UP,
    MAX_DEDUPLICATION_KEY,
    MAX_EXTERNAL_ID,
    CatchUp,
    CronOptions,
)

INTERVALS: Final = frozenset({"interval", "every", "schedule", "run_every"})
"""What a schedule of Celery's may be called, for which there is a cron here."""
EVERY: Final = "every 5 minutes is cron='*/5 * * * *'"
_BROKEN: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]").search
_EXAMPLE: Final = "'0 9 * * 1-5' or {'pattern': '0 9 * * 1-5', 'timezone': 'Europe/Berlin'}"


_CRON: Final = tuple(CronOptions.__annotations__)
_KINDS: Final[Mapping[str, str]] = {
    "DEVELOPMENT": "DEVELOPMENT",
    "DEV": "DEVELOPMENT",
    "STAGING": "STAGING",
    "STG": "STAGING",
    "PRODUCTION": "PRODUCTION",
    "PROD": "PRODUCTION",
    "PREVIEW": "PREVIEW",
}


def check_cron(
    value: object, timezone: object = None, *, what: str
) -> tuple[Cron, tuple[str, ...] | None]:
    """Return a cron in its zone, and the environments it names, None when it does not.

    Raises InvalidCronError, InvalidOptionError.
    """
    if value is None:
        raise InvalidCronError(f"{what} needs a cron: {_EXAMPLE}")
    environments: tuple[str, ...] | None = None
    pattern = value
    if isinstance(value, Mapping):
        for word in value:
            if word not in _CRON:
                raise InvalidOptionError(
                    f"{what}: cron has no {word!r}.{closest(str(word), _CRON)} It has "
                    f"{', '.join(_CRON)}"
                )
        if "pattern" not in value:
            raise InvalidCronError(f"{what}: cron={dict(value)!r:.60} lacks a pattern: {_EXAMPLE}")
        if timezone is not None and value.get("timezone") not in (None, timezone):
            raise InvalidOptionError(
                f"{what}: the time zone is {value['timezone']!r} in cron and {timezone!r} beside it"
            )
        pattern = value["pattern"]
        if value.get("timezone") is not None:
            timezone = value["timezone"]
        if value.get("environments") is not None:
            environments = _check_environments(value["environments"], what)
    elif not isinstance(value, str):
        raise InvalidCronError(f"{what}: cron={value!r:.60} is no cron pattern: {_EXAMPLE}")
    zone = "UTC" if timezone is None else timezone
    return parse_cron(cast("str", pattern), cast("str", zone)), environments


def _check_environments(value: object, what: str) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, list | tuple | set | frozenset) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InvalidOptionError(
            f"{what}: environments={value!r:.60} is not a list of names such as "
            "['PRODUCTION', 'STAGING'], or of what the setting env says"
        )
    return names


def is_meant(environments: Iterable[str], env: str, kind: str) -> bool:
    """Whether an environment is among those named; *kind*: what kind it is, as PRODUCTION."""
    return any(
        name.lower() == env.lower() or _KINDS.get(name.upper()) == kind for name in environments
    )


def check_catch_up(policy: object, limit: object) -> tuple[CatchUp, int]:
    """Return what follows an outage: the policy, and at most how many runs. Raises InvalidOptionError."""
    if policy not in CATCH_UPS:
        raise InvalidOptionError(
            f"catch_up={policy!r:.60} is not one of {', '.join(CATCH_UPS)}."
            f"{closest(str(policy), CATCH_UPS)} After an outage, none makes up for no occurrence, "
            "latest for the last one, and all for every one, up to catch_up_limit."
        )
    if type(limit) is not int or not 1 <= limit <= MAX_CATCH_UP:
        raise InvalidOptionError(
            f"catch_up_limit={limit!r:.60} is not a whole number from 1 to {MAX_CATCH_UP:,}"
        )
    return cast("CatchUp", policy), limit


def check_deduplication_key(value: object) -> str:
    """Return a deduplication key. Raises InvalidOptionError."""
    if value is None:
        raise InvalidOptionError(
            "schedules.create needs a deduplication_key, such as 'user-42-reminder': creating again "
            "with the same key updates the schedule instead of making another"
        )
    return _text(value, "deduplication_key", MAX_DEDUPLICATION_KEY)


def check_external_id(value: object) -> str | None:
    """Return an external id. Raises InvalidOptionError."""
    return None if value is None else _text(value, "external_id", MAX_EXTERNAL_ID)


def _text(value: object, name: str, limit: int) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidOptionError(f"{name}={value!r:.60} is not text of 1 to {limit} characters")
    if len(value) > limit:
        raise InvalidOptionError(
            f"{name}={value!r:.40} has {len(value)} characters; the limit is {limit}"
        )
    if _BROKEN(value):
        raise InvalidOptionError(
            f"{name}={value!r:.60} has a control character or a lone surrogate"
        )
    return str(value)


def refuse_options(given: Mapping[str, Any], what: str, known: Iterable[str]) -> None:
    """Refuse options that there are not. Raises UnknownOptionError."""
    for word in given:
        if word in INTERVALS:
            raise UnknownOptionError(
                f"{what} takes a cron and no {word}: {EVERY}. For "
                "anything that is not on the clock, trigger the task with a delay."
            )
        raise UnknownOptionError(
            f"{what} has no option {word!r}.{closest(word, known)} Options: {', '.join(known)}."
        )
