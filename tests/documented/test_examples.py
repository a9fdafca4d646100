"""Every example of the documentation that the names come from, executed by a real worker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import httpx
import pytest

from tests.documented.adaptations import ADAPTATIONS, BLOCKS, CALLERS, PROJECT, load
from tests.driving import Clock
from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery import LogLine, Run, runs, schedules, tasks, wait
from trigger_celery.engine import scheduling, sessions

pytestmark = pytest.mark.processes

OLD_FORM = "ignore:.*form of earlier versions:DeprecationWarning"
MINUTE = 60_000
T = TypeVar("T")


def pass_time(worker: Deployment, ms: int) -> None:
    """Let time pass; what is due by then is fired here, without waiting for the worker."""
    Clock(worker.client, worker.scope).advance(ms)
    worker.binding.store.run_sync(sessions.fire_timers(worker.scope, 100, 86_400_000))


def until_waiting(worker: Deployment, *ids: str) -> None:
    wait_until(lambda: {worker.status(run) for run in ids} == {"WAITING"}, "the runs wait")


def said(run: Run | str, message: str) -> LogLine:
    """Return the one line of the run's log with this message."""
    [line] = [line for line in runs.logs(run) if line.message == message]
    return line


def call(worker: Deployment, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Call what an example defines in a loop of its own."""

    async def called() -> T:
        try:
            return await asyncio.wait_for(function(*args), 10)
        finally:
            await worker.binding.store.aclose()

    return asyncio.run(called())


def completed(run: Run, output: Any) -> None:
    assert (run.status, run.output) == ("COMPLETED", output), run.error


def failed(run: Run, name: str, message: str) -> None:
    assert run.status == "FAILED"
    assert run.error is not None
    assert (run.error.name, run.error.message) == (name, message)


def test_every_example_is_executed() -> None:
    names = {path.stem for path in BLOCKS.iterdir()}
    assert sorted([*PROJECT, *CALLERS]) == sorted(names)
    assert set(ADAPTATIONS) <= names


def test_old_import(worker: Deployment) -> None:
    old = pytest.warns(DeprecationWarning, match="write from trigger import task")
    with old, pytest.raises(NameError, match="client"):
        load("old_import")


@pytest.mark.parametrize("task", ["hello-world", "descriptive_task_name"])
def test_hello_world_and_basic_structure(worker: Deployment, task: str) -> None:
    run = worker.run(task, {"name": "Ada", "message": "hi"})
    completed(run, {"success": True})
    assert said(run, "Task started").attributes == {"payload": {"name": "Ada", "message": "hi"}}


def test_payloads_as_typed_dict_and_as_pydantic_model(worker: Deployment) -> None:
    completed(worker.run("my-task", {"param1": 21, "param2": "x"}), {"result": 42})
    completed(worker.run("my-task-pydantic", {"param1": 4, "param2": "x"}), {"result": 8})
    bad = worker.run("my-task-pydantic", {"param1": "four"})
    assert bad.status == "FAILED"
    assert bad.error is not None
    assert bad.error.name == "ValidationError"


def test_database(worker: Deployment) -> None:
    query = "SELECT * FROM your_function($1::SMALLINT)"
    completed(worker.run("sql", 7), [{"query": query, "args": [7]}])
    found = worker.run("result-handling", {"rows": [[["id", 1]]], "team": 7})
    completed(found, [{"id": 1}])
    assert said(found, "Found 1 rows").attributes == {"team_id": 7}
    nothing = worker.run("result-handling", {"rows": [], "team": 7})
    completed(nothing, [])
    assert said(nothing, "No results found").level == "warn"
    bad = worker.run("database-error", {"team": 7})
    failed(bad, "PostgresError", "no such function")
    line = said(bad, "Database query failed")
    assert line.attributes == {
        "error": "no such function",
        "error_type": "PostgresError",
        "team_id": 7,
    }
    assert "PostgresError: no such function" in (line.exception or "")


def test_logging_takes_keys_that_logging_refuses(worker: Deployment) -> None:
    payload = {"message": "m", "name": "n", "args": [1], "levelname": "x"}
    run = worker.run("logging-example", payload)
    completed(run, None)
    assert [
        (line.level, line.message, line.attributes)
        for line in runs.logs(run)
        if line.source == "logger"
    ] == [
        ("debug", "Debug message", payload),
        ("info", "Info message", {"data": payload}),
        ("warn", "You've been warned", payload),
        ("error", "Error message", {"error": "details"}),
    ]


def test_errors(worker: Deployment) -> None:
    completed(worker.run("validated-task", {"param1": 1}), {"status": "ok"})
    invalid = worker.run("validated-task", {})
    failed(invalid, "ValueError", "Missing `param1` in payload")
    assert said(invalid, "Validation error").level == "error"
    risky = worker.run("risky-operation", {"id": 1})
    failed(risky, "ConnectionError", "no route to host")
    line = said(risky, "Operation failed")
    assert line.attributes == {
        "message": "no route to host",
        "error_type": "ConnectionError",
        "context": {"id": 1},
    }
    assert "ConnectionError" in (line.exception or "")


def test_lifecycle_hooks(worker: Deployment) -> None:
    completed(worker.run("my-task-hooks", {"fails": False}), {"status": "completed"})
    run = worker.run("my-task-hooks", {"fails": True})
    failed(run, "AssertionError", "as told")
    assert said(run, "Task ultimately failed").attributes == {
        "error": "as told",
        "payload": {"fails": True},
    }


def test_the_configuration_counts_for_every_task(worker: Deployment) -> None:
    good = worker.run("hello-world", {})
    bad = worker.run("validated-task", {})
    assert [line.message for line in runs.logs(good) if line.source == "print"] == [
        "Task started: hello-world",
        "Task succeeded: hello-world",
    ]
    assert [line.message for line in runs.logs(bad) if line.source == "print"] == [
        "Task started: validated-task",
        "Task failed: validated-task",
    ]


@pytest.mark.filterwarnings("ignore:PrismaInstrumentation:UserWarning", OLD_FORM)
@pytest.mark.filterwarnings("ignore:.*default_machine:DeprecationWarning")
def test_what_the_configuration_says(worker: Deployment) -> None:
    config = load("trigger_config").config
    assert (config.project, config.dirs, config.runtime) == (
        "<project-ref>",
        ("./trigger",),
        "python",
    )
    assert config.build["system_packages"] == ["postgresql-client", "ffmpeg"]
    assert {name: config.settings[name] for name in ("machine", "max_duration", "log_level")} == {
        "machine": "large-1x",
        "max_duration": 60,
        "log_level": "info",
    }


def test_waits_for_time_and_idempotent_waits(worker: Deployment) -> None:
    timed = worker.trigger("waits-for-time", {})
    same = [worker.trigger("idempotent-wait", {}) for _ in range(2)]
    until_waiting(worker, timed, *same)
    pass_time(worker, MINUTE // 2)
    assert worker.wait_all(same) == {"COMPLETED": 2}
    completed(worker.run("idempotent-wait", {}), "waited")  # its key has been waited for
    [first] = runs.list(task="waits-for-time").sync()
    assert not first.is_completed
    until_waiting(worker, timed)
    pass_time(worker, 2 * MINUTE)
    completed(worker.wait(timed), "waited")


def its_token(worker: Deployment, run: str) -> str:
    """Return the token of the run that waits, as somebody finds it who was not told."""
    until_waiting(worker, run)
    [token] = wait.list_tokens(status="WAITING").sync()
    return token.id


def test_a_token_is_completed_by_somebody_else(worker: Deployment) -> None:
    run = worker.trigger("wait-token", {})
    assert wait.complete_token(its_token(worker, run), {"status": "approved"}).sync()
    completed(worker.wait(run), {"status": "approved"})


def test_a_token_is_completed_with_what_does_not_fit(worker: Deployment) -> None:
    run = worker.trigger("wait-token", {})
    assert wait.complete_token(its_token(worker, run), {"state": "approved"}).sync()
    ended = worker.wait(run)
    assert ended.status == "FAILED"
    assert ended.error is not None
    assert ended.error.name == "ResultTypeError"


def test_a_token_that_nobody_completes(worker: Deployment) -> None:
    run = worker.trigger("wait-token", {})
    its_token(worker, run)
    pass_time(worker, 11 * MINUTE)
    completed(worker.wait(run), None)
    assert said(run, "Token wait failed").level == "warn"


def test_scheduled_task(worker: Deployment) -> None:
    """The worker has declared it when it started; whatever beat there is fires it."""
    [schedule] = schedules.list(task="first-scheduled-task").sync()
    assert (schedule.type, schedule.cron, schedule.timezone) == (
        "DECLARATIVE", "0 */2 * * *", "UTC",
    )  # fmt: skip
    pass_time(worker, 120 * MINUTE)
    place = partial(worker.binding.placement, None)
    worker.binding.store.run_sync(scheduling.fire_due(worker.scope, place, 86_400_000))
    [found] = runs.list(schedule=schedule).sync()
    run = worker.wait(found.id)
    assert run.status == "COMPLETED"
    assert set(run.output) == {"executed_at"}
    assert said(run, "Scheduled task running").level == "info"
    assert run.payload["timestamp"] == schedules.retrieve(schedule).sync().last_run


def test_a_scheduled_task_that_is_triggered_by_hand(worker: Deployment) -> None:
    assert set(worker.run("first-scheduled-task", None).output) == {"executed_at"}


def test_schema_task(worker: Deployment) -> None:
    run = worker.run("my-schema-task", {"name": "Ada", "age": 36})
    completed(run, {"processed": True})
    assert said(run, "Validated user info").attributes == {"name": "Ada", "age": 36}
    bad = worker.run("my-schema-task", {"name": "Ada", "age": "many"})
    assert bad.status == "FAILED"
    assert not [line for line in runs.logs(bad) if line.source == "logger"]


def test_trigger_from_a_server(worker: Deployment) -> None:
    module = load("trigger_from_a_server")
    answer = call(worker, module.trigger_external_task, {"param1": 3, "param2": "x"})
    completed(worker.wait(answer["handle_id"]), {"result": 6})


def test_parent_and_child(worker: Deployment) -> None:
    run = worker.run("parent-task", {})
    children = list(runs.list(task="child-task").sync())
    assert len(children) == 2
    worker.wait_all([child.id for child in children])
    assert {child.machine for child in children} == {"large-1x"}  # as trigger_config says
    result = run.output["child_result"]
    assert result.pop("id") in {child.id for child in children}
    assert result == {
        "ok": True,
        "task_identifier": "child-task",
        "output": {"processed": "some data"},
    }


def test_metadata_and_stream(worker: Deployment) -> None:
    run = worker.trigger("my-task-metadata", {})
    parts = list(runs.subscribe_to_run(run).with_streams())
    chunks = [f"Processing chunk {number}" for number in range(10)]
    assert [part["chunk"] for part in parts if part["type"] == "processing"] == chunks
    ended = worker.wait(run)
    completed(ended, {"ok": True})
    assert ended.metadata == {"progress": 0.1}
    assert [line.message for line in runs.logs(run) if line.source == "logger"] == [
        f"Processed: {chunk}" for chunk in chunks
    ]


def test_subscribe_to_run(worker: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Its loop ends, although it compares statuses in lower case."""
    call(worker, load("subscribe_to_run").observe)
    assert capsys.readouterr().out.splitlines()[-1] == "Run status: COMPLETED"


def test_idempotency_key(worker: Deployment) -> None:
    run = worker.trigger("my-task-idempotency", {})
    until_waiting(worker, run)
    pass_time(worker, 10_000)
    completed(worker.wait(run), {"processed": True})


def test_payload_key(worker: Deployment) -> None:
    payload = {"param1": 1, "param2": "x"}
    key = load("payload_key").create_payload_key(payload)
    assert key == hashlib.sha256(json.dumps(payload).encode()).hexdigest()
    first = tasks.trigger("my-task", payload, idempotency_key=key).sync()
    again = tasks.trigger("my-task", payload, idempotency_key=key).sync()
    assert (again.id, first.is_cached, again.is_cached) == (first.id, False, True)
    completed(worker.wait(first.id), {"result": 2})


def test_gather_context_managers_and_generic_results(worker: Deployment) -> None:
    ids = {"user_id": 1, "team_id": 2, "project_id": 3}
    together = worker.run("concurrent-operations", ids)
    completed(together, {"user": ["user", 1], "team": ["team", 2], "project": ["project", 3]})
    timed = worker.run("timed-task", {})
    completed(timed, {"result": [1, 2]})
    assert [
        line.message
        for line in runs.logs(timed)
        if line.message.startswith("database_query took 0.")
    ]
    typed = worker.run("typed-task", {"items": ["a", "b"]})
    completed(typed, {"data": ["A", "B"], "metadata": {"processed_count": 2}})


def test_testing_a_task(worker: Deployment) -> None:
    asyncio.run(load("testing_a_task").test_my_task())


def test_environment_variables(worker: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = worker.run("env-aware-task", {})
    completed(run, {"status": "configured"})
    assert said(run, "Task configured").attributes == {"max_retries": 5}
    monkeypatch.delenv("API_KEY")
    without = load("environment_variables").env_aware_task
    with pytest.raises(ValueError, match="API_KEY environment variable not set"):
        asyncio.run(without.run({}))


class Api(BaseHTTPRequestHandler):
    """Answers what a server of runs answers."""

    def do_GET(self) -> None:
        allowed = self.headers["authorization"] == "Bearer tr_dev_1"
        body = json.dumps({"data": [{"id": "run_1"}], "path": self.path}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output to itself."""


def test_api_request(worker: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("TRIGGER_API_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TRIGGER_SECRET_KEY", "tr_dev_1")
        module = load("api_request")
        assert asyncio.run(module.list_runs()) == {
            "data": [{"id": "run_1"}],
            "path": "/api/v1/runs",
        }
        monkeypatch.setenv("TRIGGER_SECRET_KEY", "another")
        with pytest.raises(httpx.HTTPStatusError):
            asyncio.run(module.list_runs())
        server.shutdown()
