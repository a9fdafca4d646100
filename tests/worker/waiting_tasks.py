"""Tasks that wait, for `tests/worker/waits` and the fault tests. Their ledger is that of `app_tasks`."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tests.worker import branching_tasks, logging_tasks, retrying_tasks, sending_tasks
from tests.worker.app_tasks import QUICK, app, note, spend, spend_blocking, write
from trigger_celery import (
    AbortTaskRunError,
    BatchItem,
    Context,
    WaitCycleError,
    batch,
    idempotency_keys,
    logger,
    queue,
    runs,
    step,
    task,
    tasks,
    wait,
)

__all__ = ["app", "branching_tasks", "logging_tasks", "retrying_tasks", "sending_tasks"]

ONE = queue(name="one", concurrency_limit=1)


def price(amount: int) -> int:
    note("step price")
    return amount * 3


async def price_async(amount: int) -> int:
    note("step price")
    return amount * 3


def items(count: int) -> list[BatchItem]:
    return [BatchItem(number) for number in range(count)]


# Programs that use all there is


@task(id="program")
async def program(payload: dict[str, Any]) -> dict[str, Any]:
    note("begin")
    token = await wait.create_token(timeout="1h")
    note("token", token=token.id)
    cost = await step.run("price", price_async, payload["amount"])
    approval = await wait.for_token(token).unwrap()
    child = await tasks.trigger_and_wait("echo", {"cost": cost}).unwrap()
    one, _, many, two = await asyncio.gather(
        tasks.trigger_and_wait("echo", "one").unwrap(),
        wait.for_duration(seconds=0.1),
        tasks.batch_trigger_and_wait("echo", items(3)).unwrap(),
        step.run("two", price, 2),
    )
    mixed = await batch.trigger_and_wait([{"id": "echo", "payload": 1}, {"id": "break"}])
    return {
        "approval": approval,
        "child": child,
        "gathered": [one, many, two],
        "mixed": [result.ok for result in mixed],
    }


@task(id="shares")
async def shares(payload: str, ctx: Context) -> dict[str, Any]:
    note("begin")
    mine = await tasks.trigger("echo", "mine", idempotency_key="mine")
    ours = await idempotency_keys.create(["ours", payload], scope="global")
    child = await tasks.trigger_and_wait("echo", "ours", idempotency_key=ours)
    await wait.for_duration(seconds=1)
    keyed = {"payload": 1, "options": {"idempotency_key": "one"}}
    many = await tasks.batch_trigger_and_wait("echo", [keyed, keyed, {"payload": 2}])
    debounce = {"key": payload, "delay": 1, "mode": "trailing"}
    put_off = await tasks.trigger_and_wait("echo", ctx.run.id, debounce=debounce)
    return {
        "mine": [mine.id, mine.is_cached],
        "child": child,
        "many": [result.output for result in many],
        "same": many[0].id == many[1].id,
        "put_off": put_off,
        "run": [ctx.run.idempotency_key, ctx.run.idempotency_key_scope, ctx.run.is_test],
        "labels": [ctx.run.version, ctx.run.machine, ctx.run.ttl],
    }


@task(id="program-sync")
def program_sync(payload: dict[str, Any]) -> dict[str, Any]:
    note("begin")
    token = wait.create_token(timeout="1h").sync()
    note("token", token=token.id)
    cost = step.run("price", price, payload["amount"]).sync()
    approval = wait.for_token(token).unwrap().sync()
    child = tasks.trigger_and_wait("echo", {"cost": cost}).unwrap().sync()
    one = tasks.trigger_and_wait("echo", "one").unwrap().sync()
    wait.for_duration(seconds=0.1).sync()
    many = tasks.batch_trigger_and_wait("echo", items(3)).unwrap().sync()
    two = step.run("two", price, 2).sync()
    mixed = batch.trigger_and_wait([{"id": "echo", "payload": 1}, {"id": "break"}]).sync()
    return {
        "approval": approval,
        "child": child,
        "gathered": [one, many, two],
        "mixed": [result.ok for result in mixed],
    }


@task(id="break")
async def break_(payload: Any) -> None:
    raise ValueError("broken")


@task(id="nest", queue=ONE, retry=QUICK)
async def nest(payload: int) -> int:
    return 0 if payload == 0 else 1 + await tasks.trigger_and_wait("nest", payload - 1).unwrap()


@task(id="nest-sync", queue=ONE, retry=QUICK)
def nest_sync(payload: int) -> int:
    if payload == 0:
        return 0
    return 1 + tasks.trigger_and_wait("nest-sync", payload - 1).unwrap().sync()


@task(id="in-one", queue=ONE)
async def in_one(payload: dict[str, Any]) -> int:
    note("begin")
    await spend(payload)
    note("end")
    return 1


# Waits side by side, and waits that are given up


@task(id="nested-gather")
async def nested_gather(payload: Any) -> list[Any]:
    async def pair(name: str) -> list[Any]:
        first = await asyncio.gather(
            tasks.trigger_and_wait("echo", f"{name}1").unwrap(),
            step.run("one", price, 1),
        )
        return [*first, await tasks.trigger_and_wait("echo", f"{name}2").unwrap()]

    return list(await asyncio.gather(pair("a"), pair("b"), wait.for_duration(seconds=0.05)))


@task(id="task-group")
async def task_group(payload: Any) -> list[Any]:
    async def child(value: int) -> Any:
        await wait.for_duration(seconds=0.02 * value)
        return await tasks.trigger_and_wait("echo", value).unwrap()

    async with asyncio.TaskGroup() as group:
        made = [group.create_task(child(value)) for value in range(3)]
    return [one.result() for one in made]


@task(id="group-fails", queue=ONE)
async def group_fails(payload: Any) -> str:
    """One of the group fails while its sisters wait: their waits are given up."""

    async def sister() -> None:
        await wait.for_duration(hours=1)

    async def failing() -> None:
        await wait.for_duration(seconds=0.05)
        raise ValueError("the group fails")

    try:
        async with asyncio.TaskGroup() as group:
            for function in (sister, failing, sister):
                group.create_task(function())
    except* ValueError:
        note("failed")
    await spend({"seconds": 0.1})
    return "went on"


@task(id="give-up", queue=ONE)
async def give_up(payload: dict[str, Any]) -> list[Any]:
    """Wait for a token for a moment; then work, in a slot; then wait for another run."""
    token = await wait.create_token(timeout="1h")
    note("token", token=token.id)
    match payload["how"]:
        case "wait_for":
            try:
                await asyncio.wait_for(wait.for_token(token), 0.1)
            except TimeoutError:
                note("given up")
        case "timeout":
            try:
                async with asyncio.timeout(0.1):
                    await wait.for_token(token)
            except TimeoutError:
                note("given up")
        case "both":
            try:
                async with asyncio.timeout(0.1):
                    await asyncio.gather(wait.for_token(token), wait.for_duration(hours=1))
            except TimeoutError:
                note("given up")
        case "race":
            with_child = asyncio.ensure_future(tasks.trigger_and_wait("echo", 1))
            waiting = asyncio.ensure_future(wait.for_token(token))
            _, left = await asyncio.wait({with_child, waiting}, return_when=asyncio.FIRST_COMPLETED)
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            note("given up")
    note("begin")
    await spend(payload)
    note("end")
    child = await tasks.trigger_and_wait("in-one", {}).unwrap()
    return [child, (await wait.retrieve_token(token)).status == "COMPLETED"]


@task(id="give-up-then-wait", queue=ONE)
async def give_up_then_wait(payload: Any) -> int:
    """What was given up is completed while the run waits for something else."""
    token = await wait.create_token(timeout="1h")
    try:
        async with asyncio.timeout(0.05):
            await wait.for_token(token)
    except TimeoutError:
        note("given up", token=token.id)
    return await tasks.trigger_and_wait("gated-in-one", payload).unwrap()


@task(id="gated-in-one", queue=ONE, retry=QUICK)
async def gated_in_one(payload: dict[str, Any]) -> int:
    """Give the slot back to wait for a token, then need it again."""
    token = await wait.create_token(timeout="1h")
    note("child token", token=token.id)
    await wait.for_token(token)
    return 1


@task(id="twins")
async def twins(payload: str) -> list[Any]:
    """Wait for the same token twice at once, and give one of the two up."""

    async def briefly() -> str:
        try:
            async with asyncio.timeout(0.05):
                await wait.for_token(payload)
        except TimeoutError:
            note("given up")
            return "given up"
        return "in time"

    first = await asyncio.gather(briefly(), wait.for_token(payload).unwrap())
    return [*first, *await asyncio.gather(*(wait.for_token(payload).unwrap() for _ in range(2)))]


@task(id="impatient")
async def impatient(payload: str, ctx: Any) -> str:
    """Give a child up that then waits for this run."""
    try:
        async with asyncio.timeout(0.05):
            await tasks.trigger_and_wait("asks-parent", payload)
    except TimeoutError:
        note("given up")
    await wait.for_token(payload)
    await wait.for_duration(seconds=0.2)
    return "done"


@task(id="asks-parent")
async def asks_parent(payload: str, ctx: Any) -> Any:
    await wait.for_token(payload)
    return (await runs.poll(ctx.run.parent_id)).output


@task(id="repeats")
async def repeats(payload: str, ctx: Context) -> Any:
    """Replay a run before and after a wait, alone and with others."""
    if ctx.run.is_replay:
        return ctx.run.replayed_from
    before = [await runs.replay(payload), await runs.replay(payload, payload="other")]
    action = await runs.bulk.replay(run_ids=[payload])
    await wait.for_duration(seconds=0.6)
    after = await runs.replay(payload)
    return [[handle.id for handle in (*before, after)], action.id]


@task(id="brief")
async def brief(payload: float) -> str:
    """Give many waits up after moments of all lengths: also while the server is being asked."""
    given_up = 0
    for number in range(40):
        try:
            async with asyncio.timeout(payload * number):
                await wait.for_duration(hours=1)
        except TimeoutError:
            given_up += 1
    return f"{given_up} given up"


@task(id="finally")
async def finally_(payload: dict[str, Any]) -> str:
    token = await wait.create_token(timeout=payload.get("timeout", "1h"))
    note("token", token=token.id)
    try:
        try:
            await wait.for_token(token).unwrap()
        finally:
            note("inner")
            await tasks.trigger_and_wait("echo", "clean-up").unwrap()
            note("cleaned")
    except Exception as problem:
        return type(problem).__name__
    return "completed"


# Results and errors


@task(id="judge")
async def judge(payload: dict[str, Any]) -> dict[str, Any]:
    """Wait for a child that is named, and return its result as it is."""
    options = payload.get("options", {})
    return await tasks.trigger_and_wait(payload["task"], payload.get("payload"), **options)


@task(id="batches")
async def batches(payload: Any) -> list[list[Any]]:
    """An empty batch, and one with an item that is too large."""
    empty = await tasks.batch_trigger_and_wait("echo", [])
    sizes = (1, 11 * 2**20, 2)
    some = await batch.trigger_and_wait([{"id": "echo", "payload": "x" * n} for n in sizes])
    return [list(empty), [one.output or one["error"]["code"] for one in some]]


@task(id="old-form")
async def old_form(payload: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (await wait.for_token(token=payload, timeout_in_seconds=0.05)).ok


@task(id="judge-unwrap")
async def judge_unwrap(payload: dict[str, Any]) -> Any:
    return await tasks.trigger_and_wait(payload["task"], payload.get("payload")).unwrap()


@task(id="killer", worker_queue="special")
async def killer(payload: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Decision(BaseModel):
    approved: bool
    by: str = "nobody"


@task(id="typed")
async def typed(payload: str) -> dict[str, Any]:
    decision = await wait.for_token(payload, result_type=Decision).unwrap()
    return {"class": type(decision).__name__, "approved": decision.approved, "by": decision.by}


@task(id="token-result")
async def token_result(payload: str) -> dict[str, Any]:
    result = await wait.for_token(payload)
    return {"ok": result.ok, "data": result.data, "error": type(result.error).__name__}


@task(id="poll-self")
async def poll_self(payload: Any, ctx: Any) -> str:
    try:
        await runs.poll(ctx.run.id)
    except WaitCycleError as problem:
        return str(problem)
    return "no error"


@task(id="poll-root")
async def poll_root(payload: int, ctx: Any) -> str:
    """Wait, some levels deep, for the run that everything began with."""
    if payload:
        result: str = await tasks.trigger_and_wait("poll-root", payload - 1).unwrap()
        return result
    try:
        await runs.poll(ctx.run.root_id)
    except WaitCycleError as problem:
        return str(problem)
    return "no error"


@task(id="poll-other")
async def poll_other(payload: str) -> Any:
    return (await runs.poll(payload)).output


# Hooks and cancels


def told(name: str) -> Any:
    async def hook(payload: Any, ctx: Any, task: str, wait: Any) -> None:
        note(name, type=wait.type, task=task, payload=payload, ctx=ctx.run.id)
        await tasks.trigger("nothing")

    return hook


@task(id="unhurried")
async def unhurried(payload: Any) -> None:
    """Not done before its parent waits for it, however busy the machine is."""
    await wait.for_duration(seconds=0.1)


@task(id="hooked", on_wait=told("on_wait"), on_resume=told("on_resume"))
async def hooked(payload: str) -> str:
    await wait.for_duration(seconds=0.05)
    await tasks.trigger_and_wait("unhurried")
    await wait.for_token(payload)
    return "done"


@task(id="hooked-sync", on_wait=told("on_wait"), on_resume=told("on_resume"))
def hooked_sync(payload: str) -> str:
    wait.for_duration(seconds=0.05).sync()
    tasks.trigger_and_wait("unhurried").sync()
    wait.for_token(payload).sync()
    return "done"


def failing_hook(payload: Any) -> None:
    raise ValueError("the hook fails")


@task(id="failing-hook", on_wait=failing_hook, queue=ONE)
async def with_failing_hook(payload: str) -> Any:
    await wait.for_token(payload)
    return await tasks.trigger_and_wait("in-one", {})


async def on_cancel(payload: Any, ctx: Any, signal: Any) -> None:
    note("on_cancel", aborted=signal.aborted)


async def failing_on_cancel(payload: Any) -> None:
    note("on_cancel")
    raise ValueError("the hook fails")


@task(id="cancel-me", on_cancel=on_cancel)
async def cancel_me(payload: dict[str, Any]) -> str:
    note("begin")
    try:
        await spend(payload)
    finally:
        note("finally")
    return "late"


@task(id="cancel-signal", on_cancel=on_cancel)
async def cancel_signal(payload: Any, signal: Any) -> str:
    return await end_when_aborted(signal)


async def end_when_aborted(signal: Any) -> str:
    note("begin")
    await signal.wait()
    note("aborted", reason=signal.reason)
    await spend({"seconds": 0.05})
    note("end")
    return "late"


@task(id="cancel-signal-failing-hook", on_cancel=failing_on_cancel)
async def cancel_signal_failing_hook(payload: Any, signal: Any) -> str:
    return await end_when_aborted(signal)


@task(id="cancel-signal-sync")
def cancel_signal_sync(payload: Any, signal: Any) -> str:
    note("begin")
    signal.wait_sync(20)
    note("aborted", reason=signal.reason)
    return "late"


@task(id="cancel-sync")
def cancel_sync(payload: dict[str, Any]) -> str:
    note("begin")
    spend_blocking(payload)
    note("gate")
    try:
        tasks.trigger("echo", "never").sync()
    except BaseException as problem:
        note("told", error=type(problem).__name__)
        raise
    note("not told")
    return "late"


@task(id="family")
async def family(payload: dict[str, Any]) -> None:
    """A child that waits for a grandchild, a batch, and one that nobody waits for."""
    await tasks.trigger("cancel-me", payload)
    await asyncio.gather(
        tasks.trigger_and_wait("parent-of-one", payload),
        tasks.batch_trigger_and_wait("cancel-me", [BatchItem(payload)] * 3),
    )


@task(id="parent-of-one", on_cancel=on_cancel)
async def parent_of_one(payload: dict[str, Any]) -> Any:
    return await tasks.trigger_and_wait("cancel-me", payload)


# Time, keys, retries, replays


@task(id="active", max_duration=5)
async def active(payload: dict[str, Any]) -> str:
    note("begin")
    for _ in range(payload.get("waits", 0)):
        await wait.for_duration(seconds=payload["wait"])
    await spend(payload)
    return "in time"


@task(id="keyed")
async def keyed(payload: dict[str, Any]) -> float:
    began = datetime.now(UTC)
    await wait.for_duration(seconds=payload["seconds"], idempotency_key=payload["key"])
    note("went on")
    return (datetime.now(UTC) - began).total_seconds()


@task(id="scopes", retry=QUICK)
async def scopes(payload: Any, ctx: Any) -> dict[str, Any]:
    made = {
        scope or "default": await idempotency_keys.create("k", scope=scope)  # type: ignore[arg-type]
        for scope in (None, "run", "attempt", "global")
    }
    note("keys", keys=made)
    if ctx.attempt.number == 1:
        raise ValueError("again")
    return made


@task(id="again", retry=QUICK)
async def again(payload: dict[str, Any], ctx: Any) -> list[Any]:
    """A step, a child and a wait in every attempt; the first fails after them."""
    cost = await step.run("price", price, 5)
    child = await tasks.trigger_and_wait("echo", ctx.attempt.number)
    await wait.for_duration(seconds=0.02)
    note("attempt", child=child.id)
    if ctx.attempt.number < 3:
        raise ValueError("once more")
    return [cost, child.output]


@task(id="steps-fail", retry=QUICK)
async def steps_fail(payload: Any, ctx: Any) -> int:
    """A step that raises is not stored."""

    def shaky() -> int:
        note("shaky")
        if ctx.attempt.number == 1:
            raise ValueError("shaky")
        return 7

    return await step.run("shaky", shaky)


@task(id="changing", retry=QUICK)
async def changing(payload: str) -> str:
    """Asks for something else where the environment says so."""
    note("begin")
    await step.run("first", price, 1)
    if os.environ.get("TEST_CHANGED"):
        await tasks.trigger_and_wait("echo", 1)
    await wait.for_token(payload)
    return "done"


@task(id="changing-sync", retry=QUICK)
def changing_sync(payload: str) -> str:
    note("begin")
    step.run("first", price, 1).sync()
    if os.environ.get("TEST_CHANGED"):
        tasks.trigger_and_wait("echo", 1).sync()
    wait.for_token(payload).sync()
    return "done"


@task(id="talking")
async def talking(payload: str) -> str:
    logger.info("said before the wait")
    await tasks.trigger("echo", "once")
    await wait.for_token(payload)
    logger.info("said after the wait")
    return "done"


@task(id="dated")
async def dated(payload: dict[str, Any]) -> str:
    """Wait for a date of the payload, which is past when the run is executed again."""
    note("begin")
    await wait.until(date=payload["date"], throw_if_in_the_past=True)
    note("date")
    await wait.for_token(payload["token"])
    return "done"


@task(id="past")
async def past(payload: Any) -> list[str]:
    """Dates in the past do not wait, or raise."""
    before = datetime.now(UTC) - timedelta(hours=1)
    await wait.until(date=before)
    await wait.for_duration(seconds=0)
    try:
        await wait.until(date=before, throw_if_in_the_past=True)
    except ValueError as problem:
        return [type(problem).__name__, str(problem)]
    return []


@task(id="ambient")
def ambient(payload: str) -> str:
    """A thread of the user's own is no part of the run."""
    found: list[str] = []

    def look() -> None:
        try:
            wait.for_duration(seconds=0.01)
        except Exception as problem:
            found.append(type(problem).__name__)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0]


