"""Messages that a worker throws away. Of two apps in one process each tells of its own."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from celery import Celery, signals
from kombu.exceptions import ContentDisallowed

from tests.waiting import wait_until
from trigger_celery import RunNotFoundError, TriggerCelery, runs


@dataclass(frozen=True)
class Consumer:
    """Of a worker: what Celery's signal comes from."""

    app: Celery
    hostname: str = "w@here"


def _found(task_id: str) -> bool:
    try:
        return runs.retrieve(task_id).sync().recorded
    except RunNotFoundError:
        return False


def test_a_message_that_another_apps_worker_does_not_know(trigger: TriggerCelery) -> None:
    other = Celery("other", broker="memory://", set_as_current=False)
    for app, task_id in ((other, "of-another"), (trigger.app, "of-ours")):
        message = SimpleNamespace(headers={"id": task_id}, delivery_info={"routing_key": "celery"})
        signals.task_unknown.send(
            Consumer(app), message=message, name="gone", id=task_id, exc=KeyError()
        )
    wait_until(lambda: _found("of-ours"), "it is recorded", timeout=30)
    run = runs.retrieve("of-ours").sync()
    assert (run.status, run.error.code) == ("SYSTEM_FAILURE", "TASK_NOT_REGISTERED")
    assert run.notes == ("rejected by worker w@here: not registered",)
    assert "autodiscover_tasks" in run.error.message
    with pytest.raises(RunNotFoundError):
        runs.retrieve("of-another").sync()


def test_a_message_that_the_worker_refuses(trigger: TriggerCelery) -> None:
    worker = Consumer(trigger.app)
    pickled, nothing = (
        SimpleNamespace(headers=headers, delivery_info={"routing_key": "celery"})
        for headers in ({"id": "pickled", "task": "shop.add", "retries": 1}, None)
    )
    signals.task_rejected.send(worker, message=nothing, exc=None)
    signals.task_rejected.send(worker, message=pickled, exc=ContentDisallowed("no pickle"))
    wait_until(lambda: _found("pickled"), "it is recorded", timeout=30)
    run = runs.retrieve("pickled").sync()
    assert (run.status, run.error.code) == ("SYSTEM_FAILURE", "TASK_MESSAGE_REJECTED")
    assert run.notes == ("rejected by worker w@here: invalid (ContentDisallowed)",)
    assert "no pickle" in run.error.message
    assert "accept_content" in run.error.message
