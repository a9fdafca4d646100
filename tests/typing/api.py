"""What type checkers see of the public API. Checked by `test_typing.py`, never run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, assert_type

from pydantic import BaseModel

from trigger_celery import (
    AttemptOutcome,
    Batch,
    BatchHandle,
    BatchItem,
    BatchResult,
    BulkAction,
    CatchErrorResult,
    Context,
    Local,
    LogLine,
    Op,
    QueuePage,
    QueueState,
    ResultOp,
    Run,
    RunHandle,
    RunPage,
    RunSubscription,
    Schedule,
    SchedulePage,
    SchedulePayload,
    Span,
    Task,
    TaskResult,
    Token,
    TokenResult,
    Usage,
    batch,
    context,
    ctx,
    logger,
    queue,
    queues,
    retry,
    run_locals,
    runs,
    scheduled_task,
    schedules,
    schema_task,
    step,
    task,
    tasks,
    usage,
    wait,
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


@scheduled_task(id="scheduled", cron="0 9 * * *")
def scheduled(payload: SchedulePayload) -> str:
    return str(payload.last_timestamp or payload.timestamp)


@scheduled_task(id="scheduled-dict", cron={"pattern": "0 9 * * *", "timezone": "Europe/Berlin"})
async def scheduled_dict(payload: dict[str, Any], ctx: Context) -> int:
    return len(payload["upcoming"]) + ctx.attempt.number


@schedules.task(id="scheduled-alone")
def scheduled_alone() -> None: ...


async def scheduling() -> None:
    assert_type(scheduled, Task[Mapping[str, Any] | None, str])
    assert_type(scheduled_alone, Task[Mapping[str, Any] | None, None])
    assert_type(scheduled.trigger(), Op[RunHandle])
    scheduled.trigger({"external_id": "x"})
    scheduled.trigger("now")  # type: ignore[arg-type]
    made = schedules.create(task=scheduled_dict, cron="@daily", deduplication_key="k")
    assert_type(made, Op[Schedule])
    assert_type(await schedules.list(task="scheduled"), SchedulePage)
    assert_type(await schedules.delete(await made), None)
    assert_type(await schedules.timezones(), list[str])
    schedules.create(task=scheduled, cron="@daily", deduplication_key="k", catch_up="some")  # type: ignore[arg-type]
    await runs.list(schedule=await made)


@schema_task(id="schema", schema=Order)
async def with_schema(payload: Order, ctx: Context) -> int:
    return payload.id


@schema_task(id="schema-alone", schema=Order)
def schema_alone(payload: Order) -> int:
    return payload.id


@task(id="with-init", init=lambda: {"rate": 1.1}, on_success=lambda output: None)
async def with_init(payload: int, ctx: Context, init: dict[str, float]) -> float:
    return payload * init["rate"]


@schema_task(id="schema-init", schema=Order, middleware=lambda go_on: None)
def schema_init(payload: Order, init: dict[str, float]) -> int:
    return payload.id


@tasks.on_start
async def on_start(payload: object, ctx: Context) -> None: ...


@tasks.on_failure("by name")
def on_failure(payload: object, error: Exception) -> None: ...


@tasks.catch_error
def catch_error(error: Exception) -> CatchErrorResult | None:
    return {"retry_delay_in_ms": 5.0}


@tasks.middleware
async def around(next: Callable[[], Awaitable[AttemptOutcome]]) -> None:
    outcome = await next()
    assert_type(outcome.ok, bool)


DB: Local[str] = run_locals.create("db")


def locals_keep_their_types() -> None:
    assert_type(run_locals.set(DB, "x"), str)
    assert_type(run_locals.get(DB), str | None)
    assert_type(run_locals.get_or_throw(DB), str)
    assert_type(ctx, Context)
    assert_type(context.current(), Context | None)


def hooks_keep_their_types() -> None:
    assert_type(with_init, Task[int, Coroutine[Any, Any, float]])
    assert_type(schema_init, Task[Order | Mapping[str, Any], int])
    on_failure({}, ValueError())
    assert_type(catch_error(ValueError()), CatchErrorResult | None)


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


async def waiting_for_children_keeps_their_types() -> None:
    op = sync_task.trigger_and_wait({"a": 1})
    assert_type(op, ResultOp[TaskResult[str], str])
    assert_type(await op, TaskResult[str])
    assert_type((await op).output, str)
    assert_type(await op.unwrap(), str)
    assert_type(sync_task.trigger_and_wait({"a": 1}).sync().unwrap(), str)
    assert_type(await async_task.trigger_and_wait(1, delay="1s"), TaskResult[list[str]])
    assert_type(await async_task.trigger_and_wait(1).unwrap(), list[str])
    assert_type(await with_schema.trigger_and_wait({"id": 1}).unwrap(), int)
    assert_type(schema_alone.trigger_and_wait(Order(id=1)).unwrap().sync(), int)
    assert_type(await only_ctx.trigger_and_wait().unwrap(), str)
    assert_type(await tasks.trigger_and_wait("sync", {"a": 1}), TaskResult[Any])


async def waiting_for_batches_keeps_their_types() -> None:
    items = [BatchItem(1)]
    assert_type(await async_task.batch_trigger_and_wait(items), BatchResult[list[str]])
    assert_type(await async_task.batch_trigger_and_wait(items).unwrap(), list[list[str]])
    assert_type(sync_task.batch_trigger_and_wait(items).sync()[0].output, str)
    assert_type([one.ok for one in sync_task.batch_trigger_and_wait(items).sync()], list[bool])
    assert_type(await batch.trigger_and_wait([{"id": "sync"}]), BatchResult[Any])
    assert_type(await batch.retrieve("batch_1"), Batch)


async def waiting_for_time_and_tokens() -> None:
    assert_type(wait.for_duration(seconds=1), Op[None])
    assert_type(wait.until(date="2999-01-01"), Op[None])
    token = await wait.create_token(timeout="1h")
    assert_type(token, Token)
    assert_type(await wait.for_token(token), TokenResult[Any])
    assert_type(await wait.for_token(token, result_type=Order), TokenResult[Order])
    assert_type(await wait.for_token(token.id, result_type=Order).unwrap(), Order)
    assert_type(wait.for_token(token, result_type=int).sync().data, int)
    assert_type(await wait.complete_token(token, {"a": 1}), bool)
    assert_type([one.id for one in await wait.list_tokens()], list[str])


async def retried_parts_keep_their_types() -> None:
    async def later(attempt: int) -> bytes:
        return bytes(attempt)

    assert_type(await retry.on_throw(later), bytes)
    assert_type(retry.on_throw(lambda: len("text"), max_attempts=2).sync(), int)
    assert_type((await retry.fetch("http://localhost")).status_code, int)


async def steps_keep_their_types() -> None:
    async def later(amount: int) -> bytes:
        return bytes(amount)

    assert_type(await step.run("later", later, 3), bytes)
    assert_type(step.run("length", len, "text").sync(), int)
    step.run("later", later, "three")  # type: ignore[call-overload]


async def reading_runs() -> None:
    assert_type(await runs.retrieve("run_1"), Run)
    assert_type(runs.poll("run_1", timeout=5).sync(), Run)
    assert_type(await runs.cancel("run_1"), Run)
    page = await runs.list(status="COMPLETED", period="7d")
    assert_type(page, RunPage)
    async for run in runs.list(status=["FAILED", "CRASHED"], limit=100):
        assert_type(run, Run)
    assert_type(await runs.replay("run_1", payload={"n": 1}, tags="x"), RunHandle)
    assert_type(await runs.bulk.cancel(filter={"status": "QUEUED", "tag": ["a"]}), BulkAction)
    assert_type(await runs.bulk.poll("bulk_1", timeout="1h"), BulkAction)
    assert_type(list(page), list[Run])
    assert_type(await queues.list(), QueuePage)
    assert_type(await queues.retrieve("q"), QueueState)


async def following_runs() -> None:
    subscription = runs.subscribe_to_run("run_1")
    assert_type(subscription, RunSubscription)
    async for run in subscription:
        assert_type(run, Run)
    for run in runs.subscribe_to_batch(await async_task.batch_trigger([])):
        assert_type(run, Run)
    async with runs.subscribe_to_runs_with_tag(["a", "b"], created_at="1h") as tagged:
        assert_type(tagged, RunSubscription)
    runs.subscribe_to_run(1)  # type: ignore[arg-type]


async def logging_and_measuring() -> None:
    def work(number: int) -> str:
        return str(number)

    async def work_async(number: int) -> str:
        return str(number)

    logger.info("hello", extra={"name": 1}, exc_info=True)
    assert_type(logger.trace("work", work, 1), str)
    assert_type(await logger.trace("work", work_async, 1), str)
    logger.trace("work", work, "1")  # type: ignore[call-overload]
    with logger.start_span("work") as span:
        assert_type(span, Span)
    async for line in runs.logs("run_1", follow=True):
        assert_type(line, LogLine)
    assert_type(usage.measure(work, 1).result, str)
    assert_type((await usage.measure(work_async, 1)).result, str)
    assert_type(await usage.get_current(), Usage)


def what_does_not_fit_is_an_error() -> None:
    sync_task.trigger("text")  # type: ignore[arg-type]
    async_task.trigger({"a": 1})  # type: ignore[arg-type]
    nothing.trigger(1)  # type: ignore[arg-type]
    with_schema.trigger(1)  # type: ignore[arg-type]
    task(id=1)  # type: ignore[arg-type]
    runs.list(limit="ten")  # type: ignore[arg-type]