@task(id="catches-all")
async def catches_all(payload: str) -> str:
    """Catches every Exception around its waits, again and again."""
    note("begin")
    for _ in range(3):
        try:
            await wait.for_token(payload)
            return "done"
        except Exception as problem:
            note("caught", error=type(problem).__name__)
    return "gave in"


@task(id="abort-after-wait", retry=QUICK)
async def abort_after_wait(payload: Any) -> None:
    await wait.for_duration(seconds=0.01)
    raise AbortTaskRunError("enough")


def touch(path: str) -> None:
    Path(path).touch()
    write("touched")


# Tasks of a run that wait for each other


@task(id="in-one-child", queue=ONE)
async def in_one_child(payload: int) -> int:
    return payload


@task(id="semaphore", queue=ONE)
async def with_semaphore(payload: int) -> list[int]:
    """As many children at once as the semaphore allows, in the queue that the parent is in."""
    allowed = asyncio.Semaphore(2)

    async def one(number: int) -> int:
        async with allowed:
            return await in_one_child.trigger_and_wait(number).unwrap()

    return list(await asyncio.gather(*(one(number) for number in range(payload))))


@task(id="busy-beside-a-wait", queue=ONE)
async def busy_beside_a_wait(payload: dict[str, Any]) -> str:
    """Works while another task of the run waits: the slot stays taken."""
    waiting = asyncio.create_task(wait.for_token(payload["token"]))
    note("at work")
    await spend(payload)
    return str((await waiting).data)


@task(id="fails-beside-a-wait", retry=QUICK)
async def fails_beside_a_wait(payload: str, ctx: Context) -> str:
    """Its first attempt fails while another wait of it is open."""
    note("begin")
    if ctx.attempt.number > 1:
        return "went on"

    async def fails() -> None:
        await wait.for_duration(seconds=0.05)
        raise ValueError("no")

    await asyncio.gather(wait.for_token(payload), fails())
    return "not here"
