"""The example project in `examples/django_shop`, for real: a web client, a worker, a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source import ROOT
from tests.contrib import postgres
from tests.worker.workers import WorkerProcess
from trigger_celery.dev.embedded import EmbeddedServer

PROJECT = ROOT / "examples" / "django_shop"
KINDS = [("sqlite", "asyncio"), ("sqlite", "prefork"), ("postgresql", "asyncio")]


@dataclass(frozen=True)
class Project:
    database: str
    pool: str
    environment: dict[str, str]
    seen: dict[str, Any]
    ledger: list[str]


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def environment_of(server: EmbeddedServer, folder: Path, database_url: str) -> dict[str, str]:
    unset = ("TRIGGER_", "CELERY_", "DATABASE_URL", "DJANGO_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    return kept | {
        "PYTHONPATH": f"{PROJECT}{os.pathsep}{ROOT}",
        "PYTHONWARNINGS": "ignore",
        "DJANGO_SETTINGS_MODULE": "tests.contrib.probes.settings",
        "CELERY_BROKER_URL": server.broker_url,
        "SQLITE_FILE": str(folder / "db.sqlite3"),
        "DATABASE_URL": database_url,
        "PROBE_LEDGER": str(folder / "ledger"),
    }


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def project(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    server_binary: str | None,
) -> Iterator[Project]:
    """The project with a worker, and all that a web client saw of it."""
    database, pool = request.param
    if database == "postgresql" and (reason := postgres.missing()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer(binary=server_binary))
        url = stack.enter_context(postgres.postgres()) if database == "postgresql" else ""
        environment = environment_of(server, folder, url)
        command = [
            *(sys.executable, str(PROJECT / "manage.py"), "trigger", "worker"),
            *("--pool", pool, "--concurrency", "3", "--loglevel", "info", "--hostname", "w1@shop"),
            *("--without-gossip", "--without-mingle"),
        ]
        worker = WorkerProcess(command, environment, folder / "worker.log")
        stack.callback(worker.end)
        # It begins while the worker starts: what it triggers waits.
        client = subprocess.run(
            [sys.executable, "-m", "tests.contrib.probes.client"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert client.returncode == 0, f"{client.stderr}\n{worker.log}"
        seen = json.loads(client.stdout.splitlines()[-1])
        lines = (folder / "ledger").read_text().splitlines()
        yield Project(database, pool, environment, seen, lines)
        worker.terminate(40)


pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


def test_a_view_triggers_and_another_tells_how_it_goes(project: Project):
    assert project.seen["the_shop"] == {
        "status": 202,
        "progress": {
            "order": "fulfilled",
            "run": "COMPLETED",
            "progress": "label bought",
            "output": {"label": "label for ann"},
        },
        "receipt": {"status": "COMPLETED", "output": "receipt for ann"},
        "unknown": 404,
        "tags": True,
    }


def test_attempts_begin_without_old_connections(project: Project):
    seen = project.seen["connections"]
    if project.database == "sqlite":  # the example keeps connections to a server open for a minute
        assert (seen["sync"], seen["async"]) == ([True, True], [True, True])
    assert seen["after a cut"] == [True, True]
    assert seen["cut in a wait"] is True


def test_a_run_that_is_executed_again_triggers_once(project: Project):
    assert project.seen["replays"] == {"is_first": False, "children": True, "outputs": [1, 1]}


def test_a_batch_is_made_at_the_commit(project: Project):
    assert project.seen["commits"] == {"early": False, "outputs": [1, 1], "undone": False}


def test_hooks_use_the_database(project: Project):
    assert project.seen["cancels"] == {"told": 1}


def test_results_of_django_tasks_have_every_field(project: Project):
    seen = project.seen["django_tasks"]
    every = ["enqueued_at", "finished_at", "last_attempted_at", "started_at"]
    assert {tuple(one["filled"]) for one in seen.values() if "filled" in one} == {tuple(every)}
    assert all(one["in order"] for one in seen.values() if "filled" in one)
    assert all(one["workers"] == ["w1@shop"] for one in seen.values() if "filled" in one)

    receipt, fails = seen["receipt"], seen["fails"]
    assert (receipt["status"], receipt["output"], receipt["attempts"]) == (
        "SUCCESSFUL", "receipt for ann", 1,
    )  # fmt: skip
    assert (fails["status"], fails["attempts"]) == ("FAILED", 2)
    assert (fails["errors"], fails["traced"]) == (["builtins.LookupError"] * 2, True)
    assert fails["retried"]
    assert seen["context"]["output"] == [5, 1, seen["context"]["id"], 1, -7]
    assert seen["async"]["output"] == 6


def test_signals_of_django_tasks_are_sent_by_the_worker(project: Project):
    seen = project.seen["django_tasks"]

    def told(run: str) -> list[str]:
        return [line.replace(run, "") for line in project.ledger if run in line]

    assert told(seen["async"]["id"]) == ["started  RUNNING 1 0", "finished  SUCCESSFUL 1 0"]
    assert told(seen["fails"]["id"]) == [
        "started  RUNNING 1 0",
        "started  RUNNING 2 1",
        "finished  FAILED 2 2",
    ]


def test_manage_py_has_our_commands(project: Project):
    if (project.database, project.pool) != KINDS[0]:
        pytest.skip("looked at once")
    listed = manage(project.environment, "trigger", "runs", "list", "--task", "child", "--json")
    assert listed.returncode == 0, listed.stderr
    assert '"task_identifier": "child"' in listed.stdout
