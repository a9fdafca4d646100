"""`trigger-celery worker`: Celery's worker with our pool, and Celery's options passed on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.cli.conftest import Program
from tests.waiting import wait_until
from trigger_celery.bridge.worker_command import ASYNCIO_POOL, choose_pool
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import keys
from trigger_celery.engine.querying import WorkerState, list_workers
from trigger_celery.store.store import Store

APP = """
from celery import Celery
from trigger_celery import task
app = Celery("shop")
@task(id="where")
def where(payload):
    return payload
"""


@pytest.mark.parametrize(
    ("conf", "option", "pool", "concurrency", "name"),
    [
        ({}, None, ASYNCIO_POOL, 100, "asyncio"),
        ({}, "asyncio", ASYNCIO_POOL, 100, "asyncio"),
        ({"worker_concurrency": 7}, None, ASYNCIO_POOL, 7, "asyncio"),
        ({}, "prefork", "prefork", None, "prefork"),
        ({"worker_pool": "threads"}, None, "threads", None, "threads"),
        ({"worker_pool": "threads"}, "asyncio", ASYNCIO_POOL, 100, "asyncio"),
        ({"worker_pool": ASYNCIO_POOL}, "solo", "solo", None, "solo"),
        ({"worker_pool": ASYNCIO_POOL}, None, ASYNCIO_POOL, 100, "asyncio"),
    ],
)
def test_the_pool(
    app: Celery,
    conf: dict[str, Any],
    option: str | None,
    pool: str,
    concurrency: int | None,
    name: str,
) -> None:
    app.conf.update(conf)
    assert choose_pool(app, option) == name
    assert app.conf.worker_pool == pool
    assert app.conf.worker_concurrency == concurrency


class Worker:
    """`trigger-celery worker` as a process, in an environment of its own."""

    def __init__(self, folder: Path, env: dict[str, str], *arguments: str) -> None:
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trigger_celery.cli", "worker", "-A", "shop", *arguments],
                cwd=folder,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )


@pytest.fixture
def environment_of_worker(
    tmp_path: Path, server: EmbeddedServer, bare_environment: dict[str, str]
) -> dict[str, str]:
    (tmp_path / "shop.py").write_text(APP)
    return {**bare_environment, "TRIGGER_REDIS_URL": server.url, "TRIGGER_PROJECT": "workers"}


@pytest.fixture
def workers(server: EmbeddedServer) -> Iterator[Any]:
    store = Store(server.url, keys.scope("workers", "dev"))

    def alive() -> list[WorkerState]:
        return [one for one in store.run_sync(list_workers(store.scope)) if one.alive]

    yield alive
    store.close()


@pytest.mark.processes
@pytest.mark.parametrize("pool", [None, "prefork", "threads", "solo"])
def test_a_worker(
    tmp_path: Path,
    environment_of_worker: dict[str, str],
    workers: Any,
    program: Program,
    pool: str | None,
) -> None:
    # The broker is not configured: it is the server of the store.
    options = ["-c", "2", "-Qcelery,nights", "-l", "info", "-E", "-n", f"{pool}@%h"]
    options += [] if pool is None else ["--machines", "large-1x, micro"]
    options += [
        "--without-mingle",
        "--prefetch-multiplier=2",
        *([] if pool is None else ["-P", pool]),
    ]
    worker = Worker(tmp_path, environment_of_worker, *options)
    try:
        (state,) = wait_until(workers, "the worker is there", timeout=30)
        assert state.hostname.startswith(f"{pool}@")
        assert set(state.worker_queues) == {"celery", "nights"}
        assert state.info.get("machines", []) == ([] if pool is None else ["large-1x", "micro"])
        assert state.tasks == ("where",)
        answer = program("trigger", "where", '"here"', "--wait", "-q", env=environment_of_worker)
        assert (answer.returncode, answer.stdout) == (0, "here\n"), (tmp_path / "log").read_text()
    finally:
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(30) == 0
    assert not workers()


def test_celery_refuses_options_it_does_not_have(
    program: Program, environment_of_worker: dict[str, str]
) -> None:
    result = program("worker", "-A", "shop", "--no-such-option", "x", env=environment_of_worker)
    assert result.returncode == 2
    assert "--no-such-option" in result.stderr or "Unable to parse" in result.stderr


def test_a_machine_that_there_is_not(
    program: Program, environment_of_worker: dict[str, str]
) -> None:
    options = ("-A", "shop", "--machines", "large-1x,huge")
    result = program("worker", *options, env=environment_of_worker)
    assert result.returncode == 2
    assert "machine='huge' is no preset" in result.stderr


def test_detach_is_refused(program: Program, environment_of_worker: dict[str, str]) -> None:
    result = program("worker", "-A", "shop", "--detach", env=environment_of_worker)
    assert result.returncode == 2
    assert "stays in the foreground" in result.stderr
