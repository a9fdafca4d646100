"""Between spans and the text in a run's record, by the propagators that the process has."""

from __future__ import annotations

import logging

from opentelemetry import propagate, trace
from opentelemetry.context import Context

from trigger_celery.model.trace import carrier_of, trace_text

MAX_TEXT = 4096
"""Characters; what baggage makes longer is cut to the trace itself."""

logger = logging.getLogger("trigger_celery")


def text_of(span: trace.Span) -> str:
    """Return the trace for what *span* sends: its runs are children of it."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context=trace.set_span_in_context(span))
    text = trace_text(carrier)
    if len(text) <= MAX_TEXT:
        return text
    logger.warning(
        "the baggage of a trace has %d characters and is not passed on to runs",
        len(text),
        extra={"action": "baggage_dropped"},
    )
    return carrier.get("traceparent", "")


def context_of(text: str) -> Context:
    """Return the context that a text stands for: spans begun in it are children of the trigger."""
    return propagate.extract(carrier_of(text), context=Context())
