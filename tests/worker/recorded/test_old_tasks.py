"""Tasks of a Celery project that nobody changed are runs, and everything else stays as it was."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import chain, chord, group

from tests.waiting import wait_until
from tests.worker.recorded.conftest import OldProject
from trigger_celery import runs
from trigger_celery.errors import StateError

pytestmark = pytest.mark.processes


class Odd:
    """Nothing that JSON knows."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.size = 3


def test_a_call_is_a_run_with_payload_output_and_attempt(project: OldProject) -> None:
    result = project.app.send_task("old.add", (2,), {"y": 3})
    assert result.get(timeout=20) == 5
    run = project.status(result.id, "COMPLETED")
    assert (run.recorded, run.celery_task_id, run.task_identifier) == (True, result.id, "old.add")
    assert run.payload == {"args": [2], "kwargs": {"y": 3}}
    assert run.output == 5
    assert (run.queue, run.attempt_count, run.error) == ("celery", 1, None)
    [attempt] = run.attempts
    assert (attempt.number, attempt.worker, attempt.note) == (1, "w1@tests", None)
    assert run.created_at <= run.started_at <= run.finished_at  # type: ignore[operator]
    assert run.id in [one.id for one in runs.list(task="old.add", status="COMPLETED").sync()]


def test_secrets_are_masked_by_name_wherever_they_stand(project: OldProject) -> None:
    run = project.run("charge", "ann", "hunter2", kwargs={"details": {"iban": "DE1", "sum": 5}})
    # The producer does not know the function; the worker that does was not asked first.
    assert run.payload["kwargs"] == {"details": {"iban": "[redacted]", "sum": 5}}
    assert run.output == {"customer": "ann", "token": "[redacted]", "iban": "[redacted]"}


def test_each_retry_is_an_attempt_with_reason_and_delay(project: OldProject) -> None:
    run = project.run("flaky", 2, 0.3, attempts=3)
    assert run.output == 2
    assert run.attempt_count == 3
    assert [attempt.number for attempt in run.attempts] == [1, 2, 3]
    assert [attempt.retry_delay for attempt in run.attempts] == [0.3, 0.3, None]
    first, second, last = (attempt.error for attempt in run.attempts)
    assert first is not None
    assert second is not None
    assert last is None
    assert (first.name, first.message) == ("ValueError", "not yet: 0")
    assert "raise ValueError" in (first.stack_trace or "")
    assert second.message == "not yet: 1"


def test_autoretry_is_told_as_well_and_the_last_error_is_that_of_the_run(
    project: OldProject,
) -> None:
    run = project.run("auto", status="FAILED", attempts=2)
    assert [attempt.number for attempt in run.attempts] == [1, 2]
    assert run.error is not None
    assert run.error.name == "KeyError"


def test_a_failure_has_its_traceback(project: OldProject) -> None:
    run = project.run("fail", "out of stock", status="FAILED")
    assert run.error is not None
    assert (run.error.name, run.error.message) == ("RuntimeError", "out of stock")
    assert "old_tasks.py" in (run.error.stack_trace or "")
    assert run.attempts[0].error == run.error


def test_countdown_is_delayed_and_can_be_cancelled(project: OldProject) -> None:
    task_id = project.send("add", 1, 1, countdown=600)
    run = project.status(task_id, "DELAYED")
    assert run.delayed_until is not None
    assert run.created_at is not None
    assert 595 < (run.delayed_until - run.created_at).total_seconds() < 605
    with pytest.raises(StateError, match="countdown or eta"):
        runs.reschedule(task_id, delay="1h").sync()
    assert runs.cancel(task_id).sync().status == "DELAYED"
    other = project.send("add", 1, 1, countdown=0.5)
    assert project.status(other, "COMPLETED").output == 2


