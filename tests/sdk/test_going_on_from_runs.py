"""What follows a run is sent once, also when the result backend is away for a while."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, chord, group
from kombu.exceptions import OperationalError

from tests.broker import ids_taken_off
from tests.deploying import deploy
from tests.driving import LEASE, Engine
from trigger_celery import TriggerCelery, task
from trigger_celery.worker.continuing import Continuing


@pytest.fixture
def waiting(app: Celery) -> int:
    """Messages that wait on the broker are gone before a test."""
    return taken_off(app)


def taken_off(app: Celery) -> int:
    return len(ids_taken_off(app))


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


class Death(BaseException):
    """Stands for SIGKILL: nobody catches it."""


def go_on(trigger: TriggerCelery, engine: Engine) -> None:
    """Let a worker go on from the runs that have ended, as soon as they are nobody's."""
    engine.clock.advance(LEASE + 1)
    try:
        Continuing(trigger)._tick()
    except Death:
        return


def breaks_at(app: Celery, monkeypatch: Any, problem: BaseException, number: int) -> None:
    """Let the broker refuse the message with this number, once."""
    amqp: Any = app.amqp
    send, sent = amqp.send_task_message, []

    def broken(*args: Any, **options: Any) -> Any:
        sent.append(1)
        if len(sent) == number:
            raise problem
        return send(*args, **options)

    monkeypatch.setattr(amqp, "send_task_message", broken)


@pytest.fixture
def ending(trigger: TriggerCelery, app: Celery, engine: Engine, waiting: int) -> Any:
    """Ends a run of a task, with what its caller has linked to it."""
    app.conf.result_backend = "cache+memory://"

    @app.task(name="plain.old", shared=False)
    def old(task_id: str) -> None:
        """Stand for an errback that gets an id, and so is sent."""

    @app.task(name="plain.note", shared=False)
    def note(*values: Any) -> None:
        """Stand for a callback."""

    @app.task(name="plain.here", shared=False)
    def here(request: Any, problem: Any, traceback: Any) -> None:
        executed.append(request.id)

    executed: list[str] = []

    @task(id="first")
    def first(payload: int) -> int:
        return payload

    deploy(trigger)
    engine.register()

    def end(link: Any, *, failed: bool) -> list[str]:
        first.apply_async((1,), **{"link_error" if failed else "link": link(old, note, here)})
        (engine.fail if failed else engine.end)(engine.take_one())
        return executed

    return end


def test_errbacks_are_called_once_though_the_broker_breaks_off(
    trigger: TriggerCelery, app: Celery, engine: Engine, ending: Any, monkeypatch: Any
) -> None:
    executed = ending(lambda old, note, here: [here.s(), old.s(), old.s(), old.s()], failed=True)
    breaks_at(app, monkeypatch, OperationalError("away"), 2)
    go_on(trigger, engine)
    first = ids_taken_off(app)
    assert (len(first), len(executed)) == (1, 1)
    go_on(trigger, engine)
    second = ids_taken_off(app)
    assert (len({*first, *second}), len(second), len(executed)) == (3, 2, 1)
    go_on(trigger, engine)
    assert ids_taken_off(app) == []


@pytest.mark.parametrize("failed", [False, True])
def test_what_a_killed_worker_has_sent_is_sent_again_under_the_same_ids(
    trigger: TriggerCelery, app: Celery, engine: Engine, ending: Any, monkeypatch: Any, failed: bool
) -> None:
    """Also of the parts of a chain, a group and a chord."""

    def link(old: Any, note: Any, here: Any) -> list[Any]:
        pair = [old.si("a"), old.si("b")]
        return [old.s(), old.si("c") | note.si(), group(pair), chord(pair, note.si()), old.s()]

    ending(link, failed=failed)
    breaks_at(app, monkeypatch, Death(), 7)
    go_on(trigger, engine)
    first = ids_taken_off(app)
    go_on(trigger, engine)
    second = ids_taken_off(app)
    assert len(first) == 6
    assert second[:6] == first
    assert len(set(second)) == len(second) >= 7


def test_an_errback_that_cannot_be_sent_leaves_the_others_alone(
    trigger: TriggerCelery, app: Celery, engine: Engine, ending: Any, monkeypatch: Any, caplog: Any
) -> None:
    ending(lambda old, note, here: [old.s(), old.s()], failed=True)
    breaks_at(app, monkeypatch, ValueError("not this one"), 1)
    go_on(trigger, engine)
    assert len(ids_taken_off(app)) == 1
    assert "callback_refused" in [getattr(one, "action", "") for one in caplog.records]
    go_on(trigger, engine)
    assert ids_taken_off(app) == []
