"""What a parent gets of a child, and a run of a token: an answer, never an exception."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waiting import wait_until
from tests.worker.waits.test_programs import waits
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, runs, wait

pytestmark = pytest.mark.processes


def test_the_result_of_a_child_that_completed(shared: Deployment) -> None:
    run = shared.run("judge", {"task": "echo", "payload": {"a": [1]}})
    child = run.output["id"]
    assert run.output == {"ok": True, "id": child, "task_identifier": "echo", "output": {"a": [1]}}
    assert shared.get(child).parent_id == run.id


def test_the_result_of_a_child_that_failed(shared: Deployment) -> None:
    result = shared.run("judge", {"task": "break"}).output
    assert result["ok"] is False
    assert "output" not in result
    assert (result["error"]["name"], result["error"]["message"]) == ("ValueError", "broken")


def test_unwrapping_a_child_that_failed_fails_the_parent(shared: Deployment) -> None:
    run = shared.run("judge-unwrap", {"task": "break"})
    assert run.status == RunStatus.FAILED
    assert run.error is not None
    assert run.error.name == "SubtaskUnwrapError"
    assert "ValueError: broken" in run.error.message


def test_the_result_of_a_child_that_was_cancelled(shared: Deployment) -> None:
    token = wait.create_token().sync()
    parent = shared.trigger("judge", {"task": "token-result", "payload": token.id})
    waits(shared, parent)
    (child,) = wait_until(
        lambda: runs.list(task="token-result", status="WAITING").sync().runs, "the child waits"
    )
    runs.cancel(child.id, reason="ordered twice").sync()
    result = shared.wait(parent).output
    assert (result["ok"], result["id"]) == (False, child.id)
    assert result["error"]["message"] == "ordered twice"


def test_an_empty_batch_and_one_with_an_item_that_is_too_large(shared: Deployment) -> None:
    assert shared.run("batches").output == [[], ["x", "PAYLOAD_TOO_LARGE", "xx"]]


def test_a_timeout_in_the_old_form_counts_for_the_token(shared: Deployment) -> None:
    token = wait.create_token(timeout="1h").sync()
    assert shared.run("old-form", token.id).output is False
    assert wait.retrieve_token(token).sync().status == "TIMED_OUT"


def test_a_token_that_times_out(shared: Deployment) -> None:
    token = wait.create_token(timeout=0.05).sync()
    run = shared.run("token-result", token.id)
    assert run.output == {"ok": False, "data": None, "error": "WaitpointTimeoutError"}


def test_a_token_that_ended_before_anybody_waited(shared: Deployment) -> None:
    token = wait.create_token().sync()
    wait.complete_token(token, [1, 2]).sync()
    assert shared.run("token-result", token.id).output["data"] == [1, 2]


def test_one_token_wakes_many_runs(shared: Deployment) -> None:
    token = wait.create_token().sync()
    ids = shared.batch("token-result", [token.id] * 20)
    for run in ids:
        waits(shared, run)
    wait.complete_token(token, "all").sync()
    shared.wait_all(ids)
    assert {shared.get(run).output["data"] for run in ids} == {"all"}


@pytest.mark.parametrize("data", [{"approved": True, "by": "Ada"}, {"approved": "yes"}])
def test_data_of_a_token_become_the_result_type(shared: Deployment, data: dict[str, Any]) -> None:
    token = wait.create_token().sync()
    wait.complete_token(token, data).sync()
    output = shared.run("typed", token.id).output
    assert output == {"class": "Decision", "approved": True, "by": data.get("by", "nobody")}


def test_data_that_do_not_fit_the_result_type(shared: Deployment) -> None:
    token = wait.create_token().sync()
    wait.complete_token(token, {"approved": "perhaps"}).sync()
    run = shared.run("typed", token.id)
    assert run.status == RunStatus.FAILED
    assert run.error is not None
    assert run.error.name == "ResultTypeError"
    assert token.id in run.error.message
    assert "approved" in run.error.message


def test_a_token_that_is_not_there_fails_the_run(shared: Deployment) -> None:
    run = shared.run("token-result", "waitpoint_" + "0" * 26)
    assert run.error is not None
    assert run.error.name == "TokenNotFoundError"


def test_a_run_that_waits_for_itself(shared: Deployment) -> None:
    run = shared.run("poll-self")
    assert f"run {run.id} would wait for itself" in run.output


def test_a_run_that_waits_for_one_that_waits_for_it(shared: Deployment) -> None:
    """The error names the whole chain."""
    run = shared.run("poll-root", 2)
    chain = []
    found: str | None = next(iter(runs.list(task="poll-root", limit=1).sync())).id
    while found:
        chain.append(found)
        found = shared.get(found).parent_id
    assert len(chain) == 3
    assert chain[-1] == run.id
    assert " <- ".join(chain) in run.output


def test_polling_a_run_in_a_run_is_a_wait(shared: Deployment) -> None:
    token = wait.create_token().sync()
    other = shared.trigger("token-result", token.id)
    run = shared.trigger("poll-other", other)
    waits(shared, run)
    wait.complete_token(token, 7).sync()
    assert shared.wait(run).output["data"] == 7


def test_dates_in_the_past(shared: Deployment) -> None:
    name, message = shared.run("past").output
    assert name == "DateInPastError"
    assert "wait.until" in message


def test_a_thread_of_the_tasks_own_is_not_in_the_run(shared: Deployment) -> None:
    assert shared.run("ambient", "").output == "OutsideRunError"