def test_what_was_revoked_is_cancelled_and_what_expired_is_expired(project: OldProject) -> None:
    task_id = project.send("add", 1, 1, countdown=600)
    project.status(task_id, "DELAYED")
    assert runs.cancel(task_id).sync().recorded
    flagged = f"flagged as revoked: {task_id}"
    wait_until(lambda: flagged in project.deployment.workers[0].log, "the worker knows", timeout=30)
    project.send("add", 1, 1, task_id=task_id)  # it looks when the message is due: now
    run = project.status(task_id, "CANCELED")
    assert run.error is not None
    assert run.error.message == "revoked"
    assert run.attempts == ()
    late = project.run("add", 1, 1, expires=-5, status="EXPIRED")
    assert late.expired_at is not None


def test_ignored_rejected_and_redelivered_messages_show_as_such(project: OldProject) -> None:
    ignored = project.run("ignore")
    assert (ignored.output, ignored.attempts[0].note) == (None, "ignored")
    rejected = project.run("reject", status="FAILED")
    assert rejected.error is not None
    assert rejected.attempts[0].note == "rejected"
    again = project.run("again", attempts=2)
    assert again.output == "the second time"
    assert [attempt.number for attempt in again.attempts] == [1, 1]
    assert [attempt.note for attempt in again.attempts] == ["returned to the broker", "redelivered"]


def test_a_task_that_replaced_itself_ends_as_what_it_became(project: OldProject) -> None:
    run = project.until(  # two processes may tell of them, in any order
        project.send("replace", 1),
        lambda run: run.output == 101 and len(run.attempts) == 2,
        "both tasks have ended",
    )
    assert run.status == "COMPLETED"
    assert run.task_identifier == "old.replace"


def test_calls_in_tasks_are_children(project: OldProject) -> None:
    run = project.run("parent", 4)
    child = project.status(run.output, "COMPLETED")
    assert (child.parent_id, child.root_id, child.depth) == (run.id, run.id, 1)
    found = runs.retrieve(run.id).sync().related_runs
    assert found is not None
    assert [one.id for one in found.children] == [child.id]


def test_a_chord_of_chains_is_recorded_and_its_result_is_the_same(project: OldProject) -> None:
    add = project.app.signature("old.add", args=(1, 1))
    more = project.app.signature("old.add", args=(10,))
    flow = chord(group(chain(add, more), chain(add, more)), project.app.signature("old.total"))
    result = flow.apply_async()
    assert result.get(timeout=20) == 24
    body = project.status(result.id, "COMPLETED")
    assert body.payload == {"args": [[12, 12]], "kwargs": {}}
    second = result.parent[0]
    assert project.status(second.parent.id, "COMPLETED").output == 2
    link = project.status(second.id, "COMPLETED")
    assert link.parent_id == project.status(second.parent.id, "COMPLETED").id
    assert runs.list(task="celery.chord_unlock").sync().runs == []


def test_what_is_not_json_is_kept_as_far_as_it_goes(project: OldProject) -> None:
    run = project.run("odd", {1, 2}, serializer="pickle")
    assert run.payload == {"args": [{1, 2}], "kwargs": {}}
    assert run.output == {1, 2}
    strange = project.run("odd", Odd("hunter2"), kwargs={}, serializer="pickle")
    assert strange.payload == {"args": [{"password": "[redacted]", "size": 3}], "kwargs": {}}
    worse = project.run("odd", [float("nan"), {2: object}], serializer="pickle")
    assert "nan" in str(worse.payload)


def test_tasks_that_say_so_and_celery_s_own_are_not_recorded(project: OldProject) -> None:
    quiet = project.app.send_task("old.quiet")
    quiet.get(timeout=20)
    project.run("add", 1, 2)
    # The producer does not know the task's attribute; the worker does, and says nothing of it.
    run = project.get(quiet.id)
    assert run is None or run.status == "QUEUED"


def test_the_queue_is_that_of_the_broker(project: OldProject) -> None:
    run = project.run("routed", queue="special")
    assert run.queue == "special"
    assert run.id in [one.id for one in runs.list(queue="special").sync()]


