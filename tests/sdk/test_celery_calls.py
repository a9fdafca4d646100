"""Celery's own ways to call a task make runs too, and give Celery's results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from celery import Celery, group
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult

from tests.deploying import deploy
from tests.driving import Engine
from trigger_celery import (
    InvalidOptionError,
    PayloadValidationError,
    Task,
    TriggerCelery,
    UnknownOptionError,
    runs,
    schema_task,
    task,
)
from trigger_celery.bridge.celery_options import sort_options
from trigger_celery.model.ids import run_id_of


@dataclass
class Number:
    value: int


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any) -> Any:
        """Return the payload."""
        return payload

    deploy(trigger)
    return my_task


@pytest.fixture
def worker(engine: Engine) -> Engine:
    engine.register()
    return engine


def test_delay(my_task: Task[Any, Any]) -> None:
    result = my_task.delay({"n": 1})
    assert isinstance(result, AsyncResult)
    run = runs.retrieve(result.id).sync()
    assert (run.task_identifier, run.payload, run.status) == ("t", {"n": 1}, "QUEUED")


def test_apply_async_takes_trigger_options(my_task: Task[Any, Any]) -> None:
    result = my_task.apply_async(
        ({"n": 1},), queue="q", tags=["x"], priority=5, concurrency_key="k", max_attempts=2
    )
    run = runs.retrieve(result.id).sync()
    assert (run.queue, run.tags, run.priority) == ("q", ("x",), 5.0)
    assert (run.concurrency_key, run.max_attempts) == ("k", 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.apply_async(kwargs={"payload": 7}),
        lambda t: t.apply_async([7]),
        lambda t: t.delay(payload=7),
        lambda t: t.delay(7),
    ],
)
def test_forms_of_one_payload(my_task: Task[Any, Any], call: Any) -> None:
    assert runs.retrieve(call(my_task).id).sync().payload == 7


def test_no_payload(my_task: Task[Any, Any]) -> None:
    assert runs.retrieve(my_task.delay().id).sync().payload is None


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.delay(1, 2),
        lambda t: t.delay(other=1),
        lambda t: t.apply_async((1,), {"payload": 2}),
    ],
)
def test_more_than_one_payload_is_refused(my_task: Task[Any, Any], call: Any) -> None:
    with pytest.raises(InvalidOptionError, match="takes one payload"):
        call(my_task)


def test_countdown_and_eta_are_delays(my_task: Task[Any, Any]) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    for options in ({"countdown": 60}, {"eta": soon}, {"delay": "1m"}):
        run = runs.retrieve(my_task.apply_async((1,), **options).id).sync()
        assert run.status == "DELAYED"
        assert run.delayed_until is not None
        assert abs(run.delayed_until - soon) < timedelta(seconds=10)


def test_times_mean_what_they_mean_to_celery(my_task: Task[Any, Any]) -> None:
    """Without a time zone they are UTC, less than nothing is now, and countdown comes before eta."""
    soon = datetime.now(UTC) + timedelta(minutes=1)
    naive = soon.replace(tzinfo=None)
    for options in ({"eta": naive}, {"eta": naive.isoformat()}, {"eta": naive, "countdown": 0}):
        run = runs.retrieve(my_task.apply_async((1,), **options).id).sync()
        assert run.delayed_until is not None
        assert abs(run.delayed_until - soon) < timedelta(seconds=10)
    expiring = sort_options("t", {"expires": naive}).ttl_ms
    assert expiring is not None
    assert 40_000 < expiring <= 60_000
    now = my_task.apply_async((1,), eta=naive, countdown=-5)
    assert runs.retrieve(now.id).sync().status == "QUEUED"


@pytest.mark.parametrize("options", [{"expires": -1}, {"expires": 5, "countdown": 10}])
def test_what_has_expired_before_it_is_sent_is_never_begun(
    my_task: Task[Any, Any], engine: Engine, options: dict[str, Any]
) -> None:
    engine.register(direct=True)
    assert engine.take() == []
    run = my_task.apply_async((1,), **options).id
    engine.clock.advance(11_000)
    assert engine.take() == []
    engine.fire()
    engine.fire()
    found = runs.retrieve(run).sync()
    assert (found.status, found.ttl) == ("EXPIRED", "0s")


def test_two_times_are_refused(my_task: Task[Any, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="one of countdown, delay"):
        my_task.apply_async((1,), countdown=1, delay=1)


@pytest.mark.parametrize(
    "options", [{"link": "notify"}, {"link_error": [print]}, {"headers": "x"}, {"headers": ["x"]}]
)
def test_what_would_only_fail_at_the_end_is_refused_at_once(
    my_task: Task[Any, Any], options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOptionError, match=r"is not a (signature: pass one|dict: pass)"):
        my_task.apply_async((1,), **options)
    assert list(runs.list().sync()) == []


@pytest.mark.parametrize("name", ["expire", "contdown", "eat"])
def test_an_unknown_option_is_refused(my_task: Task[Any, Any], name: str) -> None:
    with pytest.raises(UnknownOptionError, match=f"no option '{name}'") as raised:
        my_task.apply_async((1,), **{name: 1})
    assert name != "contdown" or "Did you mean 'countdown'" in str(raised.value)


def test_the_result_follows_the_run(my_task: Task[Any, Any], worker: Engine) -> None:
    result = my_task.delay(1)
    assert (result.state, result.ready()) == ("PENDING", False)
    grant = worker.take_one()
    assert result.state == "STARTED"
    worker.end(grant, data='{"n":1}')
    assert (result.state, result.ready(), result.successful()) == ("SUCCESS", True, True)
    assert result.get(timeout=5) == {"n": 1}
    assert result.result == {"n": 1}


def test_get_raises_what_the_run_failed_with(my_task: Task[Any, Any], worker: Engine) -> None:
    result = my_task.delay(1)
    worker.fail(worker.take_one())
    with pytest.raises(Exception, match="ValueError: no"):
        result.get(timeout=5)
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert result.get(propagate=False) is not None


def test_a_cancelled_run_is_revoked(my_task: Task[Any, Any], worker: Engine) -> None:
    result = my_task.delay(1)
    runs.cancel(result.id).sync()
    assert result.state == "REVOKED"


def test_celerys_id_and_the_runs_lead_to_each_other(
    my_task: Task[Any, Any], app: Celery, worker: Engine
) -> None:
    app.conf.result_backend = "cache+memory://"
    named = my_task.apply_async((1,), task_id="order-7")
    parts = group([my_task.s(1), my_task.s(2)])().results
    for result in (named, *parts):
        run = runs.retrieve(result.id).sync()
        assert (run.celery_task_id, run.id) == (result.id, run_id_of(result.id))
        assert runs.retrieve(run.id).sync() == runs.retrieve(result).sync()
    own = my_task.delay(1)
    assert runs.retrieve(own.id).sync().celery_task_id is None  # it is the run's
    listed = {run.celery_task_id for run in runs.list().sync().runs}
    assert listed == {None, "order-7", *(part.id for part in parts)}
    grant = worker.take_one()
    assert grant.id == run_id_of("order-7")
    child = worker.child(grant, worker.new_run("t"))
    for parent in ("order-7", named, grant.id):
        assert [run.id for run in runs.list(parent=parent)] == [child]
        assert [run.id for run in runs.list(root=parent)] == [child]


def test_get_waits_for_its_timeout_only(my_task: Task[Any, Any]) -> None:
    with pytest.raises(CeleryTimeoutError):
        my_task.delay(1).get(timeout=0.05)


def test_an_unknown_run_is_pending(my_task: Task[Any, Any], app: Celery) -> None:
    result = app.tasks["t"].AsyncResult("run_" + "0" * 26)
    assert (result.state, result.ready()) == ("PENDING", False)


def test_celery_knows_the_task_under_its_id(my_task: Task[Any, Any], app: Celery) -> None:
    app.finalize()
    registered = app.tasks["t"]
    assert (registered.name, registered.app) == ("t", app)
    assert registered("direct") == "direct"
    assert runs.list().sync().runs == []


def test_eager_mode_runs_here_and_now(my_task: Task[Any, Any], app: Celery) -> None:
    app.conf.task_always_eager = True
    assert my_task.delay(7).get() == 7
    assert runs.list().sync().runs == []


def test_a_mock_in_the_place_of_send_task_is_called(
    trigger: TriggerCelery, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Mock(return_value="sent")
    monkeypatch.setattr(Celery, "send_task", sent)
    assert app.send_task("old.task", (1,), countdown=10) == "sent"
    sent.assert_called_once_with("old.task", (1,), countdown=10)


def test_a_task_defined_before_the_app_is_bound(registry: None, app: Celery) -> None:
    @task(id="early")
    def early() -> None:
        """Do nothing."""

    bound = TriggerCelery(app, redis_url="redis://localhost:1")
    app.finalize()
    assert "early" in app.tasks
    bound.unbind()


def test_an_eager_call_validates_as_a_run_does(trigger: TriggerCelery, app: Celery) -> None:
    @schema_task(id="double", schema=Number)
    def double(number: Number) -> int:
        return 2 * number.value

    app.conf.task_always_eager = True
    assert double.delay({"value": "21"}).get() == 42
    with pytest.raises(PayloadValidationError):
        double.delay({"value": "x"}).get()
