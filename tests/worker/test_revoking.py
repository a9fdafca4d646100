"""What a worker does when Celery's `revoke` comes: one call to the store, in another thread."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.control import Panel
from celery.worker.pidbox import Pidbox

from tests.deploying import deploy
from tests.driving import Engine
from tests.waiting import wait_until
from trigger_celery import StoreUnavailableError, TriggerCelery, runs, task
from trigger_celery.worker import revoking
from trigger_celery.worker.celery_internals import after_revoke
from trigger_celery.worker.revoking import Revocations


@pytest.fixture
def told(trigger: TriggerCelery, engine: Engine) -> Revocations:
    """A worker of an environment with a task."""

    @task(id="t")
    def t(payload: Any) -> Any:
        return payload

    deploy(trigger)
    engine.register()
    return Revocations(trigger)


def statuses(*ids: str) -> list[str]:
    return [runs.retrieve(one).sync().status.value for one in ids]


def test_runs_by_celerys_ids_and_by_their_own(
    trigger: TriggerCelery, app: Celery, told: Revocations, engine: Engine
) -> None:
    executing = app.tasks["t"].apply_async((1,), task_id="executing")
    engine.take_one()
    named = app.tasks["t"].apply_async((1,), task_id="order-7")
    own = app.tasks["t"].delay(2).id
    told.add(Celery("another", set_as_current=False), [own], terminate=False)
    told.add(app, ["order-7", own, "unheard-of", 7, executing.id], terminate=False)
    wait_until(lambda: statuses(named.id, own) == ["CANCELED"] * 2, "they are cancelled")
    assert statuses(executing.id) == ["EXECUTING"]
    told.add(app, [executing.id], terminate=True)
    wait_until(lambda: statuses(executing.id) == ["CANCELED"], "it is cancelled")


def test_what_comes_meanwhile_is_one_call(
    trigger: TriggerCelery, app: Celery, told: Revocations, monkeypatch: Any, caplog: Any
) -> None:
    """And a store that is away is told of, and not for ever waited for."""
    gate = threading.Event()
    asked: list[Any] = []

    def away(flow: Any) -> Any:
        asked.append(next(flow))
        gate.wait(30)
        raise StoreUnavailableError("away")

    monkeypatch.setattr(trigger.store, "run_blocking", away)
    monkeypatch.setattr(revoking, "MOST", 50)
    told.add(app, ["first"], terminate=False)
    wait_until(lambda: len(asked) == 1, "the first is asked for")
    for number in range(60):
        told.add(app, [f"task-{number}"], terminate=False)
    gate.set()
    wait_until(lambda: not told._under_way, "all is done")
    assert len(asked) == 2
    failed = [one.count for one in caplog.records if one.action == "revoke_failed"]
    assert failed == [1] * 11 + [50]


def test_celerys_commands_go_on_as_they_are(app: Celery) -> None:
    """Contract: the commands are in one dict, which whoever reads the broadcasts looks into."""
    heard: list[Any] = []
    before = dict(Panel.data)
    undo = after_revoke(lambda *what: heard.append(what))
    try:
        consumer: Any = SimpleNamespace(app=app, hostname="w@h", pool=None)
        consumer.controller = SimpleNamespace(use_eventloop=False)
        node = Pidbox(consumer).node
        state = SimpleNamespace(app=app, consumer=consumer)
        assert node.handlers["revoke"](state, "abc") == {"ok": "tasks {'abc'} flagged as revoked"}
        assert node.handlers["revoke"](
            state, ["a", "b"], terminate=True, signal="TERM", reply=1
        ) == {"ok": "terminate: tasks unknown"}
        assert node.handlers["terminate"](state, "KILL", "c") == {"ok": "terminate: tasks unknown"}
        assert Panel.meta["revoke"].variadic == "task_id"
    finally:
        undo()
    assert heard == [(app, ["abc"], False), (app, ["a", "b"], True), (app, ["c"], True)]
    assert dict(Panel.data) == before
    undo()
    assert dict(Panel.data) == before