def test_an_old_task_called_in_a_run_of_ours_is_its_child(project: OldProject) -> None:
    made = project.deployment.run("new", {"y": 4})
    child = project.status(made.output["called"], "COMPLETED")
    assert (child.output, child.parent_id, child.root_id) == (5, made.id, made.id)


def test_a_message_of_a_producer_without_the_library_is_adopted(project: OldProject) -> None:
    project.deployment.suspend()
    try:
        task_id = project.send("charge", "ann", "hunter2", kwargs={"details": {}})
    finally:
        project.deployment.resume()
    run = project.status(task_id, "COMPLETED")
    assert run.payload == {"args": ["ann", "[redacted]"], "kwargs": {"details": {}}}


def test_an_unknown_task_fails_and_says_why(project: OldProject) -> None:
    run = project.run("nobody-knows-it", status="SYSTEM_FAILURE")
    assert run.error is not None
    assert run.error.code == "TASK_NOT_REGISTERED"
    assert run.notes == ("rejected by worker w1@tests: not registered",)


def test_it_is_replayed_with_the_same_arguments(project: OldProject) -> None:
    spoken = [datetime(2026, 3, 1, tzinfo=UTC), Decimal("1.10"), UUID(int=7), b"\xff", {"a": None}]
    tuples = (1, (b"x", {2: frozenset({3})}), bytearray(b"y"))
    sent = {
        "spoken": project.send("odd", spoken, serializer="json"),
        "tuples": project.send("odd", tuples, serializer="pickle", priority=4),
    }
    project.deployment.suspend()
    try:
        sent["adopted"] = project.send("odd", tuples, serializer="pickle")
    finally:
        project.deployment.resume()
    for name, task_id in sent.items():
        old = project.status(task_id, "COMPLETED")
        again = runs.poll(runs.replay(task_id).sync(), timeout=30).sync()
        assert (again.status, again.replayed_from) == ("COMPLETED", old.id), name
        assert (again.payload, again.output) == (old.payload, old.output), name
        results = [
            project.app.AsyncResult(str(run.celery_task_id)).get(timeout=30) for run in (old, again)
        ]
        assert repr(results[0]) == repr(results[1]), name
    hidden = project.run("odd", Odd("hunter2"), kwargs={}, serializer="pickle")
    with pytest.raises(StateError, match=r"args\[0\]\.password"):
        runs.replay(hidden).sync()


def test_it_can_be_waited_for_and_followed(project: OldProject) -> None:
    task_id = project.send("nap", 0.5)
    seen = [str(run.status) for run in runs.subscribe_to_run(_there(project, task_id))]
    assert seen[-1] == "COMPLETED"
    assert runs.poll(task_id, timeout=20).sync().output == "rested"


def _there(project: OldProject, task_id: str) -> Any:
    wait_until(lambda: project.get(task_id), "the run is recorded")
    return task_id


def test_limits_and_killed_processes_are_told_apart(project: OldProject, pool: str) -> None:
    if pool != "prefork":
        pytest.skip("only prefork has processes to limit and to lose")
    dead = project.send("die")
    hard, soft = project.send("limited"), project.send("softly")
    assert project.status(dead, "CRASHED").error is not None
    run = project.status(hard, "TIMED_OUT")
    assert run.error is not None
    assert run.error.name == "TimeLimitExceeded"
    assert run.error.message == "the hard time limit of 1 s was exceeded"
    assert run.attempts[0].error == run.error
    assert run.attempts[0].finished_at == run.finished_at
    run = project.status(soft, "TIMED_OUT")
    assert run.error is not None
    assert run.error.name == "SoftTimeLimitExceeded"
    assert run.error.message == "the soft time limit of 1 s was exceeded"


def test_what_executes_cannot_be_cancelled_here(project: OldProject) -> None:
    task_id = project.send("nap", 1.5)
    project.status(task_id, "EXECUTING")
    with pytest.raises(StateError, match="terminate=True"):
        runs.cancel(task_id).sync()
    assert project.status(task_id, "COMPLETED").output == "rested"
