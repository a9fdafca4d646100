"""Options of `apply_async`, results, and messages of producers without the library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.result import AsyncResult, EagerResult

from tests.waiting import wait_until
from tests.worker.celery_api.calling import PATIENCE, Api
from trigger_celery import runs
from trigger_celery import wait as trigger_wait
from trigger_celery.model.ids import run_id_of

pytestmark = pytest.mark.processes


def test_a_task_id_that_is_given(api: Api) -> None:
    task_id = f"order:{uuid4()}/x y"
    result = api.ours.looks.apply_async((1,), task_id=task_id, headers={"tenant": "acme"})
    seen = result.get(timeout=PATIENCE)
    assert result.id == seen["id"] == task_id
    assert seen["headers"]["tenant"] == "acme"
    assert runs.retrieve(task_id).sync().output == seen
    assert api.app.AsyncResult(task_id).get(timeout=PATIENCE) == seen
    again = api.ours.looks.apply_async((2,), task_id=task_id)
    assert again.get(timeout=PATIENCE) == seen  # one id, one run


def test_request_in_a_chain(api: Api) -> None:
    first = api.ours.double.s(1)
    result = (first | api.ours.looks.s() | api.ours.notes.s())()
    seen = result.parent.get(timeout=PATIENCE)
    assert seen["parent"] == seen["root"] == result.parent.parent.id
    assert seen["chain"]


def test_results_by_every_way(api: Api) -> None:
    result = api.ours.double.delay(4)
    assert result.get(timeout=PATIENCE) == 8
    assert (result.state, result.ready(), result.successful()) == ("SUCCESS", True, True)
    assert api.app.AsyncResult(result.id).get(timeout=PATIENCE) == 8
    assert api.ours.double.AsyncResult(result.id).result == 8
    handle = api.ours.double.trigger(5).sync()
    assert api.app.AsyncResult(handle.id).get(timeout=PATIENCE) == 10


def test_countdown_eta_expires_and_limits(api: Api) -> None:
    moment = datetime.now(UTC) + timedelta(minutes=5)
    result = api.ours.double.apply_async((1,), eta=moment, expires=600, time_limit=30)
    run = runs.retrieve(result.id).sync()
    assert run.status == "DELAYED"
    assert abs((run.delayed_until or datetime.now(UTC)) - moment) < timedelta(seconds=1)
    assert str(run.ttl).startswith(("4m59", "5m"))
    result.revoke()
    assert runs.retrieve(result.id).sync().status == "CANCELED"
    assert result.state == "REVOKED"
    late = api.ours.double.apply_async((1,), expires=datetime.now(UTC) - timedelta(seconds=5))
    wait_until(lambda: runs.retrieve(late.id).sync().is_completed, "it ends")
    assert late.state in ("REVOKED", "SUCCESS")  # a worker may be as quick as a millisecond


def test_a_revoked_part_ends_its_chain_and_chord(api: Api) -> None:
    first = api.ours.double.s(1).set(countdown=600)
    result = (first | api.plain.add.s() | api.ours.double.s())()
    result.parent.parent.revoke()
    with pytest.raises(Exception, match="Revoked"):
        result.get(timeout=PATIENCE)


def test_a_producer_without_the_library_revokes(api: Api) -> None:
    """What has not begun is never executed, by Celery's id or the run's; what executes goes on."""
    url = api.app.conf.broker_url
    foreign = Celery("elsewhere", broker=url, backend=url, set_as_current=False)
    gate = api.deployment.folder / uuid4().hex
    gated = api.ours.gated.delay({"gate": str(gate), "value": 3})
    wait_until(lambda: runs.retrieve(gated.id).sync().is_executing, "it executes")
    token = trigger_wait.create_token().sync()
    waits = api.ours.waits.delay(token.id)
    wait_until(lambda: runs.retrieve(waits.id).sync().status == "WAITING", "it waits")
    delayed = api.ours.double.apply_async((1,), countdown=600, task_id=f"mine-{uuid4()}")
    taken = api.taken.add.apply_async((1,), countdown=600)
    lists = [api.ours.double.apply_async((1,), countdown=600) for _ in range(3)]
    foreign.AsyncResult(delayed.id).revoke()
    foreign.control.revoke([taken.id, str(uuid4()), gated.id, waits.id, *(one.id for one in lists)])
    revoked = [delayed, taken, *lists]
    wait_until(
        lambda: {str(runs.retrieve(one.id).sync().status) for one in revoked} == {"CANCELED"},
        "they are cancelled",
        timeout=30,
    )
    wait_until(lambda: foreign.AsyncResult(taken.id).state == "REVOKED", "the backend is told")
    gate.touch()
    assert wait_for_output(gated) == 3
    assert str(runs.retrieve(waits.id).sync().status) == "WAITING"
    foreign.control.revoke(waits.id, terminate=True)
    wait_until(lambda: runs.retrieve(waits.id).sync().is_cancelled, "it is cancelled", timeout=30)


def wait_for_output(result: AsyncResult[Any]) -> Any:
    return runs.poll(result.id, timeout=30).sync().output


def test_a_message_of_a_producer_without_the_library(api: Api) -> None:
    url = api.app.conf.broker_url
    foreign = Celery("elsewhere", broker=url, backend=url, set_as_current=False)
    sent = foreign.send_task("double", (8,), chain=[foreign.signature("plain.add", (1,))])
    assert sent.get(timeout=PATIENCE) == 16
    wait_until(
        lambda: [16, 1] in [one.more["values"] for one in api.deployment.ledger(event="plain-add")],
        "the chain goes on",
    )
    assert runs.retrieve(run_id_of(sent.id)).sync().output == 16
    assert foreign.send_task("taken.add", (8, 2)).get(timeout=PATIENCE) == 10


def test_a_callback_that_does_not_fit_fails_and_is_not_silent(api: Api) -> None:
    result = (api.ours.double.s(1) | api.ours.double.s(2))()
    with pytest.raises(Exception, match="takes one payload"):
        result.get(timeout=PATIENCE)


def test_eager(api: Api) -> None:
    api.app.conf.task_always_eager = True
    try:
        result = api.ours.double.delay(2)
        assert (type(result), result.get()) == (EagerResult, 4)
        chained = api.ours.double.s(2) | api.taken.add.s(1) | api.ours.add_ten.s()
        assert chained().get() == 15
        assert api.taken.flaky.delay(2).get() == ["called", [2, "a"]]
        group = api.ours.double.map([1, 2])
        assert group().get() == [2, 4]
    finally:
        api.app.conf.task_always_eager = False


def test_a_call_in_a_run_is_its_child_and_not_repeated(api: Api) -> None:
    """Shown by the run's own list: a replay does not call again."""
    result = api.ours.calls.delay(3)
    assert result.get(timeout=PATIENCE) == 1
    assert [child.get(timeout=PATIENCE) for child in result.children] == [6]
