"""Celery tasks whose calls make runs: everything they had keeps working."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from celery import chord, group
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from tests.waiting import wait_until
from tests.worker.celery_api.calling import PATIENCE, Api
from tests.worker.listening import listening
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
    assert (seen["correlation_id"], seen["expires"]) == (result.id, None)
    assert (seen["called_directly"], seen["is_eager"]) == (False, False)
    assert seen["hostname"].startswith("w1@")
    assert seen["delivery_info"]["routing_key"] == "celery"
    assert seen["headers"]["tenant"] == "acme"
    assert (seen["eta"], seen["timelimit"]) == (None, None)
    limited = api.taken.looks.apply_async((1,), time_limit=60, soft_time_limit=50, app_id="shop")
    assert limited.get(timeout=PATIENCE)["timelimit"] == [60, 50]
    due = datetime.now(UTC) - timedelta(seconds=1)
    late = due + timedelta(hours=1)
    past = api.taken.looks.apply_async((1,), eta=due, expires=late).get(timeout=PATIENCE)
    assert (past["eta"], past["expires"]) == (due.isoformat(), late.isoformat())


def test_events_show_what_the_call_says_of_its_arguments(api: Api) -> None:
    hidden = {"argsrepr": "(***)", "kwargsrepr": "{***}"}
    with listening(api.deployment) as listener:
        api.app.control.enable_events(reply=True, limit=1, timeout=PATIENCE)
        said = [
            api.taken.looks.apply_async(("s3cret",), {"k": "s3cret"}, **hidden),
            api.taken.flaky.apply_async((1,), {"step": "s3cret"}, **hidden),
            api.ours.looks.apply_async(("s3cret",), **hidden),
        ]
        part = api.taken.looks.apply_async(("x" * 5_000,), {"k": "s3cret"}, kwargsrepr="{***}")
        silent = api.ours.looks.delay("s3cret")
        for result in (*said, part, silent):
            assert listener.wait_for(result.id, "task-succeeded")[-1] == "task-succeeded"
        again = [runs.replay(said[0].id).sync(), runs.replay(said[2].id, tags="again").sync()]
        for made in again:
            assert listener.wait_for(made.id, "task-succeeded")[-1] == "task-succeeded"
        api.app.control.disable_events(reply=True, limit=1, timeout=PATIENCE)
    seen: dict[str, list[tuple[str, str]]] = {}
    for one in listener.events:
        if one["type"] == "task-received":
            seen.setdefault(one["uuid"], []).append((one["args"], one["kwargs"]))
    assert [seen[one.id] for one in said] == [[("(***)", "{***}")] * times for times in (1, 2, 1)]
    assert [seen[made.id] for made in again] == [[("(***)", "{***}")]] * 2
    [(args, kwargs)] = seen[part.id]
    assert (args[:6], len(args) < 1_100, kwargs) == ("('xxxx", True, "{***}")
    assert seen[silent.id] == [(f"({silent.id},)", "{}")]
    assert said[0].get(timeout=PATIENCE)["argsrepr"] == "(***)"


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
    assert (result.get(), api.app.AsyncResult(result.id).state) == (None, "PENDING")
    named = api.app.send_task("taken.silent", (5,), task_id="silent-by-name")
    kept = {"root_id": "silent-by-name", "parent_id": "silent-by-name"}
    api.taken.silent.apply_async((6,), task_id="kept", ignore_result=False, **kept)
    assert (named.get(), runs.poll("silent-by-name").sync().output) == (None, 5)
    assert api.app.AsyncResult("kept").get(timeout=PATIENCE) == 6
    assert api.app.AsyncResult("silent-by-name").state == "PENDING"


def test_results_of_all_kinds(api: Api) -> None:
    made = api.taken.returns.delay("a result")
    (inner, _), _ = made.get(timeout=PATIENCE)
    assert runs.poll(inner).sync().output == 2
    parent = api.taken.returns.delay("a child")
    (child, _), _ = parent.get(timeout=PATIENCE)
    seen = api.app.AsyncResult(child).get(timeout=PATIENCE)
    assert (seen["parent_id"], seen["root_id"]) == (parent.id, parent.id)
    assert runs.retrieve(child).sync().parent_id == runs.retrieve(parent.id).sync().id
    chained = (api.taken.returns.s("an object") | api.taken.looks.s())()
    assert chained.get(timeout=PATIENCE)["args"] == [["written"]]
    header = [api.taken.returns.s("a result"), api.taken.add.s(1)]
    body = chord(header)(api.taken.looks.s())
    seen = body.get(timeout=PATIENCE)
    assert seen["args"][0][1] == 2
    assert seen["parent_id"] in [one.id for one in body.parent.results]
    replied = api.taken.replies.delay(3)
    assert replied.get(timeout=PATIENCE) == Fraction(1, 3)
    assert runs.poll(replied.id).sync().output == "Fraction(1, 3)"
    assert (api.taken.replies.s(1) | api.taken.replies.s())().get(timeout=PATIENCE) == 1
    assert (api.taken.tells_nobody.s(1) | api.taken.add.s())().get(timeout=PATIENCE) == 2


def test_limits(api: Api) -> None:
    result = group(api.taken.one_at_a_time.s(number) for number in range(4))()
    assert result.get(timeout=PATIENCE) == [0, 1, 2, 3]
    marks = [one for one in api.deployment.ledger() if one.event in ("taken-enter", "taken-leave")]
    events = [one.event for one in sorted(marks, key=lambda one: one.at)]
    assert events == ["taken-enter", "taken-leave"] * 4
    assert runs.retrieve(result.results[0].id).sync().tags == ("narrow",)


def test_time_limits(api: Api, pool: str) -> None:
    if pool != "prefork":
        pytest.skip("only prefork has processes to limit")
    taken = api.taken
    soft, again = taken.soft.delay(), taken.soft_again.delay()
    hard, redelivered = taken.hard.delay(), taken.hard_again.delay()
    for result, kind, error, attempts in (
        (soft, "soft", SoftTimeLimitExceeded, 1),
        (again, "soft", SoftTimeLimitExceeded, 2),
        (hard, "hard", TimeLimitExceeded, 1),
    ):
        run = runs.poll(result.id).sync()
        assert (run.status, run.attempt_count) == ("TIMED_OUT", attempts)
        assert run.error.name == error.__name__
        assert run.error.message == f"the {kind} time limit of 1 s was exceeded"
        with pytest.raises(error):
            result.get(timeout=PATIENCE)
    reason = runs.retrieve(again.id).sync().attempts[0].error
    assert reason.message == "the soft time limit of 1 s was exceeded"
    assert len(api.deployment.ledger(event="hard")) == 1
    # `acks_on_failure_or_timeout=False`: its message would come again.
    run = runs.poll(redelivered.id).sync()
    assert (run.status, run.output, run.attempt_count) == ("COMPLETED", True, 2)


def test_update_state_shows_as_metadata(api: Api, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    result = api.taken.progress.delay(str(gate))

    def shown() -> Any:
        return runs.retrieve(result.id).sync().metadata

    first = {"done": 1, "token": "[redacted]", "state": "PROGRESS"}
    wait_until(lambda: shown() == first, "it shows while the task executes", timeout=30)
    assert (result.state, result.info) == ("PROGRESS", {"done": 1, "token": "t0p"})
    assert api.app.backend.get_task_meta("of-another")["result"] == {"done": 2}
    gate.touch()
    run = runs.poll(result.id).sync()
    assert (run.output, run.metadata) == ("done", {"done": 3})


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
    said = [one.more for one in api.deployment.ledger(event="says")]
    assert [(one["redelivered"], one["retries"]) for one in said if one["what"] == "once more"] == [
        (False, 0), (True, 0),
    ]  # fmt: skip
    rejected = runs.poll(api.taken.says.delay("reject").id).sync()
    assert (rejected.status, rejected.attempt_count) == ("FAILED", 1)
    assert ignored.state == "PENDING"


def test_a_chain_of_all_kinds(api: Api) -> None:
    parts = [api.taken.add.s(1), api.plain.add.s(2), api.ours.rough.s(), api.taken.add.s(y=10)]
    result = parts[0] | parts[1] | parts[2] | parts[3]
    assert result().get(timeout=PATIENCE) == 15
