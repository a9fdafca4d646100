"""One start, delivered twice: one begins; one grant, executed twice: one outcome counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from celery import Celery

from tests.driving import Engine
from trigger_celery import task
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.worker import child


@pytest.fixture
def executed(trigger: TriggerCelery) -> list[Any]:
    done: list[Any] = []

    @task(id="t")
    def once(payload: Any) -> Any:
        done.append(payload)
        return payload

    return done


@pytest.fixture
def request_of(app: Celery) -> Any:
    app.finalize()

    def make(run: str) -> dict[str, Any]:
        return {"id": run, "task": "t", "args": (1,), "kwargs": {}, "hostname": "h"}

    return make


def test_start_answers_the_first_caller_only(engine: Engine) -> None:
    engine.register()
    run = engine.create()
    grant = engine.take_one(start=False)
    answers = [engine.start(grant) for _ in range(5)]
    assert answers == [1, None, None, None, None]
    assert engine.status(run) == "EXECUTING"


def test_a_repeat_of_the_same_call_gets_the_same_answer(engine: Engine) -> None:
    engine.register()
    engine.create()
    grant = engine.take_one(start=False)
    assert [engine.start(grant, op="once") for _ in range(3)] == [1, 1, 1]


def test_a_pool_process_is_given_the_same_grant_twice(
    engine: Engine, executed: list[Any], request_of: Any
) -> None:
    engine.register()
    run = engine.create(payload="1")
    grant = engine.take_one()
    answers = [
        engine.end(grant, ending.kind, ending.detail, ending.data)
        for ending in (child.run_in_pool(grant, request_of(run))[3] for _ in range(2))
    ]
    assert answers == ["ok", "final"]
    assert executed == [1, 1]
    assert engine.status(run) == "COMPLETED"


def test_the_outcome_of_a_grant_that_was_taken_over_does_not_count(
    engine: Engine, executed: list[Any], request_of: Any
) -> None:
    engine.register()
    run = engine.create(payload="1")
    grant = engine.take_one()
    stale = replace(grant, epoch=str(int(grant.epoch) - 1))
    ending = child.run_in_pool(stale, request_of(run))[3]
    assert engine.end(stale, ending.kind, ending.detail, ending.data) == "stale"
    assert engine.back(grant) == "ok"
