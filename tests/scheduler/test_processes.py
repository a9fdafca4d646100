"""Real beats: `trigger-celery beat`, and one in a worker. That of `dev` is in tests/dev."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redbeat import RedBeatSchedulerEntry

from tests.scheduler.beat_processes import MODULE, Beats
from tests.waiting import wait_until
from trigger_celery.model.run import Run

pytestmark = pytest.mark.processes

STATIC = {
    "beat_schedule": {"static": {"task": "sent", "schedule": 1.0, "args": ["static"]}},
    "redbeat_key_prefix": "redbeat:",  # it configures RedBeat, so RedBeat's own entries are looked for
}


@pytest.fixture
def beats(tmp_path: Path, server_binary: str | None) -> Iterator[Beats]:
    made = Beats(tmp_path, binary=server_binary)
    made.app.conf.redbeat_redis_url = made.server.url
    yield made
    print(made.logs())
    made.close()


def save_own_entry(beats: Beats) -> None:
    """Save an entry as users of RedBeat do; it is overdue."""
    own = RedBeatSchedulerEntry("own", "sent", 3600, args=["own"], app=beats.app)
    own.last_run_at = datetime(2020, 1, 1, tzinfo=UTC)
    own.save()


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def payloads(beats: Beats, task: str = "sent") -> set[str]:
    return {beats.get(run).payload for run in beats.run_ids(task)}


def everything_fires(beats: Beats, more: str = "tick") -> None:
    """A schedule of ours, an entry of `beat_schedule` and one of RedBeat's own."""
    save_own_entry(beats)
    wait_until(lambda: payloads(beats) >= {"static", "own"}, "RedBeat's entries", timeout=20)
    beats.to_the_next_minute()
    beats.wait_for_runs(1, more)


def test_a_beat_of_its_own(beats: Beats) -> None:
    beats.to_the_next_minute(late=1000)
    beats.schedule()
    beat = beats.start_beat(conf=STATIC, program="trigger_celery.cli")
    everything_fires(beats)
    assert beat.terminate() == 0
    assert not beats.client.exists("redbeat::lock"), "another need not wait for its lock"


def test_a_worker_with_a_beat_in_it(beats: Beats) -> None:
    """The bound app needs no -S. Runs of a schedule that the code declares are executed, too."""
    beats.to_the_next_minute(late=1000)
    worker = beats.start_worker(module=MODULE, arguments=("-B",), conf=STATIC)
    (beat,) = worker.children()
    everything_fires(beats, "declared")
    (run,) = beats.run_ids("declared")
    done: Run = beats.wait(run)
    assert done.status == "COMPLETED"
    assert done.output == datetime.fromisoformat(done.payload["timestamp"].isoformat()).isoformat()
    assert beats.run("sent", "by hand").output == "by hand"
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: ended(beat), "the beat ends with its worker")
    assert not beats.client.exists("redbeat::lock")
    second = beats.start_worker(module=MODULE, arguments=("-B",), conf=STATIC)
    (beat,) = second.children()
    beats.to_the_next_minute()
    beats.wait_for_runs(2, "declared")
    assert second.terminate() == 0
    assert ended(beat)
    assert not beats.client.exists("redbeat::lock")
    assert "Traceback" not in second.log
