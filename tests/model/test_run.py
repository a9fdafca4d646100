import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from trigger_celery.model.run import Attempt, Run, RunError, RunStatus
from trigger_celery.model.transitions import FINAL

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def a_run(status=RunStatus.QUEUED, **fields):
    return Run("run_1", status, "send-email", **fields)


@pytest.mark.parametrize("status", RunStatus)
def test_a_status_equals_its_name_in_any_letter_case_both_ways_round(status):
    for name in (status.value, status.value.lower(), status.value.title()):
        assert status == name
        assert name == status
        assert not status != name  # noqa: SIM202
        assert not name != status  # noqa: SIM202
        assert RunStatus(name) is status
    assert status in [status.value.lower()]
    assert status in {status.value}
    assert {status: 1}[status.value] == 1


def test_the_loop_condition_people_write_is_true_for_completed_and_failed_only():
    stopping = [status for status in RunStatus if status in ["completed", "failed"]]
    assert stopping == [RunStatus.COMPLETED, RunStatus.FAILED]


def test_statuses_differ_from_each_other_and_from_what_is_no_text():
    assert len(set(RunStatus)) == 13
    assert RunStatus.FAILED != RunStatus.CRASHED
    assert RunStatus.FAILED != "crashed"
    assert (RunStatus.FAILED == 3, RunStatus.FAILED != 3) == (False, True)
    assert RunStatus.FAILED is not None
    with pytest.raises(ValueError):
        RunStatus("finished")
    with pytest.raises(ValueError):
        RunStatus(3)


def test_a_status_prints_as_its_value():
    assert str(RunStatus.TIMED_OUT) == f"{RunStatus.TIMED_OUT}" == "TIMED_OUT"
    assert json.dumps(RunStatus.TIMED_OUT) == '"TIMED_OUT"'


@pytest.mark.parametrize("status", RunStatus)
def test_each_status_is_in_exactly_one_group(status):
    run = a_run(status)
    groups = ["is_queued", "is_executing", "is_waiting", "is_success", "is_failed", "is_cancelled"]
    for one in (run, status):
        assert sum(getattr(one, group) for group in groups) == 1
        assert one.is_canceled == one.is_cancelled
        assert one.is_completed == (status in FINAL)
    assert status.is_final == (status in FINAL)
    assert run.is_completed == (run.is_success or run.is_failed or run.is_cancelled)


def test_a_run_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        a_run().status = RunStatus.FAILED


def test_queue_wait_is_the_time_from_queued_to_started():
    assert a_run(queued_at=NOON).queue_wait is None
    assert a_run(started_at=NOON).queue_wait is None
    run = a_run(queued_at=NOON, started_at=NOON + timedelta(seconds=3))
    assert run.queue_wait == timedelta(seconds=3)


def test_a_run_as_a_dict_is_ready_for_json():
    error = RunError("ValueError", "no")
    run = a_run(
        RunStatus.FAILED,
        tags=("a", "b"),
        metadata={"progress": 1},
        payload={"at": NOON, "price": Decimal("1.50"), "ids": (1, 2)},
        output=float("nan"),
        error=error,
        created_at=NOON.astimezone(timezone(timedelta(hours=2))),
        attempts=(Attempt(1, NOON, None, error),),
    )
    shown = json.loads(json.dumps(run.to_dict()))
    assert shown["status"] == "FAILED"
    assert type(run.to_dict()["status"]) is str
    assert shown["tags"] == ["a", "b"]
    assert shown["payload"] == {"at": "2024-05-01T12:00:00Z", "price": "1.50", "ids": [1, 2]}
    assert shown["created_at"] == "2024-05-01T12:00:00Z"
    assert shown["error"] == {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no"}
    assert shown["attempts"] == [
        {
            "number": 1,
            "started_at": "2024-05-01T12:00:00Z",
            "finished_at": None,
            "error": shown["error"],
        }
    ]
    assert shown["is_failed"] is True
    assert shown["is_completed"] is True
    assert shown["is_success"] is False


def test_a_payload_without_a_json_form_is_shown_as_its_repr():
    assert a_run(payload={"f": len}).to_dict()["payload"] == "{'f': <built-in function len>}"
