"""`trigger.instrumentation`: instrumentations that the documentation of earlier versions names."""

from __future__ import annotations

from typing import Any

from trigger_celery.bridge.old_forms import warn_of_old_form


class PrismaInstrumentation:
    """Stands in `telemetry={"instrumentations": […]}`, and instruments nothing: it warns.

    Prisma's client for Python has no instrumentation. Give the OpenTelemetry instrumentation of
    the library that talks to the database, such as `AsyncPGInstrumentor()`.
    """

    is_instrumented_by_opentelemetry = True  # leaves nothing to switch on

    def __init__(self, **options: Any) -> None:
        warn_of_old_form(
            "PrismaInstrumentation instruments nothing in Python: give the OpenTelemetry "
            "instrumentation of your database library instead, for example "
            "telemetry={'instrumentations': [AsyncPGInstrumentor()]}",
            UserWarning,
        )
