"""Times as Celery gives them: seconds, moments, texts; what has no time zone is UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def in_utc(given: Any) -> Any:
    """Return a moment or an ISO text with a time zone; anything else as it is."""
    moment = given
    if isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given)
        except ValueError:
            return given
    if isinstance(moment, datetime) and moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment


def due_in(eta: Any) -> str:
    """Return how many ms from now a message is due; '' for now."""
    if not eta:
        return ""
    return str(max(0, round((in_utc(eta) - datetime.now(UTC)).total_seconds() * 1000)))


def delay_of(when: Any) -> str:
    """Return the ms until a retry, which Celery knows as seconds or as a moment."""
    if isinstance(when, int | float):
        return str(max(0, round(when * 1000)))
    return due_in(when) or "0"
