"""What a run told before its worker died is there for its next attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment

pytestmark = pytest.mark.processes

MODULE = "tests.worker.progress_tasks"


def test_what_was_flushed_survives_the_death_of_the_worker(
    deployment: Deployment, tmp_path: Path
) -> None:
    worker = deployment.start_worker(module=MODULE, worker_lease=1)
    run = deployment.trigger("dies", {"gate": str(tmp_path / "never")}, metadata={"a": 1})
    deployment.wait_for("flushed", run)
    worker.kill()
    assert deployment.get(run).metadata == {"a": 1, "attempts": 1}
    deployment.start_worker(module=MODULE, worker_lease=1)
    wait_until(lambda: deployment.status(run) == "COMPLETED", "it is done", timeout=30)
    found = deployment.get(run)
    assert found.output == found.metadata == {"a": 1, "attempts": 2}
