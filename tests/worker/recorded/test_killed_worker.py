"""What becomes of an old task whose worker dies without a word."""

from __future__ import annotations

import pytest

from tests.worker.recorded.conftest import MODULE, OldProject

pytestmark = pytest.mark.processes


def test_a_worker_that_was_killed_leaves_a_run_that_says_so(alone: OldProject) -> None:
    """Its message is not delivered again: acknowledged when it was begun."""
    made = alone.deployment
    worker = made.start_worker("solo", 1, module=MODULE, worker_lease=2)
    task_id = alone.send("nap", 600)
    run = alone.status(task_id, "EXECUTING")
    worker.kill()
    made.start_worker("solo", 1, module=MODULE, worker_lease=2)
    crashed = alone.status(task_id, "CRASHED")
    assert crashed.id == run.id
    assert crashed.error is not None
    assert crashed.error.code == "TASK_RUN_WORKER_SILENT"
    assert crashed.attempts[0].note == "presumed lost"
