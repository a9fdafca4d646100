"""Runs replay others, alone and many at a time; workers carry bulk actions out."""

from __future__ import annotations

import pytest

from tests.worker.workers import Deployment
from trigger_celery import runs

pytestmark = pytest.mark.processes


def test_runs_are_replayed_from_a_run_once_each(shared: Deployment) -> None:
    """The run that replays waits, and is executed again on pools that cannot keep it."""
    original = shared.run("echo", {"n": 1})
    run = shared.run("repeats", original.id)
    (one, other, later), action = run.output
    done = runs.bulk.poll(action, timeout="15s").sync()
    assert (done.status, done.success_count, done.failure_count) == ("COMPLETED", 1, 0)
    (many,) = [copy.id for copy in runs.list(bulk_action=action)]
    copies = {
        copy.id: shared.wait(copy.id)
        for copy in runs.list(task="echo", limit=100)
        if copy.is_replay
    }
    mine = {name: copy for name, copy in copies.items() if copy.replayed_from == original.id}
    assert set(mine) == {one, other, later, many}
    assert {name: copy.output for name, copy in mine.items()} == {
        one: {"n": 1}, other: "other", later: {"n": 1}, many: {"n": 1},
    }  # fmt: skip
    assert {copy.parent_id for copy in mine.values()} == {None}
    copy = runs.replay(run.id).sync()
    assert shared.wait(copy.id).output == run.id
