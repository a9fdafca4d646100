"""What a run is like is the same on every pool."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, runs
from trigger_celery.engine import keys

pytestmark = pytest.mark.processes

KINDS = ("", "-sync")
RICH = {
    "when": datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    "price": Decimal("19.90"),
    "id": UUID("12345678-1234-5678-1234-567812345678"),
    "tags": {"a", "b"},
    "raw": b"\x00\xff",
    "text": "snow ☃ and \x1f separators \x1e",
    "nested": [{"n": None, "yes": True}, 1.5, 2**60],
}


def executions(shared: Deployment, run: str, event: str = "run") -> int:
    return len(shared.ledger(run, event))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [None, 1, "text", ["a", {"b": 2}], RICH, "x" * 200_000])
def test_payload_and_output_make_the_round_trip(
    shared: Deployment, kind: str, value: object
) -> None:
    run = shared.run(f"echo{kind}", value)
    assert run.status == RunStatus.COMPLETED
    assert run.output == value
    assert executions(shared, run.id) == 1


def test_a_task_without_a_payload(shared: Deployment) -> None:
    run = shared.run("nothing")
    assert (run.status, run.output) == (RunStatus.COMPLETED, None)


@pytest.mark.parametrize("kind", KINDS)
def test_ctx_and_the_celery_request_describe_the_run(shared: Deployment, kind: str) -> None:
    run = shared.run(
        f"describe{kind}", 1, tags=["a", "b"], priority=5, concurrency_key="k", max_attempts=2
    )
    (session,) = shared.sessions().values()
    assert run.output == {
        "task": f"describe{kind}",
        "run": run.id,
        "tags": ["a", "b"],
        "attempt": 1,
        "max": 2,
        "queue": f"task/describe{kind}",
        "key": "k",
        "priority": 5.0,
        "celery": run.id,
        "name": f"describe{kind}",
        "retries": 0,
        "host": session["hostname"],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_task_gets_the_validated_payload(shared: Deployment, kind: str) -> None:
    assert shared.run(f"order{kind}", {"id": "7"}).output == "Order 7 tea"


@pytest.mark.parametrize("kind", KINDS)
def test_a_payload_that_does_not_fit_fails_without_a_retry(shared: Deployment, kind: str) -> None:
    run = shared.run(f"order{kind}", {"id": "seven"})
    assert (run.status, run.attempt_count) == (RunStatus.FAILED, 1)
    assert run.error is not None
    assert (run.error.name, run.error.code) == ("PayloadValidationError", "TASK_INPUT_ERROR")
    assert "id:" in run.error.message
    assert executions(shared, run.id) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_retries_follow_in_place(shared: Deployment, kind: str) -> None:
    run = shared.run(f"fail{kind}", {"what": "no luck", "until": 2})
    assert (run.status, run.output, run.attempt_count) == (RunStatus.COMPLETED, 3, 3)
    assert [entry.attempt for entry in shared.ledger(run.id, "run")] == [1, 2, 3]
    assert len({entry.epoch for entry in shared.ledger(run.id, "run")}) == 1
    assert [attempt.number for attempt in run.attempts] == [1, 2]
    assert all(attempt.error.message == "no luck" for attempt in run.attempts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("what", "attempts", "name", "message"),
    [
        ("no luck", 3, "ValueError", "no luck"),
        ("abort", 1, "AbortTaskRunError", "enough"),
        ("exit", 3, "SystemExit", "0"),
        ("interrupt", 3, "KeyboardInterrupt", ""),
        ("cancelled", 3, "CancelledError", "by the user's code"),
        ("unserialisable", 1, "OutputError", "output: object is not serialisable"),
        ("broken", 3, "BrokenError", "BrokenError"),
    ],
)
def test_how_a_task_can_fail(
    shared: Deployment, kind: str, what: str, attempts: int, name: str, message: str
) -> None:
    run = shared.run(f"fail{kind}", {"what": what})
    assert (run.status, run.attempt_count) == (RunStatus.FAILED, attempts)
    assert run.error is not None
    assert run.error.name == name
    assert message in run.error.message
    assert "trigger_celery/" not in (run.error.stack_trace or "")
    assert executions(shared, run.id) == attempts
    assert shared.run("echo", 1).status == RunStatus.COMPLETED


def test_a_long_message_is_cut(shared: Deployment) -> None:
    run = shared.run("fail", {"what": "long"})
    assert run.error is not None
    assert 900 < len(run.error.message) <= 1100
    assert "in fail" in (run.error.stack_trace or "")
    assert "trigger_celery/worker" not in (run.error.stack_trace or "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_triggers_another(shared: Deployment, kind: str) -> None:
    run = shared.run(f"parent{kind}", "for the child")
    assert shared.wait(run.output).output == "for the child"


def test_runs_next_to_each_other_are_not_mixed_up(shared: Deployment) -> None:
    ids = shared.batch("look", [None] * 20)
    shared.wait_all(ids)
    assert {tuple(shared.get(run).output) for run in ids} == {(True,) * 6}


@pytest.mark.parametrize("kind", KINDS)
def test_celery_signals_are_sent(shared: Deployment, kind: str) -> None:
    good = shared.run(f"describe{kind}")
    bad = shared.run(f"fail{kind}", {"what": "no", "until": 1})
    worse = shared.run(f"fail{kind}", {"what": "abort"})

    def signals(run: str) -> list[str]:
        entries = shared.ledger(run)
        return [e.event.removeprefix("signal-") for e in entries if e.event.startswith("signal")]

    wait_until(lambda: len(signals(worse.id)) >= 3, "the signals of the last run")
    assert signals(good.id) == ["prerun", "success", "postrun"]
    assert signals(bad.id) == ["prerun", "retry", "postrun", "prerun", "success", "postrun"]
    assert signals(worse.id) == ["prerun", "failure", "postrun"]


def test_plain_celery_tasks_work_in_the_same_worker(shared: Deployment) -> None:
    results = [
        shared.app.send_task("plain-add", (number, 1), ignore_result=False) for number in range(10)
    ]
    ids = shared.batch("echo", list(range(10)))
    assert [result.get(timeout=15) for result in results] == list(range(1, 11))
    assert set(shared.wait_all(ids)) == {"COMPLETED"}


def test_a_message_with_the_id_of_a_task_becomes_a_run(shared: Deployment) -> None:
    before = {entry.run for entry in shared.ledger(event="run")}
    shared.app.send_task("echo", ({"from": "elsewhere"},))
    after = wait_until(
        lambda: {entry.run for entry in shared.ledger(event="run")} - before, "a run was executed"
    )
    (run,) = after
    assert shared.wait(run).output == {"from": "elsewhere"}


def test_a_payload_that_does_not_decode_fails_the_run(shared: Deployment) -> None:
    run = shared.trigger("echo", {"good": True}, delay="1s")
    shared.client.hset(keys.key(shared.scope, "run", run), "payload", "{not json")
    shared.wait_all([run])
    assert shared.status(run) == "FAILED"
    assert shared.run("echo", 1).status == RunStatus.COMPLETED


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("hooks", ["", "-sync"])
@pytest.mark.parametrize("kind", ["", "-of-sync"])
def test_hooks_of_either_kind_around_tasks_of_either_kind(
    shared: Deployment, kind: str, hooks: str, fails: bool
) -> None:
    run = shared.run(f"hooks{hooks}{kind}", {"fail": fails})
    ledger = shared.ledger(run.id)
    assert {entry.more["held"] for entry in ledger if "held" in entry.more} == {run.id}
    told = [entry.event for entry in ledger if entry.event != "later"]
    if not fails:
        assert run.output == run.id
        assert told == [
            "middleware", "on_start", "on_start_attempt", "run", "on_success", "on_complete",
            "cleanup", "after",
        ]  # fmt: skip
    else:
        assert run.status == RunStatus.FAILED
        attempt = ["middleware", "on_start_attempt", "run", "cleanup", "after"]
        assert told == [
            "middleware", "on_start", *attempt[1:], *attempt, *attempt[:3], "on_failure",
            "on_complete", *attempt[3:],
        ]  # fmt: skip
    assert executions(shared, run.id, "later") == (3 if fails else 1)


def test_a_cancelled_run_may_end_in_its_own_way_and_its_hooks_wait_for_it(
    shared: Deployment,
) -> None:
    run = shared.trigger("promises")
    shared.wait_for("begin", run)
    runs.cancel(run).sync()
    (promised,) = shared.wait_for("promised", run)
    assert promised.more["output"] == "in its own way"
    shared.wait_for("of this run", run)
    assert shared.status(run) == "CANCELED"
