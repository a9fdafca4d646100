"""Other people's tools next to runs: Sentry sees one error, Flower one task a run."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rabbitmq import free_port
from tests.waiting import wait_until
from tests.worker.test_celery_side import listening
from tests.worker.workers import ROOT, Deployment

pytest.importorskip("sentry_sdk")
pytest.importorskip("flower")
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sentry") / "sent"


@pytest.fixture(scope="module", params=["asyncio", "prefork"])
def shared(
    request: pytest.FixtureRequest,
    sent: Path,
    tmp_path_factory: pytest.TempPathFactory,
    server_binary: str | None,
) -> Iterator[Deployment]:
    """A worker with Sentry that sends events."""
    sent.write_text("")
    made = Deployment(tmp_path_factory.mktemp("watched"), binary=server_binary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_SENTRY", str(sent))
        made.start_worker(
            request.param, 2, module="tests.worker.watched_tasks", arguments=("-E",), fork=False
        )
    yield made
    print(made.logs())
    made.close()


def told(sent: Path, task_id: str, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, sent.read_text().splitlines())
    return [line for line in lines if line["id"] == task_id and line["kind"] == kind]


@pytest.mark.parametrize("kind", ["", "-sync"])
def test_sentry_hears_of_a_failed_run_once(shared: Deployment, sent: Path, kind: str) -> None:
    good = shared.run(f"echo{kind}", 1)
    run = shared.run(f"fail{kind}", {"what": "bad luck"}, max_attempts=2)
    assert run.status == "FAILED"
    wait_until(lambda: len(told(sent, run.id, "transaction")) >= 2, "its transactions")
    errors = told(sent, run.id, "event")
    assert [(one["task"], one["errors"][-1]) for one in errors] == [(f"fail{kind}", "bad luck")]
    assert not told(sent, good.id, "event")
    attempts = told(sent, run.id, "transaction")
    assert [one["status"] for one in attempts] == ["aborted", "internal_error"]


def test_sentry_hears_of_a_failed_plain_task_once(shared: Deployment, sent: Path) -> None:
    result = shared.app.send_task("plain-fail", ignore_result=False)
    with pytest.raises(ValueError, match="plain luck"):
        result.get(timeout=20)
    wait_until(lambda: told(sent, result.id, "transaction"), "its transaction")
    assert [one["errors"] for one in told(sent, result.id, "event")] == [["plain luck"]]


def test_celery_s_own_state_of_events_fits_the_records(shared: Deployment) -> None:
    with listening(shared) as listener:
        good = shared.run("describe", 1)
        tried = shared.run("fail-sync", {"what": "no", "until": 1})
        bad = shared.run("fail", {"what": "abort"})
        for run, last in ((good, "succeeded"), (tried, "succeeded"), (bad, "failed")):
            listener.wait_for(run.id, f"task-{last}")
    state = shared.app.events.State()
    for event in listener.events:
        state.event(event)
    seen = [state.tasks[run.id] for run in (good, tried, bad)]
    assert [(task.name, task.state, task.retries) for task in seen] == [
        ("describe", "SUCCESS", 0),
        ("fail-sync", "SUCCESS", 1),
        ("fail", "FAILURE", 0),
    ]
    assert {task.worker.hostname for task in seen} == {good.output["host"]}
    assert all(task.received <= task.started <= task.timestamp for task in seen)
    assert "enough" in seen[2].exception


@pytest.mark.parametrize("shared", ["asyncio"], indirect=True)
def test_flower_lists_each_run_once(shared: Deployment, sent: Path) -> None:
    port = free_port()
    environment = {**shared.environment(), "FLOWER_UNAUTHENTICATED_API": "true"}
    environment["TEST_SENTRY"] = f"{sent}-flower"
    command = [sys.executable, "-m", "celery", "-A", "tests.worker.watched_tasks", "flower"]
    with (shared.folder / "flower.log").open("wb") as log:
        flower = subprocess.Popen(
            [*command, "--address=127.0.0.1", f"--port={port}"],
            env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    ids: list[str] = []

    def listed() -> dict[str, Any]:
        assert flower.poll() is None, (shared.folder / "flower.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/tasks", timeout=5) as reply:
                tasks: dict[str, Any] = json.load(reply)
        except OSError:
            return {}
        # It hears of what happens from its start on: of one run perhaps the end only, without a name.
        ended = {run: task for run, task in tasks.items() if task["state"] == "SUCCESS"}
        whole = {run: task for run, task in ended.items() if task["name"]}
        if not whole:
            ids.append(shared.run("echo", 1).id)
        return whole

    try:
        found = wait_until(listed, "Flower lists a run", timeout=60, interval=0.2)
        assert set(found) <= set(ids)
        assert {task["name"] for task in found.values()} == {"echo"}
    finally:
        flower.kill()
        flower.wait(10)
