"""A run that has not started is cancelled at once."""

from __future__ import annotations

import pytest

from tests.driving import RETENTION, Engine
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import RunNotFoundError
from trigger_celery.model.ids import token


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register(queues={"q": 1})


def test_a_queued_run(engine: Engine) -> None:
    first, second = engine.create_many(2, queue="q")
    assert engine.cancel(first) == "CANCELED"
    assert engine.take_one().id == second


def test_the_last_run_of_a_lane_takes_the_lane_along(engine: Engine) -> None:
    engine.cancel(engine.create(queue="q", key="k"))
    assert engine.members("ready", token("celery")) == []
    assert engine.take() == []


def test_a_dequeued_run_frees_its_slot_for_the_next(engine: Engine) -> None:
    first, second = engine.create_many(2, queue="q")
    grant = engine.take_one(start=False)
    assert engine.cancel(first) == "CANCELED"
    assert engine.take_one().id == second
    assert engine.start(grant) is None


def test_a_run_whose_task_nobody_knows(engine: Engine) -> None:
    run = engine.create("new")
    engine.unknown(engine.take_one())
    assert engine.status(run) == "PENDING_VERSION"
    assert engine.cancel(run) == "CANCELED"
    assert engine.members("parked", token("new")) == []
    engine.register(tasks=["t", "new"])
    assert engine.take() == []


def test_the_reason_is_kept(engine: Engine) -> None:
    run = engine.create()
    engine.cancel(run)
    cancelled = engine.read(run)
    assert cancelled.error is not None
    assert cancelled.error.message == "Canceled by user"
    assert cancelled.finished_at is not None
    assert cancelled.is_cancelled


def test_of_a_final_run_nothing_changes(engine: Engine) -> None:
    run = engine.create()
    engine.end(engine.take_one())
    before = engine.fields(run)
    assert engine.cancel(run) == "COMPLETED"
    assert engine.fields(run) == before


def test_cancelling_twice_is_cancelling_once(engine: Engine) -> None:
    run = engine.create()
    assert [engine.cancel(run), engine.cancel(run)] == ["CANCELED", "CANCELED"]


def test_a_repeated_call_gets_its_first_answer(engine: Engine) -> None:
    run = engine.create()
    call = SCRIPTS.cancel_run(engine.scope, op_id="x", run_id=run, error="{}", retention=RETENTION)
    assert engine.store.send(call) == engine.store.send(call) == [[b"ok", b"CANCELED"]]


def test_an_unknown_run(engine: Engine) -> None:
    with pytest.raises(RunNotFoundError):
        engine.cancel("run_" + "0" * 26)
