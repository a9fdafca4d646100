"""Celery tasks whose calls make runs: everything they had keeps working."""

from __future__ import annotations

from typing import Any

import pytest
from celery import group

from tests.waiting import wait_until
from tests.worker.celery_api.calling import PATIENCE, Api
from trigger_celery import runs, tasks

pytestmark = pytest.mark.processes


def told(api: Api, task_id: str) -> list[tuple[Any, ...]]:
    """Return what the base class was told of a task, in order."""
    names = ("before_start", "on_retry", "on_success", "on_failure", "after_return")
    found = [one for one in api.deployment.ledger() if one.more.get("task") == task_id]
    return [one.event for one in sorted(found, key=lambda one: one.at) if one.event in names]


def test_args_kwargs_and_result(api: Api) -> None:
    result = api.taken.add.delay(2, y=5)
    assert result.get(timeout=PATIENCE) == 7
    assert api.app.AsyncResult(result.id).get(timeout=PATIENCE) == 7
    run = runs.poll(result.id).sync()
    assert (run.task_identifier, run.queue, run.output) == ("taken.add", "task/taken.add", 7)
    assert run.payload == {"args": [2], "kwargs": {"y": 5}}
    assert api.app.send_task("taken.add", (1,)).get(timeout=PATIENCE) == 2
    handle = tasks.trigger("taken.add", {"args": [1, 2]}).sync()
    assert runs.poll(handle.id).sync().output == 3


def test_retries_become_attempts(api: Api) -> None:
    result = api.taken.flaky.delay(2, step="b")
    assert result.get(timeout=PATIENCE) == ["called", [2, "b"]]
    run = runs.poll(result.id).sync()
    assert run.attempt_count == 3
    assert [(one.number, one.error.message) for one in run.attempts] == [
        (1, "away 0"),
        (2, "away 1"),
    ]
    again = ["before_start", "on_retry"]
    wait_until(
        lambda: (
            told(api, result.id) == [*again, *again, "before_start", "on_success", "after_return"]
        ),
        "the base class is told",
    )
    auto = api.taken.auto.delay(2)
    assert auto.get(timeout=PATIENCE) == 2
    assert runs.retrieve(auto.id).sync().attempt_count == 3


def test_retries_run_out(api: Api) -> None:
    result = api.taken.auto.delay(9)
    with pytest.raises(OSError, match="away"):
        result.get(timeout=PATIENCE)
    wait_until(lambda: runs.retrieve(result.id).sync().is_completed, "it is recorded")
    run = runs.retrieve(result.id).sync()
    assert (run.status, run.attempt_count, run.error.name) == ("FAILED", 3, "OSError")


def test_a_retry_with_other_arguments(api: Api) -> None:
    result = api.taken.counts.delay(3, [])
    assert result.get(timeout=PATIENCE) == [3, 2, 1]


def test_a_long_countdown_is_in_the_store(api: Api) -> None:
    result = api.taken.add.apply_async((1,), countdown=3600)
    run = runs.retrieve(result.id).sync()
    assert run.status == "DELAYED"
    inspect = api.app.control.inspect(timeout=5, limit=1)
    assert [*inspect.scheduled().values()] == [[]]
    result.revoke()
    wait_until(lambda: api.app.AsyncResult(result.id).state == "REVOKED", "the backend is told")


def test_request(api: Api) -> None:
    result = api.taken.looks.apply_async((1,), {"k": 2}, headers={"tenant": "acme"})
    seen = result.get(timeout=PATIENCE)
    assert (seen["id"], seen["root_id"], seen["parent_id"]) == (result.id, result.id, None)
    assert (seen["retries"], seen["args"], seen["kwargs"]) == (0, [1], {"k": 2})
    assert (seen["called_directly"], seen["is_eager"]) == (False, False)
    assert seen["hostname"].startswith("w1@")
    assert seen["delivery_info"]["routing_key"] == "celery"
    assert seen["headers"]["tenant"] == "acme"


def test_failure(api: Api) -> None:
    result = api.taken.fails.apply_async(("x",), link_error=api.plain.errback.s())
    with pytest.raises(KeyError, match="x"):
        result.get(timeout=PATIENCE)
    wait_until(
        lambda: any(
            one.more["task"] == result.id and one.more["kind"] == "KeyError"
            for one in api.deployment.ledger(event="errback")
        ),
        "the errback is called",
    )
    assert told(api, result.id) == ["before_start", "on_failure", "after_return"]
    assert runs.poll(result.id).sync().status == "FAILED"


def test_ignore_result(api: Api) -> None:
    result = api.taken.silent.delay(4)
    run = runs.poll(result.id).sync()
    assert run.output == 4
    assert api.app.AsyncResult(result.id).state == "PENDING"


def test_limits(api: Api) -> None:
    result = group(api.taken.one_at_a_time.s(number) for number in range(4))()
    assert result.get(timeout=PATIENCE) == [0, 1, 2, 3]
    marks = [one for one in api.deployment.ledger() if one.event in ("taken-enter", "taken-leave")]
    events = [one.event for one in sorted(marks, key=lambda one: one.at)]
    assert events == ["taken-enter", "taken-leave"] * 4
    assert runs.retrieve(result.results[0].id).sync().tags == ("narrow",)


def test_idempotency(api: Api) -> None:
    first, second = api.taken.said.delay(7), api.taken.said.delay(7)
    assert first.get(timeout=PATIENCE) == second.get(timeout=PATIENCE) == 7
    assert len(api.deployment.ledger(event="said")) == 1


def test_replace(api: Api) -> None:
    chained = api.taken.replaces.s(1) | api.ours.double.s()
    assert chained().get(timeout=PATIENCE) == 204
    result = api.taken.replaces.delay(5)
    assert result.get(timeout=PATIENCE) == 106


def test_what_a_task_tells_celery(api: Api) -> None:
    ignored = (api.taken.says.s("ignore") | api.ours.notes.s())()
    run = runs.poll(ignored.parent.id).sync()
    assert (run.status, run.output) == ("COMPLETED", None)
    assert api.taken.says.delay("retry without raising").get(timeout=PATIENCE) == (
        "retry without raising"
    )
    more = api.taken.says.delay("once more")
    assert more.get(timeout=PATIENCE) == "once more"
    assert runs.poll(more.id).sync().attempt_count == 2
    rejected = runs.poll(api.taken.says.delay("reject").id).sync()
    assert (rejected.status, rejected.attempt_count) == ("FAILED", 1)
    assert ignored.state == "PENDING"


def test_a_chain_of_all_kinds(api: Api) -> None:
    parts = [api.taken.add.s(1), api.plain.add.s(2), api.ours.rough.s(), api.taken.add.s(y=10)]
    result = parts[0] | parts[1] | parts[2] | parts[3]
    assert result().get(timeout=PATIENCE) == 15
