"""Telemetry: when it is on, what a trigger sends, and what the configuration takes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from celery import Celery
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.driving import Engine
from trigger_celery import (
    ConfigurationError,
    SettingsError,
    StoreUnavailableError,
    TriggerCelery,
    batch,
    define_config,
    runs,
    tasks,
)
from trigger_celery.engine import keys
from trigger_celery.engine.codec import read_links


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """This process has a provider."""
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return memory


def trace_of(engine: Engine, run: str) -> str:
    stored = engine.client.hget(keys.key(engine.scope, "run", run), "links")
    return "" if stored is None else read_links(stored.decode())[3]


def test_without_a_provider_nothing_is_made_and_nothing_is_stored(
    trigger: TriggerCelery, engine: Engine
) -> None:
    assert trigger.telemetry is None
    assert trace_of(engine, tasks.trigger("t").sync().id) == ""


def test_a_provider_that_comes_later_counts(
    trigger: TriggerCelery, engine: Engine, exporter: InMemorySpanExporter
) -> None:
    run = tasks.trigger("t").sync().id
    [span] = exporter.get_finished_spans()
    assert span.context is not None
    assert trace_of(engine, run).startswith(f"00-{span.context.trace_id:032x}-")
    assert (span.name, span.kind) == ("send t", trace.SpanKind.PRODUCER)
    assert dict(span.attributes or {}) == {
        "messaging.system": "trigger_celery",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.message.id": run,
        "trigger.run.id": run,
        "trigger.task.id": "t",
    }
    found = runs.retrieve(run).sync()
    assert (found.parent_id, found.root_id, found.depth) == (None, None, 0)


def test_it_can_be_switched_off(
    trigger: TriggerCelery, engine: Engine, exporter: InMemorySpanExporter
) -> None:
    trigger.configure(**trigger.keywords, telemetry=False)
    assert trace_of(engine, tasks.trigger("t").sync().id) == ""
    assert not exporter.get_finished_spans()


def test_a_batch_is_sent_in_one_span(
    trigger: TriggerCelery, engine: Engine, exporter: InMemorySpanExporter
) -> None:
    handle = batch.trigger([{"id": "a"}, {"id": "b"}, {"id": "b"}]).sync()
    [span] = exporter.get_finished_spans()
    assert (span.name, dict(span.attributes or {})["messaging.batch.message_count"]) == (
        "send batch",
        3,
    )
    assert len({trace_of(engine, run.id) for run in handle.runs}) == 1


def test_a_trigger_that_fails_ends_its_span(
    trigger: TriggerCelery, exporter: InMemorySpanExporter
) -> None:
    """And leaves nothing current behind, which would adopt all that follows."""
    trigger.configure(redis_url="redis://127.0.0.1:1/0", store_retry=0.05)
    with pytest.raises(StoreUnavailableError):
        tasks.trigger("t").sync()
    [span] = exporter.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert dict(span.attributes or {})["error.type"] == "StoreUnavailableError"
    assert not trace.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize(("length", "passed_on"), [(20, True), (3000, False)])
def test_baggage_goes_with_the_run_unless_it_is_large(
    trigger: TriggerCelery,
    engine: Engine,
    exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    length: int,
    passed_on: bool,
) -> None:
    more = baggage.set_baggage("tenant", "x" * length)
    token = context.attach(baggage.set_baggage("user", "x" * length, more))
    try:
        run = tasks.trigger("t").sync().id
    finally:
        context.detach(token)
    stored = trace_of(engine, run)
    assert ("tenant" in stored) is passed_on
    assert len(stored) < 200
    dropped = [getattr(record, "action", "") for record in caplog.records]
    assert ("baggage_dropped" in dropped) is not passed_on


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"exporter": []}, "'exporters'?"),
        ({"exporters": "console"}, "exporters expects a list"),
        ("perhaps", "true, false, auto or a dict"),
    ],
)
def test_unfit_settings_are_told(app: Celery, registry: None, value: Any, says: str) -> None:
    bound = TriggerCelery(app, redis_url="redis://localhost:7777", telemetry=value)
    with pytest.raises(SettingsError, match="telemetry") as refused:
        assert bound.settings
    assert says in str(refused.value)


def test_switched_on_without_opentelemetry(
    trigger: TriggerCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    trigger.configure(**trigger.keywords, telemetry=True)
    with pytest.raises(ConfigurationError, match=r"trigger-celery\[otel\]"):
        tasks.trigger("t").sync()


class Recorder:
    """An instrumentation."""

    def __init__(self) -> None:
        self.calls = 0

    def instrument(self) -> None:
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("instrumented twice")


def test_instrumentations_and_exporters_are_used_once(
    trigger: TriggerCelery, exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def instrument(self) -> None:
            raise RuntimeError("does not fit")

    recorder, second = Recorder(), InMemorySpanExporter()
    given = {
        "instrumentations": [recorder, Broken()],
        "exporters": [SimpleSpanProcessor(second)],
    }
    define_config(telemetry=given)
    for _ in range(2):
        trigger.configure()
        tasks.trigger("t").sync()
    assert recorder.calls == 1
    assert [len(one.get_finished_spans()) for one in (exporter, second)] == [2, 2]
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions.count("instrumentation_failed") == 1


def test_exporters_make_the_providers_of_a_process(server: Any) -> None:
    """In a process of its own: providers are set once."""
    program = """
        import logging, sys
        from celery import Celery
        from opentelemetry import metrics, trace
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from trigger_celery import TriggerCelery, tasks

        spans, logs, numbers = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()
        bound = TriggerCelery(
            Celery("shop", broker="memory://"), redis_url=sys.argv[1], project="own",
            telemetry={"exporters": [spans], "log_exporters": [logs], "metric_exporters": [numbers]},
        )
        tasks.trigger("t").sync()
        logging.getLogger("shop").warning("said")
        bound.telemetry.flush()
        print([span.name for span in spans.get_finished_spans()])
        metric = numbers.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0]
        print(metric.name, metric.data.data_points[0].value)
        print("said" in [record.log_record.body for record in logs.get_finished_logs()])
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["['send t']", "trigger.run.triggered 1", "True"], (
        done.stderr
    )
