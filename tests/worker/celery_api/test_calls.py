"""Options of `apply_async`, results, and messages of producers without the library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from celery import Celery
from celery.result import EagerResult

from tests.waiting import wait_until
from tests.worker.celery_api.calling import PATIENCE, Api
from trigger_celery import runs
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
