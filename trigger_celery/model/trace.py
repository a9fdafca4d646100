"""The trace of OpenTelemetry that a run belongs to, as it stands in the run's record."""

from __future__ import annotations

import json
from collections.abc import Mapping


def trace_text(carrier: Mapping[str, str]) -> str:
    """Return the headers of a trace as text: a bare traceparent, or JSON where there is more."""
    if carrier.keys() == {"traceparent"}:
        return carrier["traceparent"]
    return json.dumps(dict(carrier), separators=(",", ":")) if carrier else ""


def carrier_of(text: str) -> Mapping[str, str]:
    """Return the headers that a text stands for."""
    if not text:
        return {}
    found: dict[str, str] = json.loads(text) if text.startswith("{") else {"traceparent": text}
    return found
