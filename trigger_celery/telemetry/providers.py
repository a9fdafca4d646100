"""The providers of this process: those that are there, or made for a project's exporters."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import warnings
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as metrics_api

from trigger_celery.errors import ConfigurationError
from trigger_celery.model.telemetry_options import TelemetryOptions

logger = logging.getLogger("trigger_celery")

_lock = threading.Lock()
_used: list[Any] = []
"""Exporters and instrumentations that are in use: settings may be read again."""


_environment_read: list[bool] = []


def present() -> bool:
    """Whether somebody set a provider: the API's own stand-ins record nothing.

    Asked for each run. So the API, which reads the environment each time, is asked once, and then
    its variables are looked at.
    """
    if (
        _environment_read
        and getattr(trace, "_TRACER_PROVIDER", trace) is None
        and getattr(metrics_api, "_METER_PROVIDER", trace) is None
    ):
        return False
    _environment_read[:] = [True]
    spans = type(trace.get_tracer_provider()).__module__
    meters = type(metrics.get_meter_provider()).__module__
    return not (
        spans.startswith("opentelemetry.trace") and meters.startswith("opentelemetry.metrics")
    )


def set_up(options: TelemetryOptions) -> None:
    """Do what the options say, once in a process. Raises ConfigurationError without the SDK."""
    if not (options.enabled or options.instrumentations):
        return
    with _lock:
        spans, numbers = _fresh(options.exporters), _fresh(options.metric_exporters)
        logs, instrumentations = _fresh(options.log_exporters), _fresh(options.instrumentations)
        if (spans or numbers or logs) and importlib.util.find_spec("opentelemetry.sdk") is None:
            raise ConfigurationError(
                "exporters of telemetry need OpenTelemetry's SDK: "
                "pip install 'trigger-celery[otel]'"
            )
        if spans:
            _export_spans(spans)
        if numbers:
            _export_metrics(numbers)
        if logs:
            _export_logs(logs)
        for one in instrumentations:
            _instrument(one)
        _used.extend((*spans, *numbers, *logs, *instrumentations))


def _fresh(given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(one for one in given if not any(one is used for used in _used))


def _export_spans(exporters: tuple[Any, ...]) -> None:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider: Any = trace.get_tracer_provider()
    if not hasattr(provider, "add_span_processor"):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    for exporter in exporters:
        processes = isinstance(exporter, SpanProcessor)
        provider.add_span_processor(exporter if processes else BatchSpanProcessor(exporter))


def _export_metrics(exporters: tuple[Any, ...]) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader

    if isinstance(metrics.get_meter_provider(), MeterProvider):
        logger.warning(
            "metric_exporters are not used: the process has a meter provider, whose readers are "
            "given when it is made",
            extra={"action": "metric_exporters_dropped"},
        )
        return
    readers = [
        one if isinstance(one, MetricReader) else PeriodicExportingMetricReader(one)
        for one in exporters
    ]
    metrics.set_meter_provider(MeterProvider(metric_readers=readers))


def _export_logs(exporters: tuple[Any, ...]) -> None:
    """Send what Python's logging hears to the exporters too."""
    from opentelemetry import _logs
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider: Any = _logs.get_logger_provider()
    if not hasattr(provider, "add_log_record_processor"):
        provider = LoggerProvider()
        _logs.set_logger_provider(provider)
    for exporter in exporters:
        is_processor = hasattr(exporter, "on_emit")
        provider.add_log_record_processor(
            exporter if is_processor else BatchLogRecordProcessor(exporter)
        )
    logging.getLogger().addHandler(_log_handler(provider))


def _log_handler(provider: Any) -> logging.Handler:
    """Return OpenTelemetry's handler: of its instrumentation of logging, or the older of the SDK."""
    try:
        from opentelemetry.instrumentation.logging.handler import LoggingHandler
    except ImportError:
        from opentelemetry.sdk._logs import LoggingHandler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        handler: logging.Handler = LoggingHandler(logger_provider=provider)
    return handler


def _instrument(one: Any) -> None:
    """Switch an instrumentation on; one that fails must not keep runs from working."""
    if getattr(one, "is_instrumented_by_opentelemetry", False):
        return
    try:
        one.instrument()
    except Exception:
        logger.exception(
            "the instrumentation %s failed",
            type(one).__name__,
            extra={"action": "instrumentation_failed"},
        )


def flush() -> None:
    """Send what is still waiting to be exported; for the end of a process."""
    present: list[Any] = [trace.get_tracer_provider(), metrics.get_meter_provider()]
    if "opentelemetry._logs" in sys.modules:
        present.append(sys.modules["opentelemetry._logs"].get_logger_provider())
    for provider in present:
        force = getattr(provider, "force_flush", None)
        if force is not None:
            force(3000)
