"""What follows a run is sent once, also when the result backend is away for a while."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from tests.deploying import deploy
from tests.driving import LEASE, Engine
from trigger_celery import TriggerCelery, task
from trigger_celery.worker.continuing import Continuing


@pytest.fixture
def waiting(app: Celery) -> int:
    """Messages that wait on the broker are gone before a test."""
    return taken_off(app)


def taken_off(app: Celery) -> int:
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        app.amqp.queues["celery"](channel).declare()
        return int(channel.queue_purge("celery"))


def test_a_backend_that_is_away_does_not_repeat_callbacks(
    trigger: TriggerCelery, app: Celery, engine: Engine, waiting: int, monkeypatch: Any
) -> None:
    app.conf.result_backend = "cache+memory://"

    @app.task(name="plain.note", shared=False)
    def note(value: int) -> None:
        """Stand for an old task."""

    @task(id="first")
    def first(payload: int) -> int:
        return payload

    deploy(trigger)
    engine.register()
    result = first.apply_async((1,), link=[note.s(), note.s()], chain=[note.s()], task_id="abc")
    engine.end(engine.take_one(), data="7")
    told: list[list[str]] = []

    def tell(task_id: str, value: int, context: Any, stored: bool) -> None:
        told.append([child.id for child in context.children])
        if len(told) < 3:
            raise OperationalError("the backend is away")

    monkeypatch.setattr(app.backend, "mark_as_done", tell)
    for count in (3, 0, 0):  # another worker each time
        Continuing(trigger)._tick()
        assert taken_off(app) == count
        engine.clock.advance(LEASE + 1)
    assert told[0] == told[1] == told[2]
    assert len(set(told[0])) == 3
    assert result.id == "abc"
    Continuing(trigger)._tick()
    assert len(told) == 3
