"""What type checkers see of the public API. Checked by `test_typing.py`, never run."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, assert_type

from pydantic import BaseModel

from trigger_celery import (
    BatchHandle,
    BatchItem,
    Context,
    Op,
    QueueState,
    Run,
    RunHandle,
    RunPage,
    Task,
    queue,
    queues,
    runs,
    schema_task,
    task,
    tasks,
)


class Order(BaseModel):
    id: int


@task(id="sync")
def sync_task(payload: dict[str, int]) -> str:
    return str(payload)


@task(id="async", queue=queue(name="q", concurrency_limit=4), retry={"max_attempts": 3})
async def async_task(payload: int) -> list[str]:
    return [str(payload)]


@task(id="with-ctx")
async def with_ctx(payload: int, ctx: Context) -> float:
    return payload / ctx.attempt.number


@task(id="ctx-by-name")
def ctx_by_name(payload: int, *, ctx: Context) -> float:
    return payload / ctx.attempt.number


@task(id="only-ctx")
def only_ctx(ctx: Context) -> str:
    return ctx.run.id


@task(id="nothing")
def nothing() -> None: ...


@task(id="optional")
def optional(payload: int | None = None) -> bytes:
    return bytes(payload or 0)


@schema_task(id="schema", schema=Order)
async def with_schema(payload: Order, ctx: Context) -> int:
    return payload.id


@schema_task(id="schema-alone", schema=Order)
def schema_alone(payload: Order) -> int:
    return payload.id


def tasks_keep_their_types() -> None:
    assert_type(sync_task, Task[dict[str, int], str])
    assert_type(async_task, Task[int, Coroutine[Any, Any, list[str]]])
    assert_type(with_ctx, Task[int, Coroutine[Any, Any, float]])
    assert_type(ctx_by_name, Task[int, float])
    assert_type(only_ctx, Task[None, str])
    assert_type(nothing, Task[None, None])
    assert_type(optional, Task[int | None, bytes])
    assert_type(with_schema, Task[Order | Mapping[str, Any], Coroutine[Any, Any, int]])
    assert_type(schema_alone, Task[Order | Mapping[str, Any], int])


async def calling_the_function_gives_what_it_returns() -> None:
    assert_type(sync_task.run({"a": 1}), str)
    assert_type(sync_task({"a": 1}), str)
    assert_type(await async_task.run(1), list[str])
    assert_type(only_ctx.run(), str)


async def operations_give_the_same_either_way() -> None:
    assert_type(sync_task.trigger({"a": 1}), Op[RunHandle])
    assert_type(sync_task.trigger({"a": 1}, delay="1h", tags=["x"]).sync(), RunHandle)
    assert_type(await with_schema.trigger({"id": 1}), RunHandle)
    assert_type(await with_schema.trigger(Order(id=1)), RunHandle)
    assert_type(await nothing.trigger(), RunHandle)
    assert_type(await optional.trigger(1), RunHandle)
    assert_type(await async_task.batch_trigger([{"payload": 1}, BatchItem(2)]), BatchHandle)
    assert_type(await tasks.trigger("sync", {"a": 1}), RunHandle)
    assert_type(await tasks.trigger_and_poll("sync", {"a": 1}, timeout=5), Run)
    assert_type(await tasks.batch_trigger("sync", [{"payload": 1}]), BatchHandle)


async def reading_runs() -> None:
    assert_type(await runs.retrieve("run_1"), Run)
    assert_type(runs.poll("run_1", timeout=5).sync(), Run)
    assert_type(await runs.cancel("run_1"), Run)
    page = await runs.list(status="COMPLETED", period="7d")
    assert_type(page, RunPage)
    assert_type(list(page), list[Run])
    assert_type(await queues.list(), list[QueueState])


def what_does_not_fit_is_an_error() -> None:
    sync_task.trigger("text")  # type: ignore[arg-type]
    async_task.trigger({"a": 1})  # type: ignore[arg-type]
    nothing.trigger(1)  # type: ignore[arg-type]
    with_schema.trigger(1)  # type: ignore[arg-type]
    task(id=1)  # type: ignore[arg-type]
    runs.list(limit="ten")  # type: ignore[arg-type]
