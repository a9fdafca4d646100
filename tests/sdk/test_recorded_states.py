"""What old tasks say by `update_state` is the metadata of their runs, and costs them nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery, signals
from celery.utils import uuid

from tests.conftest import Environment
from tests.waiting import wait_until
from trigger_celery import TriggerCelery, runs
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import keys
from trigger_celery.engine.metadata import FOLD_AT, has_gathered, is_mirrored, mirror_metadata
from trigger_celery.errors import RunNotFoundError
from trigger_celery.store.op import command


class Odd(int):
    """JSON takes it, and packets do not."""

    def __repr__(self) -> str:
        raise ValueError("not to be shown")


@pytest.fixture
def old(app: Celery) -> Celery:
    app.conf.result_backend = "cache+memory://"

    @app.task(name="shop.crawl", shared=False)
    def crawl() -> None: ...

    @app.task(name="shop.quiet", shared=False, record=False)
    def quiet() -> None: ...

    return app


@pytest.fixture
def bound(
    old: Celery, server: EmbeddedServer, environment: Environment, registry: None
) -> Iterator[TriggerCelery]:
    made = TriggerCelery(
        old, redis_url=server.url, project=environment.project, env=environment.env, mask=["pin"]
    )
    yield made
    made.unbind()


@pytest.fixture
def task(bound: TriggerCelery) -> Iterator[Any]:
    """A task that is under way, as a pool process has it."""
    task: Any = bound.app.tasks["shop.crawl"]
    task_id = uuid()
    task.push_request(id=task_id, args=[], kwargs={}, retries=0, delivery_info={}, is_eager=False)
    signals.task_prerun.send(sender=task, task_id=task_id, task=task, args=(), kwargs={})
    yield task
    signals.task_postrun.send(sender=task, task_id=task_id, task=task, retval=None, state="SUCCESS")
    task.pop_request()


def shows(task_id: str, document: dict[str, Any]) -> None:
    def metadata() -> dict[str, Any] | None:
        try:
            return runs.retrieve(task_id).sync().metadata
        except RunNotFoundError:
            return None

    try:
        wait_until(lambda: metadata() == document, "the metadata is as expected")
    except AssertionError as late:
        raise AssertionError(f"{late}; it is {metadata()}") from None


def test_meta_is_metadata_masked_and_with_the_state_beside_it(task: Any) -> None:
    task.update_state(state="PROGRESS", meta={"done": 1, "pin": "1234", "at": {"page": 2}})
    document = {"done": 1, "pin": "[redacted]", "at": {"page": 2}, "state": "PROGRESS"}
    shows(task.request.id, document)
    assert task.AsyncResult(task.request.id).info["pin"] == "1234"
    task.update_state(None, "PROGRESS", {"state": "Berlin"})
    shows(task.request.id, {"state": "Berlin"})
    task.update_state(state="UPLOADING")
    shows(task.request.id, {"state": "UPLOADING"})
    task.update_state(task_id=task.request.id, meta=[1, datetime(2026, 1, 2, tzinfo=UTC)])
    shows(task.request.id, {"meta": [1, "2026-01-02T00:00:00Z"]})


def test_the_last_of_many_is_shown(task: Any) -> None:
    for number in range(5000):
        task.update_state(state="PROGRESS", meta={"done": number})
    shows(task.request.id, {"done": 4999, "state": "PROGRESS"})


def test_what_is_too_large_is_left_out_and_told_once(
    task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    task.update_state(state="PROGRESS", meta={"done": 1})
    shows(task.request.id, {"done": 1, "state": "PROGRESS"})
    with caplog.at_level(logging.WARNING, "trigger_celery"):
        for _ in range(2):
            task.update_state(state="PROGRESS", meta={"page": "x" * 300_000})
    assert [record.action for record in caplog.records] == ["metadata_refused"]  # type: ignore[attr-defined]
    task.update_state(state="PROGRESS", meta={"done": 2})
    shows(task.request.id, {"done": 2, "state": "PROGRESS"})


def test_a_task_hears_of_its_own_mistakes_only(task: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        task.update_state(task.request.id, "PROGRESS", {}, "too many")
    task.update_state(state="PROGRESS", meta={"odd": Odd(7)})
    task.update_state(task_id=uuid(), state="PROGRESS", meta={"of": "another"})  # not ours to tell
    task.update_state(state="PROGRESS", meta={"done": 3})
    shows(task.request.id, {"done": 3, "state": "PROGRESS"})


def test_a_task_is_as_it_was_when_the_line_is_gone(bound: TriggerCelery, task: Any) -> None:
    assert "update_state" in vars(task)
    bound.unbind()
    assert "update_state" not in vars(task)
    bound.init_app(bound.app)  # for the fixture to take it back


def test_a_task_with_an_update_state_of_its_own_keeps_it(bound: TriggerCelery) -> None:
    said = []

    def own(**given: Any) -> str:
        said.append(given)
        return "mine"

    task: Any = bound.app.tasks["shop.crawl"]
    task.update_state = own
    signals.task_prerun.send(sender=task, task_id=uuid(), task=task, args=(), kwargs={})
    assert task.update_state(state="PROGRESS") == "mine"
    assert said == [{"state": "PROGRESS"}]
    bound.unbind()
    assert task.update_state is own
    bound.init_app(bound.app)


def test_a_task_that_is_not_recorded_is_let_alone(bound: TriggerCelery) -> None:
    task: Any = bound.app.tasks["shop.quiet"]
    signals.task_prerun.send(sender=task, task_id=uuid(), task=task, args=(), kwargs={})
    assert "update_state" not in vars(task)


def test_a_long_task_leaves_no_heap_of_changes(bound: TriggerCelery, task: Any) -> None:
    task.update_state(state="PROGRESS", meta={"done": 0})
    shows(task.request.id, {"done": 0, "state": "PROGRESS"})
    run_id = runs.retrieve(task.request.id).sync().id
    for number in range(1, FOLD_AT):
        [reply] = bound.store.send(mirror_metadata(bound.scope, run_id, f'{{"done":{number}}}'))
        assert is_mirrored(reply)
    assert has_gathered(reply)
    task.update_state(state="PROGRESS", meta={"done": FOLD_AT})
    shows(task.request.id, {"done": FOLD_AT, "state": "PROGRESS"})
    left = keys.key(bound.scope, "metadata_changes", run_id)
    wait_until(lambda: bound.store.send(command("LLEN", left)) == [0], "they are folded in")
