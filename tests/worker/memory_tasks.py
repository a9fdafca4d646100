"""Tasks that want more memory than a small machine has, for `test_machines.py`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from celery import current_task

from tests.worker.app_tasks import QUICK, app, note
from trigger_celery import OutOfMemoryError, task
from trigger_celery.worker import memory

__all__ = ["app"]

KILLS = Path(os.environ["TEST_LEDGER"]).with_name("kills-" + sys.argv[sys.argv.index("-n") + 1])
"""Where the kernel of this test counts what it kills of this worker."""
KILLS.write_text("oom_kill 3\n")

memory.counter_files = lambda: [KILLS]  # type: ignore[assignment]

LARGER: Any = {**QUICK, "out_of_memory": {"machine": "large-1x"}}


def told(error: BaseException, ctx: Any) -> None:
    note("failure", error=str(error), machine=ctx.machine and ctx.machine.name)


def hunger(payload: dict[str, Any], ctx: Any) -> dict[str, Any]:
    note("begin")
    machine = ctx.machine and ctx.machine.name
    if machine != "large-1x" or payload.get("always"):
        match payload.get("what"):
            case "raises":
                raise OutOfMemoryError("200 GB of pixels")
            case "python":
                raise MemoryError
            case "kernel":
                count = int(KILLS.read_text().split()[1])
                KILLS.write_text(f"oom_kill {count + 1}\n")
                os.kill(os.getpid(), signal.SIGKILL)
    where = str(current_task.request.hostname)
    size = ctx.machine and [ctx.machine.cpu, ctx.machine.memory]
    return {"machine": machine, "where": where, "size": size, "attempt": ctx.attempt.number}


@task(id="hungry", retry=QUICK, on_failure=lambda payload, error, ctx: told(error, ctx))
def hungry(payload: dict[str, Any], ctx: Any) -> Any:
    return hunger(payload, ctx)


@task(id="grows", retry=LARGER, on_failure=lambda payload, error, ctx: told(error, ctx))
def grows(payload: dict[str, Any], ctx: Any) -> Any:
    return hunger(payload, ctx)


@task(id="grows-async", retry=LARGER, worker_queue="special")
async def grows_async(payload: dict[str, Any], ctx: Any) -> Any:
    return hunger(payload, ctx)


@task(id="large", machine="large-1x")
async def large(payload: Any, ctx: Any) -> Any:
    return hunger(payload or {}, ctx)
