"""A token as its readers see it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from trigger_celery.model.instant import iso
from trigger_celery.model.status import Status


class TokenStatus(Status):
    """Where a token is in its life; equal to its own name in any letter case."""

    WAITING = "WAITING"  # nobody has completed it and its timeout has not come
    COMPLETED = "COMPLETED"  # somebody completed it
    TIMED_OUT = "TIMED_OUT"  # its timeout came first


@dataclass(frozen=True, slots=True)
class Token:
    """A snapshot of a waitpoint token; reading it again may show another. Times are in UTC.

    `is_cached` is true when creating it found one that its idempotency key names.
    """

    id: str
    status: TokenStatus = TokenStatus.WAITING
    is_cached: bool = False
    output: Any = None
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    timeout_at: datetime | None = None
    completed_at: datetime | None = None
    idempotency_key: str | None = None
    idempotency_key_expires_at: datetime | None = None

    @property
    def data(self) -> Any:
        """The output, under the name that `wait.for_token`'s result has for it."""
        return self.output

    def to_dict(self) -> dict[str, Any]:
        """Return the token as JSON-ready values; times are ISO 8601 in UTC."""
        return {field.name: _ready(getattr(self, field.name)) for field in fields(self)}


def _ready(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, TokenStatus):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
