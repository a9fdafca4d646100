"""Tasks of workers that write their spans and metrics to a file, for `test_traces.py`."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from tests.worker.app_tasks import QUICK, app
from trigger_celery import logger, task, tasks, wait

__all__ = ["app"]

_FILE = os.open(os.environ["TEST_LEDGER"] + ".spans", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


class FileExporter(SpanExporter):
    """One line a span, written whole."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            os.write(_FILE, (span.to_json(indent=None) + "\n").encode())
        return SpanExportResult.SUCCESS


_READER = InMemoryMetricReader()
_PROVIDER = TracerProvider()
_PROVIDER.add_span_processor(SimpleSpanProcessor(FileExporter()))
trace.set_tracer_provider(_PROVIDER)
metrics.set_meter_provider(MeterProvider(metric_readers=[_READER]))


GRANDCHILDREN: list[Any] = [
    {"payload": number, "options": {"delay": timedelta(milliseconds=100)}} for number in range(2)
]
"""Not done before their parent waits for them, however busy the machine is."""


@task(id="traced-child")
async def child(payload: Any) -> Any:
    with trace.get_tracer("shop").start_as_current_span("own span"):
        return await tasks.trigger_and_wait("traced-grandchild", payload).unwrap()


@task(id="traced-grandchild")
def grandchild(payload: Any) -> Any:
    return payload


def hook(ctx: Any) -> None:
    """Be called."""


@task(id="traced", retry=QUICK, init=hook, on_start_attempt=hook, on_success=hook)
async def traced(payload: str, ctx: Any) -> Any:
    if ctx.attempt.number == 1:
        raise ValueError("the first attempt fails")
    await tasks.trigger("traced-grandchild", "not waited for")
    found = await tasks.trigger_and_wait("traced-child", 1).unwrap()
    await tasks.batch_trigger_and_wait("traced-grandchild", GRANDCHILDREN)
    await wait.for_token(payload)
    logger.trace("part", lambda: None)
    return found


@task(id="traced-sync", retry=QUICK, init=hook, on_start_attempt=hook, on_success=hook)
def traced_sync(payload: str, ctx: Any) -> Any:
    if ctx.attempt.number == 1:
        raise ValueError("the first attempt fails")
    tasks.trigger("traced-grandchild", "not waited for").sync()
    found = tasks.trigger_and_wait("traced-child", 1).unwrap().sync()
    tasks.batch_trigger_and_wait("traced-grandchild", GRANDCHILDREN).sync()
    wait.for_token(payload).sync()
    logger.trace("part", lambda: None)
    return found


@task(id="instrument-celery")
def instrument_celery(payload: bool) -> None:
    """Switch the official instrumentation on or off in this process."""
    CeleryInstrumentor().instrument() if payload else CeleryInstrumentor().uninstrument()


@task(id="metrics")
def read_metrics(payload: Any) -> Any:
    """Return what this process has counted."""
    found = json.loads(_READER.get_metrics_data().to_json())  # type: ignore[union-attr]
    return {
        metric["name"]: metric["data"]["data_points"]
        for resource in found["resource_metrics"]
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
    }
