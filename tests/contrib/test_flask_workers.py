"""Runs of a Flask app in real workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worker.workers import Deployment


@pytest.mark.processes
@pytest.mark.parametrize("pool", ["asyncio", "prefork"])
def test_every_attempt_has_a_context_of_its_own(
    pool: str, tmp_path: Path, server_binary: str | None
) -> None:
    deployment = Deployment(tmp_path, binary=server_binary)
    try:
        deployment.start_worker(pool, 1, module="tests.contrib.flask_tasks")
        for task, expected in (("sync", ["us", False]), ("async", ["us", False, "us"])):
            for _ in range(2):
                run = deployment.run(task)
                assert (str(run.status), run.output) == ("COMPLETED", expected), run.error
        for _ in range(2):
            assert deployment.app.send_task("plain").get(timeout=20) == ["us", False]
        assert "on_success of run" not in deployment.logs()
    finally:
        print(deployment.logs())
        deployment.close()
