"""The tasks of the kill matrix, on any app: the worker's and the caller's.

What a call is to do, its *spec*, comes with it: the cell it belongs to, the state that its worker is
killed in, and a gate, a file that appears after the kill. From then on every call goes right through.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

from celery import Celery

from trigger_celery import queue, task, tasks, wait

Spec = dict[str, Any]

MANAGE = ["taken.*"]
QUICK = {"max_attempts": 3, "min_timeout_in_ms": 20, "randomize": False, "factor": 1}
LONG = 60
"""Seconds between two attempts for which a run leaves its worker."""
PATIENT = {**QUICK, "max_attempts": 20, "min_timeout_in_ms": 29_900}
"""Between its attempts a run stays there."""
NARROW = {"name": "narrow", "concurrency_limit": 1}


class AwayError(Exception):
    """What the first attempt of a call raises that is to be between two attempts."""


def write(event: str, cell: str) -> None:
    """Append one line to the ledger, which knows the cell instead of a run."""
    line = {"event": event, "run": cell, "attempt": 0, "epoch": "", "pid": os.getpid()}
    with Path(os.environ["TEST_LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write((json.dumps({**line, "at": time.monotonic()}) + "\n").encode())


def is_over(spec: Spec) -> bool:
    """Whether the worker was killed."""
    return Path(spec["gate"]).exists()


async def spend(spec: Spec) -> None:
    """Take time on the loop until then."""
    never = asyncio.get_running_loop().create_future()
    while not is_over(spec):
        await asyncio.wait([never], timeout=0.05)


def spend_blocking(spec: Spec) -> None:
    """Take time in a thread until then."""
    while not is_over(spec):
        Event().wait(0.05)


def goes_through(spec: Spec) -> bool:
    """Note that a call begins; tells whether it is to go right through."""
    write("begin", spec["cell"])
    return is_over(spec)


def act(spec: Spec) -> str:
    """Be in the state of the spec until the kill."""
    if not goes_through(spec):
        if spec["state"] == "between":
            raise AwayError
        if spec["state"] == "executing":
            spend_blocking(spec)
    return str(spec["cell"])


async def finishing(payload: Spec) -> None:
    """The code has ended, and nobody has been told so yet."""
    if payload["state"] == "finishing" and not is_over(payload):
        write("finishing", payload["cell"])
        await spend(payload)


def finishing_blocking(sender: Any = None, args: Any = (), **_: Any) -> None:
    """The same of a plain task: its result is stored, its message may not be acknowledged."""
    if not sender.name.startswith("old."):
        return
    (spec,) = args
    if spec["state"] == "finishing" and not is_over(spec):
        write("finishing", spec["cell"])
        spend_blocking(spec)


def plain(app: Celery) -> None:
    """Declare the plain tasks, those that are recorded and those that are taken over."""

    def declare(name: str, **options: Any) -> None:
        @app.task(shared=False, name=name, bind=True, max_retries=3, **options)
        def plain_task(self: Any, spec: Spec) -> str:
            try:
                return act(spec)
            except AwayError as problem:
                raise self.retry(exc=problem, countdown=LONG) from problem

    declare("old.early", acks_late=False)
    declare("old.late", acks_late=True)
    declare("old.back", acks_late=True, reject_on_worker_lost=True)
    declare("taken.early", acks_late=False)
    declare("taken.late", acks_late=True)


def ours(way: str) -> SimpleNamespace:
    """Declare the tasks of runs whose worker consumes the queue *way*."""

    @task(id=f"act.{way}", worker_queue=way, retry=QUICK, on_success=finishing)
    async def acts(payload: Spec) -> str:
        if not goes_through(payload) and payload["state"] == "executing":
            await spend(payload)
        return str(payload["cell"])

    @task(id=f"act-sync.{way}", worker_queue=way, retry=QUICK, on_success=finishing)
    def acts_sync(payload: Spec) -> str:
        return act(payload)

    @task(id=f"narrow.{way}", worker_queue=way, retry=QUICK, queue=queue(**NARROW))
    def narrow(payload: Spec) -> str:
        return act(payload)

    @task(id=f"soon.{way}", worker_queue=way, retry=PATIENT)
    async def soon(payload: Spec) -> str:
        return act(payload)

    @task(id=f"later.{way}", worker_queue=way, retry={**QUICK, "min_timeout_in_ms": LONG * 1000})
    def later(payload: Spec) -> str:
        return act(payload)

    @task(id=f"waits.{way}", worker_queue=way)
    async def waits(payload: Spec) -> str:
        write("begin", payload["cell"])
        await wait.for_token(payload["token"])
        return str(payload["cell"])

    @task(id=f"waits-sync.{way}", worker_queue=way)
    def waits_sync(payload: Spec) -> str:
        write("begin", payload["cell"])
        wait.for_token(payload["token"]).sync()
        return str(payload["cell"])

    @task(id=f"parent.{way}", worker_queue=way)
    async def parent(payload: Spec) -> Any:
        write("begin", payload["cell"])
        child, options = payload["children"][0], payload["options"][0]
        return await tasks.trigger_and_wait(f"narrow.{way}", child, **options).unwrap()

    @task(id=f"batch.{way}", worker_queue=way)
    async def batch(payload: Spec) -> list[Any]:
        write("begin", payload["cell"])
        pairs = zip(payload["children"], payload["options"], strict=True)
        items = [{"payload": child, "options": options} for child, options in pairs]
        results = await tasks.batch_trigger_and_wait(f"narrow.{way}", items)
        return [one.output if one.ok else str(one.error) for one in results]

    @task(id=f"tail.{way}", worker_queue=way)
    def tail(payload: Any) -> Any:
        """What follows in a chain or after a chord: its name is that of who came first."""
        first = payload if isinstance(payload, str) else payload[0]
        write("begin", f"{first}>tail")
        return payload

    return SimpleNamespace(**{name: made for name, made in locals().items() if name != "way"})
