"""A tree of runs is one trace: triggers, attempts, retries, waits, replays; and it is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, tasks, wait
from trigger_celery.engine import keys

pytestmark = pytest.mark.processes

MODULE = "tests.worker.traced_tasks"
KINDS = ("", "-sync")
Span = dict[str, Any]


@pytest.fixture(scope="module", params=["asyncio", "prefork"])
def farm(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    server_binary: str | None,
) -> Iterator[Deployment]:
    """A worker that exports its spans."""
    made = Deployment(tmp_path_factory.mktemp(request.param), binary=server_binary, wait_hold=0.2)
    made.start_worker(request.param, 2, module=MODULE)
    yield made
    print(made.logs())
    made.close()


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """This process is traced, too, like a web application that triggers."""
    memory, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return memory


def spans(deployment: Deployment, trace_id: str = "") -> list[Span]:
    lines = Path(f"{deployment.ledger_path}.spans").read_text().splitlines()
    return [span for line in lines if trace_id in (span := json.loads(line))["context"]["trace_id"]]


def of_name(found: list[Span], name: str) -> list[Span]:
    return [span for span in found if span["name"] == name]


def parents(found: list[Span]) -> dict[str, Span]:
    return {span["context"]["span_id"]: span for span in found}


def trigger_in_a_request(
    deployment: Deployment, exporter: InMemorySpanExporter, task: str, payload: Any
) -> tuple[str, str]:
    """Trigger as a traced web view does; returns the run and the id of the trace."""
    deployment.binding._telemetry = None  # a binding keeps what it found
    exporter.clear()
    with trace.get_tracer("web").start_as_current_span("POST /orders") as request:
        run = deployment.trigger(task, payload)
    sent, _ = exporter.get_finished_spans()
    assert sent.parent is not None
    assert (sent.name, sent.parent.span_id) == (f"send {task}", request.get_span_context().span_id)
    assert dict(sent.attributes or {})["trigger.run.id"] == run
    return run, f"{request.get_span_context().trace_id:032x}"


def finished(deployment: Deployment, trace_id: str, name: str) -> list[Span]:
    """Return the spans of a trace once the attempts that completed, or were evicted, wrote theirs."""

    def written() -> list[Span] | None:
        found = spans(deployment, trace_id)
        attempts = [span["attributes"] for span in of_name(found, name)]
        outcomes = Counter(attempt["trigger.attempt.outcome"] for attempt in attempts)
        replays = sum(bool(attempt["trigger.attempt.replayed"]) for attempt in attempts)
        return found if outcomes["completed"] and outcomes["evicted"] == replays else None

    return wait_until(written, "the last span is written")


@pytest.mark.parametrize("kind", KINDS)
def test_parent_child_wait_and_retry_are_one_trace(
    farm: Deployment, exporter: InMemorySpanExporter, kind: str
) -> None:
    token = wait.create_token().sync()
    run, trace_id = trigger_in_a_request(farm, exporter, f"traced{kind}", token.id)
    wait_until(
        lambda: (
            farm.status(run) == "WAITING"
            and farm.client.scard(keys.key(farm.scope, "waiters", token.id))
        ),
        "it waits for the token",
    )
    if "prefork" in str(farm.folder) and kind:
        record = keys.key(farm.scope, "run", run)
        wait_until(lambda: not farm.client.hexists(record, "owner"), "its memory is given up")
    wait.complete_token(token, None).sync()
    ended = farm.wait(run)
    assert (ended.status, ended.output, ended.attempt_count) == (RunStatus.COMPLETED, 1, 2)
    found = finished(farm, trace_id, f"process traced{kind}")
    attempts = of_name(found, f"process traced{kind}")
    sent = f"0x{exporter.get_finished_spans()[0].get_span_context().span_id:016x}"
    assert {span["parent_id"] for span in attempts} == {sent}
    assert all(span["kind"] == "SpanKind.CONSUMER" for span in attempts)
    outcomes = Counter(span["attributes"]["trigger.attempt.outcome"] for span in attempts)
    replays = [span for span in attempts if span["attributes"]["trigger.attempt.replayed"]]
    assert (outcomes["retried"], outcomes["completed"]) == (1, 1)
    assert outcomes["evicted"] == len(replays)
    assert bool(replays) or "asyncio" in str(farm.folder) or not kind
    failed = next(s for s in attempts if s["attributes"]["trigger.attempt.outcome"] == "retried")
    assert failed["status"]["status_code"] == "ERROR"
    assert failed["attributes"]["error.type"] == "ValueError"
    assert failed["attributes"]["trigger.retry.delay_ms"] == 20
    assert failed["events"][0]["attributes"]["exception.message"] == "the first attempt fails"
    if replays:
        assert any(event["name"] == "resumed after wait" for event in replays[-1]["events"])
    by_id = parents(found)

    def above(span: Span) -> list[str]:
        names = []
        while (span := by_id.get(span["parent_id"] or "")) is not None:  # type: ignore[assignment]
            names.append(span["name"])
        return names

    [child] = {span["parent_id"] for span in of_name(found, "process traced-child")}
    assert above(of_name(found, "process traced-child")[0]) == [
        "send traced-child",
        f"process traced{kind}",
    ]
    assert by_id[child]["kind"] == "SpanKind.PRODUCER"
    grand = {tuple(above(span)) for span in of_name(found, "process traced-grandchild")}
    assert grand == {
        ("send traced-grandchild", "own span", *above(of_name(found, "own span")[0])),
        ("send traced-grandchild", f"process traced{kind}"),
    }
    sends = of_name(found, "send traced-grandchild")
    assert len(sends) == 3, "replays send nothing again"
    assert [s["attributes"].get("messaging.batch.message_count") for s in sends].count(2) == 1
    waits = {span["name"] for span in found if span["name"].startswith("wait ")}
    assert waits == {"wait task", "wait batch", "wait token"}
    for hook, count in (("init", 2 + len(replays)), ("on_start_attempt", 2), ("on_success", 1)):
        called = of_name(found, f"hook {hook}")
        assert len(called) == count
        assert all(
            span["parent_id"] in {s["context"]["span_id"] for s in attempts} for span in called
        )
    own = of_name(found, "part")
    assert len(own) == 1
    assert by_id[own[0]["parent_id"]]["name"] == f"process traced{kind}"


def test_numbers_of_a_worker(farm: Deployment) -> None:
    if "asyncio" not in str(farm.folder):
        pytest.skip("each process of the pool counts for itself")
    farm.run("traced-grandchild", 1)
    found = farm.run("metrics").output
    task = {"trigger.task.id": "traced-grandchild"}

    def points(name: str, **wanted: str) -> list[Any]:
        wanted = {**task, **{f"trigger.{key.replace('_', '.')}": v for key, v in wanted.items()}}
        return [point for point in found[name] if wanted.items() <= point["attributes"].items()]

    assert points("trigger.run.started")[0]["value"] >= 1
    assert points("trigger.run.finished", run_status="COMPLETED")[0]["value"] >= 1
    assert points("trigger.attempt.duration", attempt_outcome="completed")[0]["count"] >= 1
    assert 0 <= points("trigger.run.queue_time")[0]["min"] < 10
    assert points("trigger.attempt.active")[0]["value"] == 0


def test_without_telemetry_a_record_has_nothing_of_it(farm: Deployment) -> None:
    farm.binding._telemetry = None
    run = tasks.trigger("traced-grandchild", 1).sync().id
    assert farm.client.hget(keys.key(farm.scope, "run", run), "links") is None
    farm.wait(run)


def test_celerys_own_instrumentation_makes_the_attempts_span(
    farm: Deployment, exporter: InMemorySpanExporter
) -> None:
    """With both there is one span an attempt, with what each knows."""
    if "asyncio" not in str(farm.folder):
        pytest.skip("it is switched on in one process")
    token = wait.create_token().sync()
    wait.complete_token(token, None).sync()
    farm.run("instrument-celery", True)
    try:
        run, trace_id = trigger_in_a_request(farm, exporter, "traced", token.id)
        assert farm.wait(run).status is RunStatus.COMPLETED
        found = finished(farm, trace_id, "run/traced")
    finally:
        farm.run("instrument-celery", False)
    assert not of_name(found, "process traced")
    attempts = of_name(found, "run/traced")
    outcomes = {s["attributes"]["trigger.attempt.outcome"]: s for s in attempts}
    assert (sorted(outcomes), len(attempts)) == (["completed", "retried"], 2)
    assert outcomes["retried"]["attributes"]["celery.task_name"] == "traced"
    assert outcomes["retried"]["status"]["status_code"] == "ERROR"
    assert {span["attributes"]["messaging.destination.name"] for span in attempts} == {
        "task/traced"
    }
    by_id = parents(found)
    child = of_name(found, "run/traced-child")[0]
    assert by_id[by_id[child["parent_id"]]["parent_id"]]["name"] == "run/traced"
