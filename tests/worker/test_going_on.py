"""What follows a run when broker or result backend are away, or do not take it."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.backends.cache import DummyClient
from kombu.exceptions import OperationalError

from tests.driving import LEASE, Engine
from trigger_celery import TriggerCelery, runs, task
from trigger_celery.bridge.celery_side import dump_side
from trigger_celery.engine.admission import Extras
from trigger_celery.worker.continuing import Continuing


@pytest.fixture
def plain(app: Celery) -> Any:
    DummyClient().cache.clear()  # the process has one
    app.conf.update(result_backend="cache+memory://", task_publish_retry=False)

    @app.task(name="plain", shared=False)
    def plain(value: int) -> None: ...

    app.finalize()
    return plain


@pytest.fixture
def continuing(trigger: TriggerCelery) -> Continuing:
    trigger.configure(**{**trigger.keywords, "worker_lease": LEASE / 1000})
    return Continuing(trigger)


def end_one(engine: Engine, **side: Any) -> str:
    engine.register()
    text = dump_side({"id": "first", **side}, "c")
    run = engine.create(extras=Extras(task_id="first", celery=text))
    engine.end(engine.take_one(), data="7")
    return run


def test_it_waits_for_the_broker(
    plain: Any, continuing: Continuing, engine: Engine, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def send(name: str, args: Any, *more: Any, **options: Any) -> Any:
        sent.append((args, options["task_id"]))
        if len(sent) == 1:
            raise OperationalError("away")
        return app.AsyncResult("second")

    monkeypatch.setattr(app, "send_task", send)
    end_one(engine, callbacks=[dict(plain.s())])
    continuing._tick()
    assert (len(sent), app.AsyncResult("first").state) == (1, "PENDING")
    continuing._tick()
    assert len(sent) == 1  # not again and again: after its lease
    engine.clock.advance(LEASE + 1)
    continuing._tick()
    assert sent[0] == sent[1]  # under the same task id
    assert app.AsyncResult("first").get() == 7
    assert [child.id for child in app.AsyncResult("first").children] == ["second"]
    engine.clock.advance(LEASE + 1)
    continuing._tick()
    assert len(sent) == 2


def test_a_callback_that_does_not_take_the_result(
    plain: Any,
    continuing: Continuing,
    engine: Engine,
    app: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    following = plain.s(1, 2).set(task_id="second")
    last = plain.s().set(task_id="third")
    end_one(engine, chain=[dict(last), dict(following)])
    continuing._tick()
    assert app.AsyncResult("first").get() == 7
    for lost in ("second", "third"):
        assert app.AsyncResult(lost).state == "FAILURE"
    assert "cannot follow run" in caplog.text


def test_what_is_broken_is_given_up(
    plain: Any, continuing: Continuing, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    end_one(engine, chain=5)
    continuing._tick()
    assert "is lost" in caplog.text
    assert engine.members("continuing") == []


def test_the_last_runs_of_a_worker(
    plain: Any, continuing: Continuing, engine: Engine, app: Any
) -> None:
    end_one(engine)
    continuing.finish()
    assert app.AsyncResult("first").state == "PENDING"  # nobody said that there is something
    continuing.poke()
    continuing.stop()
    continuing.finish()
    assert app.AsyncResult("first").get() == 7


def test_a_failed_run_raises_what_it_raised(
    plain: Any, continuing: Continuing, engine: Engine, app: Any, trigger: TriggerCelery
) -> None:
    @task(id="ours")
    def ours(payload: Any) -> None: ...

    engine.register("w1", ["ours"])
    result = ours.apply_async((1,), task_id="bad")
    engine.fail(engine.take_one())
    continuing._tick()
    assert runs.retrieve("bad").sync().status == "FAILED"
    with pytest.raises(ValueError, match="no"):
        app.AsyncResult("bad").get()
    assert result.failed()
