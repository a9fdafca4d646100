"""Batches of one task and of several: made, read, and with items that cannot be triggered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from tests.driving import Engine
from trigger_celery import (
    BatchNotFoundError,
    BatchStatus,
    BatchTooLargeError,
    BatchTriggerError,
    InvalidDurationError,
    InvalidOptionError,
    PayloadNotSerializableError,
    PayloadTooLargeError,
    PayloadValidationError,
    RunStatus,
    Task,
    TriggerCelery,
    UnknownOptionError,
    batch,
    runs,
    schema_task,
    task,
    tasks,
)
from trigger_celery.dev.embedded import EmbeddedServer

TOO_LARGE = "x" * (10 * 2**20 + 1)


class Order(pydantic.BaseModel):
    id: int


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any) -> None:
        """Do nothing."""

    return my_task


@pytest.fixture
def order(trigger: TriggerCelery) -> Task[Any, Any]:
    @schema_task(id="order", schema=Order)
    def order(payload: Order) -> None:
        """Do nothing."""

    return order


@pytest.fixture
def worker(engine: Engine) -> Engine:
    engine.register(tasks=("t", "order"))
    return engine


def end_all(worker: Engine) -> None:
    for grant in worker.take(want=10):
        worker.end(grant, data="1")


def test_a_batch_of_several_tasks(
    my_task: Task[Any, Any], order: Task[Any, Any], worker: Engine
) -> None:
    made = batch.trigger_by_task(
        [
            {"task": my_task, "payload": 1, "options": {"tags": "a"}},
            {"task": order, "payload": {"id": "7"}},
        ]
    ).sync()
    found = [runs.retrieve(handle).sync() for handle in made.runs]
    assert [(run.task_identifier, run.payload) for run in found] == [("t", 1), ("order", {"id": 7})]
    assert found[0].tags == ("a",)
    assert {run.batch_id for run in found} == {made.id}


def test_by_id_nothing_is_validated(order: Task[Any, Any], worker: Engine) -> None:
    made = batch.trigger([{"id": "order", "payload": {"id": "seven"}}, {"id": "elsewhere"}]).sync()
    found = [runs.retrieve(handle).sync() for handle in made.runs]
    assert [run.payload for run in found] == [{"id": "seven"}, None]


def test_the_life_of_a_batch(my_task: Task[Any, Any], worker: Engine) -> None:
    made = my_task.batch_trigger([{"payload": n} for n in range(3)]).sync()
    found = batch.retrieve(made).sync()
    assert (found.status, found.run_count, found.is_completed) == ("processing", 3, False)
    assert found.runs == tuple(handle.id for handle in made.runs)
    assert (found.parent_id, found.errors, found.completed_at) == (None, (), None)
    first, *others = worker.take(want=3)
    worker.fail(first)
    for grant in others:
        worker.end(grant, data="1")
    done = batch.retrieve(made.id).sync()
    assert (done.status, done.is_completed) == (BatchStatus.COMPLETED, True)
    assert done.completed_at is not None
    assert done.to_dict()["runs"] == list(found.runs)


def test_an_empty_batch_is_complete_at_once(my_task: Task[Any, Any]) -> None:
    for call in (my_task.batch_trigger, batch.trigger, batch.trigger_by_task):
        made = call([]).sync()
        assert (made.runs, made.run_count) == ((), 0)
        assert batch.retrieve(made).sync().status == "COMPLETED"


WAYS: list[Callable[[Task[Any, Any], list[dict[str, Any]]], Any]] = [
    lambda t, items: t.batch_trigger(items),
    lambda t, items: tasks.batch_trigger("t", items),
    lambda t, items: batch.trigger([{"id": "t", **item} for item in items]),
    lambda t, items: batch.trigger_by_task([{"task": t, **item} for item in items]),
]
each_way = pytest.mark.parametrize("way", WAYS, ids=["task", "tasks", "batch", "by task"])


@each_way
def test_over_a_thousand_items_are_refused(
    my_task: Task[Any, Any], engine: Engine, way: Any
) -> None:
    with pytest.raises(BatchTooLargeError, match="at most 1,000 items, this one has 1,001"):
        way(my_task, [{"payload": n} for n in range(1001)])
    assert runs.list().sync().runs == []
    assert way(my_task, [{"payload": n} for n in range(1000)]).sync().run_count == 1000


@each_way
@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"payload": object()}, PayloadNotSerializableError),
        ({"payload": 1, "options": {"delay": "soon"}}, InvalidDurationError),
        ({"payload": 1, "options": {"dealy": 1}}, UnknownOptionError),
    ],
)
def test_a_bad_item_is_named_and_nothing_is_stored(
    my_task: Task[Any, Any], engine: Engine, way: Any, item: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="batch item 2: "):
        way(my_task, [{"payload": 1}, {"payload": 2}, item])
    assert runs.list().sync().runs == []


def test_a_payload_that_does_not_fit_the_schema_is_named(order: Task[Any, Any]) -> None:
    with pytest.raises(PayloadValidationError, match="batch item 1: "):
        order.batch_trigger([{"payload": {"id": 1}}, {"payload": {"id": "seven"}}])


@pytest.mark.parametrize("items", [{"payload": 1}, "text", 7, None])
def test_what_is_no_list_of_items(my_task: Task[Any, Any], items: Any) -> None:
    for call in (my_task.batch_trigger, batch.trigger, batch.trigger_by_task):
        with pytest.raises(InvalidOptionError):
            call(items)


@pytest.mark.parametrize(
    ("call", "items", "message"),
    [
        (batch.trigger, [{"task": "t"}], "batch item 0 is not {'id'"),
        (batch.trigger, [{"id": "t", "paylaod": 1}], "batch item 0"),
        (batch.trigger_by_task, [{"task": "t"}], "with ids there is batch.trigger"),
        (batch.trigger_by_task, [{"id": "t"}], "batch item 0 is not {'task'"),
    ],
)
def test_items_of_a_wrong_form(trigger: TriggerCelery, call: Any, items: Any, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        call(items)


@pytest.mark.parametrize("way", WAYS[:2], ids=["task", "tasks"])
def test_a_payload_that_is_too_large_in_a_batch_of_one_task(
    my_task: Task[Any, Any], engine: Engine, way: Any
) -> None:
    with pytest.raises(PayloadTooLargeError, match="batch item 1: "):
        way(my_task, [{"payload": 1}, {"payload": TOO_LARGE}])
    assert runs.list().sync().runs == []


@pytest.mark.parametrize("way", WAYS[2:], ids=["batch", "by task"])
def test_a_payload_that_is_too_large_in_a_batch_of_any_tasks(
    my_task: Task[Any, Any], worker: Engine, way: Any
) -> None:
    items = [{"payload": 1}, {"payload": TOO_LARGE, "options": {"tags": "big"}}, {"payload": 3}]
    made = way(my_task, items).sync()
    assert made.run_count == 3
    found = [runs.retrieve(handle).sync() for handle in made.runs]
    assert [run.status for run in found] == ["QUEUED", "SYSTEM_FAILURE", "QUEUED"]
    assert found[1].error is not None
    assert found[1].error.code == "PAYLOAD_TOO_LARGE"
    assert batch.retrieve(made).sync().status == "PROCESSING"
    end_all(worker)
    done = batch.retrieve(made).sync()
    assert done.status == BatchStatus.PARTIAL_FAILED
    (error,) = done.errors
    assert (error.index, error.task_identifier, error.error_code) == (1, "t", "PAYLOAD_TOO_LARGE")
    assert "over the limit" in error.error
    assert done.to_dict()["errors"][0]["index"] == 1


def test_a_batch_of_nothing_but_failures_is_over_at_once(my_task: Task[Any, Any]) -> None:
    made = batch.trigger([{"id": "t", "payload": TOO_LARGE}]).sync()
    assert batch.retrieve(made).sync().status == "PARTIAL_FAILED"
    assert runs.poll(made.runs[0], timeout=5).sync().status is RunStatus.SYSTEM_FAILURE


@pytest.mark.parametrize("name", ["batch_" + "0" * 26, "batch_1", "run_" + "0" * 26])
def test_a_batch_that_is_not_there(trigger: TriggerCelery, engine: Engine, name: str) -> None:
    with pytest.raises(BatchNotFoundError, match="never triggered"):
        batch.retrieve(name).sync()


def test_what_is_no_batch(trigger: TriggerCelery) -> None:
    with pytest.raises(InvalidOptionError, match="is not a batch"):
        batch.retrieve(7)  # type: ignore[arg-type]


def test_a_server_that_is_away(registry: None, app: Any) -> None:
    with EmbeddedServer() as server:
        bound = TriggerCelery(app, redis_url=server.url, store_retry=0.1)
        batch.trigger([]).sync()
        server.stop()
        with pytest.raises(BatchTriggerError, match="could not be triggered") as failed:
            batch.trigger([{"id": "t"}]).sync()
        assert (failed.value.phase, failed.value.item_count) == ("create", 1)
        assert failed.value.batch_id
        bound.unbind()


def test_a_server_that_was_never_there(registry: None, app: Any, tmp_path: Path) -> None:
    bound = TriggerCelery(app, redis_url=f"unix://{tmp_path}/none", store_retry=0.1)
    try:
        with pytest.raises(BatchTriggerError):
            batch.trigger([{"id": "t"}]).sync()
    finally:
        bound.unbind()
