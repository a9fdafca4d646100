"""Moments as readers of JSON see them."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(at: datetime) -> str:
    """Return an aware moment as ISO 8601 in UTC, with `Z` for the zone."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
