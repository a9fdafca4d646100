"""Maximum durations, shared waits, attempts after waits, and what is not repeated."""

from __future__ import annotations

import pytest

from tests.waiting import wait_until
from tests.worker.waits.test_programs import waits
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, wait

pytestmark = pytest.mark.processes


@pytest.mark.usefixtures("side_by_side")
def test_maximum_durations_count_what_is_active(shared: Deployment) -> None:
    """All at once, because they take five seconds."""
    too_long = shared.trigger("active", {"seconds": 60})
    waiting = shared.trigger("active", {"waits": 2, "wait": 2.8, "seconds": 0.2})
    short = shared.trigger("work", {"seconds": 60}, max_duration=5)
    parent = shared.trigger(
        "judge", {"task": "work", "payload": {"seconds": 60}, "options": {"max_duration": "5s"}}
    )
    assert shared.wait(waiting, timeout=20).output == "in time"
    for run in (too_long, short):
        ended = shared.wait(run)
        assert (ended.status, ended.attempt_count) == (RunStatus.TIMED_OUT, 1)
        assert ended.error is not None
        assert ended.error.code == "MAX_DURATION_EXCEEDED"
    result = shared.wait(parent).output
    assert (result["ok"], result["error"]["code"]) == (False, "MAX_DURATION_EXCEEDED")


def test_two_runs_wait_for_the_same_moment_with_the_same_key(shared: Deployment) -> None:
    key = f"moment-{len(shared.ledger())}"
    first = shared.trigger("keyed", {"seconds": 0.6, "key": key})
    waits(shared, first)
    second = shared.trigger("keyed", {"seconds": 3600, "key": key})
    waits(shared, second)
    assert shared.wait_all([first, second], timeout=5) == {"COMPLETED": 2}
    ended = [shared.ledger(run, "went on")[0].at for run in (first, second)]
    assert abs(ended[0] - ended[1]) < 0.5


def test_keys_have_scopes(shared: Deployment) -> None:
    runs = [shared.run("scopes") for _ in range(2)]
    ((a1, a2), (b1, b2)) = [
        [entry.more["keys"] for entry in shared.ledger(run.id, "keys")] for run in runs
    ]
    assert a1["default"] == a1["run"] == a2["run"] != b1["run"]
    assert len({key["attempt"] for key in (a1, a2, b1, b2)}) == 4
    assert len({key["global"] for key in (a1, a2, b1, b2)}) == 1


def test_a_new_attempt_makes_new_children_and_repeats_no_step(shared: Deployment) -> None:
    run = shared.run("again", {})
    assert (run.status, run.output, run.attempt_count) == (RunStatus.COMPLETED, [15, 3], 3)
    assert len(shared.ledger(run.id, "step price")) == 1
    children = [entry.more["child"] for entry in shared.ledger(run.id, "attempt")]
    assert len(set(children)) == 3
    assert [shared.get(child).output for child in children] == [1, 2, 3]


def test_a_step_that_raised_is_executed_again(shared: Deployment) -> None:
    run = shared.run("steps-fail")
    assert (run.output, run.attempt_count) == (7, 2)
    assert len(shared.ledger(run.id, "shaky")) == 2


def test_abort_after_a_wait_is_not_retried(shared: Deployment) -> None:
    run = shared.run("abort-after-wait")
    assert (run.status, run.attempt_count) == (RunStatus.FAILED, 1)


def test_log_lines_before_a_wait_are_not_repeated(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("talking", token.id)
    waits(shared, run)
    wait.complete_token(token).sync()
    assert shared.wait(run).output == "done"
    log = shared.workers[0].log
    wait_until(
        lambda: shared.workers[0].log.count("said after the wait") == 1, "the log is written"
    )
    assert log.count("said before the wait") == 1
