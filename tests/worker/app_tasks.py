"""The tasks that test workers execute. Each writes what really happened into a ledger of its own.

The ledger is a file outside the store: tests compare what the records say with what was executed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from celery import Celery, current_task, signals
from pydantic import BaseModel

from trigger_celery import (
    AbortTaskRunError,
    TriggerCelery,
    queue,
    run_locals,
    schema_task,
    task,
    tasks,
    wait_until,
)
from trigger_celery.bridge.context import current_execution

app = Celery("tests")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_routes={"routed": {"queue": "special"}},
    task_annotations={
        "limited-hard": {"time_limit": 1},
        "limited-soft": {"soft_time_limit": 1},
        "limited-soft-async": {"soft_time_limit": 1},
    },
    **json.loads(os.environ.get("TEST_CELERY_CONF", "{}")),
)
TriggerCelery(app)

_LEDGER = os.open(os.environ["TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
QUICK = {"max_attempts": 3, "min_timeout_in_ms": 20, "randomize": False, "factor": 1}


def write(event: str, run: str = "", attempt: int = 0, epoch: str = "", **more: Any) -> None:
    """Append one line; a line is written whole or not at all."""
    line = {"event": event, "run": run, "attempt": attempt, "epoch": epoch, "pid": os.getpid()}
    os.write(_LEDGER, (json.dumps({**line, "at": time.monotonic(), **more}) + "\n").encode())


def note(event: str, **more: Any) -> None:
    """Write of the run that this code belongs to."""
    grant: Any = current_execution.get().grant  # type: ignore[union-attr]
    write(event, grant.id, grant.attempt, grant.epoch, **more)


def _over(payload: dict[str, Any], began: float) -> bool:
    gate = payload.get("gate")
    if gate is not None:
        return Path(gate).exists()
    return time.monotonic() - began >= payload.get("seconds", 0)


async def spend(payload: dict[str, Any]) -> None:
    """Take time on the loop: until the gate opens, or some seconds."""
    began, never = time.monotonic(), asyncio.get_running_loop().create_future()
    while not _over(payload, began):
        await asyncio.wait([never], timeout=0.01)


def spend_blocking(payload: dict[str, Any]) -> None:
    """Take time in a thread."""
    began = time.monotonic()
    while not _over(payload, began):
        threading.Event().wait(0.01)


@task(id="work", retry=QUICK)
async def work(payload: dict[str, Any]) -> int:
    note("begin")
    await spend(payload)
    note("end")
    return os.getpid()


@task(id="work-sync", retry=QUICK)
def work_sync(payload: dict[str, Any]) -> int:
    note("begin")
    spend_blocking(payload)
    note("end")
    return os.getpid()


async def failed(error: Exception) -> None:
    note("on_failure", error=str(error))


@task(id="once", on_failure=failed)
async def once(payload: dict[str, Any]) -> int:
    note("begin")
    await spend(payload)
    note("end")
    return os.getpid()


@task(id="limited", queue=queue(name="four", concurrency_limit=4))
async def limited(payload: dict[str, Any]) -> None:
    note("begin")
    await spend(payload)
    note("end")


@task(id="stubborn", retry=QUICK)
async def stubborn(payload: dict[str, Any]) -> str:
    """Does not end at once when it is cancelled."""
    note("begin")
    try:
        await spend(payload)
    except asyncio.CancelledError:
        note("cancelled")
        await spend({"seconds": payload["cleanup"]})
    note("end")
    return "late"


@task(id="echo")
async def echo(payload: Any) -> Any:
    note("run")
    return payload


@task(id="echo-sync")
def echo_sync(payload: Any) -> Any:
    note("run")
    return payload


@task(id="nothing")
async def nothing() -> None:
    note("run")


def _describe(ctx: Any) -> dict[str, Any]:
    return {
        "task": ctx.task.id,
        "run": ctx.run.id,
        "tags": list(ctx.run.tags),
        "attempt": ctx.attempt.number,
        "max": ctx.run.max_attempts,
        "queue": ctx.queue.name,
        "key": ctx.run.concurrency_key,
        "priority": ctx.run.priority,
        "celery": current_task.request.id,
        "name": current_task.name,
        "retries": current_task.request.retries,
        "host": current_task.request.hostname,
    }


@task(id="describe", retry=QUICK)
async def describe(payload: Any, ctx: Any) -> dict[str, Any]:
    return _describe(ctx)


@task(id="describe-sync", retry=QUICK)
def describe_sync(payload: Any, ctx: Any) -> dict[str, Any]:
    return _describe(ctx)


class Order(BaseModel):
    id: int
    item: str = "tea"


@schema_task(id="order", schema=Order, retry=QUICK)
async def order(payload: Order) -> str:
    note("run")
    return f"{type(payload).__name__} {payload.id} {payload.item}"


@schema_task(id="order-sync", schema=Order, retry=QUICK)
def order_sync(payload: Order) -> str:
    note("run")
    return f"{type(payload).__name__} {payload.id} {payload.item}"


class BrokenError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def fail(payload: dict[str, Any], attempt: int) -> Any:
    """Raise what the payload names, in attempts up to `until`."""
    note("run")
    if attempt > payload.get("until", 1000):
        return attempt
    match payload["what"]:
        case "abort":
            raise AbortTaskRunError("enough")
        case "exit":
            sys.exit(0)
        case "interrupt":
            raise KeyboardInterrupt
        case "cancelled":
            raise asyncio.CancelledError("by the user's code")
        case "broken":
            raise BrokenError
        case "long":
            raise ValueError("x" * 100_000)
        case "unserialisable":
            return object()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case text:
            raise ValueError(text)


@task(id="fail", retry=QUICK)
async def fail_async(payload: dict[str, Any], ctx: Any) -> Any:
    return fail(payload, ctx.attempt.number)


@task(id="fail-sync", retry=QUICK)
def fail_sync(payload: dict[str, Any], ctx: Any) -> Any:
    return fail(payload, ctx.attempt.number)


@task(id="poison", retry={**QUICK, "max_attempts": 50}, on_failure=failed)
def poison(payload: dict[str, Any], ctx: Any) -> Any:
    return fail(payload, ctx.attempt.number)


@task(id="slow-retry", retry={"max_attempts": 2, "min_timeout_in_ms": 20_000, "randomize": False})
async def slow_retry(payload: dict[str, Any], ctx: Any) -> int:
    note("run")
    if ctx.attempt.number == 1 and not _over(payload, 0):
        raise ValueError("not yet")
    return int(ctx.attempt.number)


@task(
    id="slow-retry-sync", retry={"max_attempts": 2, "min_timeout_in_ms": 20_000, "randomize": False}
)
def slow_retry_sync(payload: dict[str, Any], ctx: Any) -> int:
    note("run")
    if ctx.attempt.number == 1 and not _over(payload, 0):
        raise ValueError("not yet")
    return int(ctx.attempt.number)


@task(id="parent")
async def parent(payload: Any) -> str:
    return (await tasks.trigger("echo", payload)).id


@task(id="parent-sync")
def parent_sync(payload: Any) -> str:
    return tasks.trigger("echo-sync", payload).sync().id


_mine: ContextVar[str] = ContextVar("mine", default="")


def _look() -> tuple[Any, ...]:
    execution: Any = current_execution.get()
    return (execution.grant.id, current_task.request.id, app.tasks["look"].request.id, _mine.get())


@task(id="look")
async def look(payload: Any, ctx: Any) -> list[bool]:
    """Whether everything ambient still speaks of this run, between many others."""
    _mine.set(ctx.run.id)
    seen = [_look()]
    for _ in range(3):
        await spend({"seconds": 0.02})
        seen.append(_look())
    inner = asyncio.get_running_loop().create_task(_later())
    seen += [await asyncio.to_thread(_look), await inner]
    return [set(what) == {ctx.run.id} for what in seen]


async def _later() -> tuple[Any, ...]:
    await spend({"seconds": 0.01})
    return _look()


@task(id="elsewhere", worker_queue="special")
async def elsewhere(payload: Any) -> int:
    return os.getpid()


@task(id="routed")
async def routed(payload: Any) -> int:
    return os.getpid()


@task(id="limited-hard", retry=QUICK)
def limited_hard(payload: dict[str, Any]) -> None:
    note("begin")
    spend_blocking(payload)


@task(id="limited-soft", retry=QUICK)
def limited_soft(payload: dict[str, Any]) -> None:
    note("begin")
    spend_blocking(payload)


@task(id="limited-soft-async")
async def limited_soft_async(payload: dict[str, Any]) -> None:
    note("begin")
    await spend(payload)


@app.task(name="plain-add")
def plain_add(x: int, y: int) -> int:
    return x + y


@app.task(name="plain-work")
def plain_work(payload: dict[str, Any]) -> int:
    write("plain-begin")
    spend_blocking(payload)
    write("plain-end")
    return os.getpid()


def _on_signal(name: str, signal_: Any) -> None:
    def receive(sender: Any = None, task_id: str | None = None, **kwargs: Any) -> None:
        known = task_id or getattr(kwargs.get("request"), "id", None)
        known = known or current_task.request.id
        if getattr(sender, "name", "").startswith(("describe", "fail")):
            write(name, run=known or "")

    signal_.connect(receive, weak=False)


for _name in ("prerun", "postrun", "success", "failure", "retry"):
    _on_signal(f"signal-{_name}", getattr(signals, f"task_{_name}"))


# Hooks

HELD: Any = run_locals.create("held")


def told(name: str) -> Any:
    async def hook(payload: Any, ctx: Any) -> None:
        note(name, held=run_locals.get(HELD), task=ctx.task.id)

    return hook


def told_sync(name: str) -> Any:
    def hook(payload: Any, ctx: Any) -> None:
        note(name, held=run_locals.get(HELD), task=ctx.task.id)

    return hook


async def around(payload: Any, ctx: Any, next: Any) -> None:
    run_locals.set(HELD, ctx.run.id)
    note("middleware")
    outcome = await next()
    note("after", ok=outcome.ok)


def around_sync(payload: Any, ctx: Any, next: Any) -> None:
    run_locals.set(HELD, ctx.run.id)
    note("middleware")
    outcome = next()
    note("after", ok=outcome.ok)


def _hooks(hook: Any, middleware: Any) -> Any:
    names = ("on_start", "on_start_attempt", "on_success", "on_failure", "on_complete", "cleanup")
    return {"middleware": middleware, **{name: hook(name) for name in names}}


def _hooked(payload: dict[str, Any]) -> str:
    note("run", held=run_locals.get(HELD))
    wait_until(_in_background())
    if payload.get("fail"):
        raise ValueError("as told")
    return str(run_locals.get_or_throw(HELD))


async def _in_background() -> None:
    await spend({"seconds": 0.01})
    note("later")


async def _hooked_async(payload: dict[str, Any]) -> str:
    return _hooked(payload)


for _kind, _made in {"": _hooks(told, around), "-sync": _hooks(told_sync, around_sync)}.items():
    task(id=f"hooks{_kind}", retry=QUICK, **_made)(_hooked_async)
    task(id=f"hooks{_kind}-of-sync", retry=QUICK, **_made)(_hooked)


async def on_cancel_hook(run_promise: Any) -> None:
    note("promised", output=await run_promise)


@task(id="promises", on_cancel=on_cancel_hook)
async def promises(payload: Any, signal: Any) -> str:
    tasks.on_cancel(told("of this run"))
    note("begin")
    await signal.wait()
    return "in its own way"
