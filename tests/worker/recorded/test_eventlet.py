"""Eventlet's pool: old tasks as before, recorded; runs are refused, and it says so."""

from __future__ import annotations

import signal
from importlib.util import find_spec

import pytest

from tests.worker.recorded.conftest import MODULE, OldProject

pytestmark = [
    pytest.mark.processes,
    # To import it would make forks of this process warn.
    pytest.mark.skipif(find_spec("eventlet") is None, reason="eventlet is not installed"),
]


def test_old_tasks_are_executed_and_recorded_and_runs_are_refused(alone: OldProject) -> None:
    deployment = alone.deployment
    worker = deployment.start_worker("eventlet", 4, module=MODULE, wait=False)
    waiting = deployment.trigger("new", {"y": 2})
    added = alone.send("add", 1, 2)

    assert alone.app.AsyncResult(added).get(timeout=60) == 3
    assert alone.status(added, "COMPLETED").output == 3
    tried = alone.run("flaky", 1, 0.01, attempts=2)
    assert [attempt.number for attempt in tried.attempts] == [1, 2]
    assert alone.run("fail", "no luck", status="FAILED").error.message == "no luck"

    assert "the eventlet pool executes no runs: those of celery stay" in worker.log
    assert deployment.sessions() == {}
    assert deployment.status(waiting) == "PENDING_VERSION"
    worker.signal(signal.SIGTERM)
    assert worker.wait(30) == 0
