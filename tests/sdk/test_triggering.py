"""Triggering makes runs: by task object or by id, one or many, now or later."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from celery import Celery

from tests.deploying import deploy
from tests.driving import Clock
from trigger_celery import (
    BatchItem,
    NotBoundError,
    RunHandle,
    RunStatus,
    Task,
    TriggerCelery,
    queue,
    queues,
    runs,
    schema_task,
    task,
    tasks,
)
from trigger_celery.dev.embedded import EmbeddedServer


class Order(pydantic.BaseModel):
    id: int
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="my-task", queue=queue(name="shared", concurrency_limit=2))
    async def my_task(payload: Any) -> None:
        """Do nothing."""

    deploy(trigger, "other", "q2")
    return my_task


def test_a_task_object(my_task: Task[Any, Any]) -> None:
    handle = my_task.trigger({"order": 7}).sync()
    assert handle == RunHandle(handle.id, "my-task")
    assert str(handle) == handle.id
    run = runs.retrieve(handle.id).sync()
    assert (run.task_identifier, run.queue, run.payload) == ("my-task", "shared", {"order": 7})
    assert run.status is RunStatus.QUEUED


async def test_in_async_code(my_task: Task[Any, Any], trigger: TriggerCelery) -> None:
    handles = await asyncio.gather(*(my_task.trigger(number) for number in range(50)))
    found = await asyncio.gather(*(runs.retrieve(handle) for handle in handles))
    assert [run.payload for run in found] == list(range(50))
    await trigger.store.aclose()


def test_by_id_and_by_keyword(my_task: Task[Any, Any]) -> None:
    for op in (
        tasks.trigger("my-task", {"n": 1}),
        tasks.trigger(task_id="my-task", payload={"n": 1}),
    ):
        run = runs.retrieve(op.sync()).sync()
        assert (run.queue, run.payload) == ("shared", {"n": 1})


def test_by_id_from_a_process_that_does_not_know_the_task(trigger: TriggerCelery) -> None:
    run = runs.retrieve(tasks.trigger("elsewhere", None).sync()).sync()
    assert (run.queue, run.payload, run.status) == ("task/elsewhere", None, "pending_version")


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "text",
        "",
        0,
        [],
        {"a": [1, 2.5, None, True]},
        {"at": datetime(2024, 5, 1, tzinfo=UTC), "price": Decimal("1.10"), "ids": {1, 2}},
        {"__type__": "x", "__value__": 1},
        "é\x00\U0001f600",
        2**70,
        "x" * 200_000,
    ],
)
def test_a_payload_comes_back_as_it_was(my_task: Task[Any, Any], payload: Any) -> None:
    assert runs.retrieve(my_task.trigger(payload).sync()).sync().payload == payload


def test_a_schema_is_checked_where_it_is_triggered_and_not_by_id(trigger: TriggerCelery) -> None:
    @schema_task(id="order", schema=Order)
    def order(payload: Order) -> None:
        """Do nothing."""

    stored = runs.retrieve(order.trigger(Order(id=7)).sync()).sync().payload
    assert stored == {"id": 7, "at": datetime(2024, 1, 1, tzinfo=UTC)}
    assert runs.retrieve(order.trigger({"id": "7"}).sync()).sync().payload["id"] == 7
    bad = tasks.trigger("order", {"id": "seven"}).sync()
    assert runs.retrieve(bad).sync().payload == {"id": "seven"}


def test_what_a_schema_made_is_stored_in_a_form_that_it_takes_again(
    trigger: TriggerCelery,
) -> None:
    class Order(pydantic.BaseModel, extra="forbid"):
        number: int = pydantic.Field(alias="orderNumber")
        note: str = "none"

        @pydantic.computed_field
        def double(self) -> int:
            return 2 * self.number

    schemas: list[Any] = [Order, pydantic.TypeAdapter(Order), list[Order]]
    for schema in schemas:
        given: Any = {"orderNumber": "7"}
        wanted: Any = {"orderNumber": 7, "note": "none"}
        if schema is schemas[-1]:
            given, wanted = [given], [wanted]
        name = f"t{schemas.index(schema)}"

        @schema_task(id=name, schema=schema)
        def check(payload: Any) -> Any:
            return payload

        stored = runs.retrieve(check.trigger(given).sync()).sync().payload
        assert stored == wanted
        assert check.run(stored) == check.run(given)


def test_every_option(my_task: Task[Any, Any]) -> None:
    handle = my_task.trigger(
        {},
        delay="1h30m",
        priority=10,
        queue="other",
        concurrency_key=42,
        max_attempts=7,
        tags=["a", "b", "a"],
        metadata={"progress": 0},
    ).sync()
    run = runs.retrieve(handle).sync()
    assert run.created_at is not None
    assert run.delayed_until == run.created_at + timedelta(minutes=90)
    assert (run.status, run.priority, run.queue) == ("DELAYED", 10.0, "other")
    assert (run.concurrency_key, run.max_attempts, run.tags) == ("42", 7, ("a", "b"))
    assert run.metadata == {"progress": 0}


def test_none_means_not_given(my_task: Task[Any, Any]) -> None:
    names = ("delay", "priority", "queue", "concurrency_key", "max_attempts", "tags", "metadata")
    run = runs.retrieve(my_task.trigger({}, **dict.fromkeys(names)).sync()).sync()
    assert (run.status, run.queue, run.tags, run.metadata) == ("QUEUED", "shared", (), None)


@pytest.mark.parametrize(
    "delay", [30, 30.0, "30s", timedelta(seconds=30), datetime(2999, 1, 1, tzinfo=UTC)]
)
def test_forms_of_a_delay(my_task: Task[Any, Any], delay: Any) -> None:
    run = runs.retrieve(my_task.trigger({}, delay=delay).sync()).sync()
    assert run.status == "delayed"


def test_a_delay_follows_the_clock_of_the_server(my_task: Task[Any, Any], clock: Clock) -> None:
    clock.advance(10**9)
    run = runs.retrieve(my_task.trigger({}, delay=60).sync()).sync()
    assert run.delayed_until is not None
    assert abs(run.delayed_until.timestamp() * 1000 - clock.now() - 60_000) < 5_000


def test_a_queue_object_as_option(my_task: Task[Any, Any]) -> None:
    other = queue(name="other")
    assert runs.retrieve(my_task.trigger({}, queue=other).sync()).sync().queue == "other"


def test_a_batch(my_task: Task[Any, Any]) -> None:
    batch = my_task.batch_trigger(
        [
            {"payload": 1},
            BatchItem(2, {"tags": ["x"], "queue": "q2"}),
            {"payload": 3, "options": {"delay": 60}},
            {"payload": 4, "options": None},
        ]
    ).sync()
    assert batch.run_count == 4
    found = [runs.retrieve(handle).sync() for handle in batch.runs]
    assert [run.payload for run in found] == [1, 2, 3, 4]
    assert [run.queue for run in found] == ["shared", "q2", "shared", "shared"]
    assert [run.status for run in found] == ["QUEUED", "QUEUED", "DELAYED", "QUEUED"]
    assert found[1].tags == ("x",)


def test_a_batch_of_1000_and_of_none(my_task: Task[Any, Any]) -> None:
    batch = tasks.batch_trigger("my-task", [{"payload": n} for n in range(1000)]).sync()
    assert len({handle.id for handle in batch.runs}) == 1000
    assert queues.retrieve("shared").sync().queued == 1000
    assert my_task.batch_trigger([]).sync().run_count == 0


async def test_a_batch_in_async_code(my_task: Task[Any, Any], trigger: TriggerCelery) -> None:
    batch = await my_task.batch_trigger([{"payload": n} for n in range(600)])
    assert (await queues.retrieve("shared")).queued == 600
    assert batch.run_count == 600
    await trigger.store.aclose()


def test_worker_queues_come_from_the_task_or_from_task_routes(
    trigger: TriggerCelery, app: Celery
) -> None:
    app.conf.task_routes = {"routed": {"queue": "video"}}

    @task(id="routed")
    def routed() -> None:
        """Do nothing."""

    @task(id="own", worker_queue="gpu")
    def own() -> None:
        """Do nothing."""

    @task(id="plain")
    def plain() -> None:
        """Do nothing."""

    found = [trigger.placement(t._definition, t.id).worker_queue for t in (routed, own, plain)]
    assert found == ["video", "gpu", "celery"]


def test_without_a_bound_app_triggering_says_what_to_add(registry: None) -> None:
    with pytest.raises(NotBoundError, match=r"Add TriggerCelery\(app\)"):
        tasks.trigger("t", {})


def test_with_two_bound_apps_triggering_names_them(
    trigger: TriggerCelery, server: EmbeddedServer
) -> None:
    other = TriggerCelery(Celery("billing", set_as_current=False), redis_url=server.url)
    with pytest.raises(NotBoundError, match=r"'shop', 'billing'"):
        tasks.trigger("t", {})
    other.unbind()
