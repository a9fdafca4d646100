"""Tasks that say things, for `tests/worker/waits/test_logs.py`; `waiting_tasks` imports them."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import Any

from celery.utils.log import get_task_logger

from tests.worker.app_tasks import QUICK
from trigger_celery import logger, task, usage, wait
from trigger_celery.sdk import heartbeats

plain = logging.getLogger("shop.orders")
of_celery = get_task_logger("shop.tasks")


class Order:
    def __init__(self) -> None:
        self.total = 5


def say_everything(payload: dict[str, Any]) -> None:
    clash = {"message": "m", "name": "n", "args": [1], "levelname": "x"}
    logger.debug("too fine")
    logger.info("structured", extra={**payload, **clash})
    logger.log("as in TypeScript", {"n": 1})
    logger.warning("careful", extra={"password": "CANARY", "nested": {"api_key": "CANARY"}})
    plain.warning("by the standard library: %d", 7, extra={"order": 4711})
    of_celery.warning("by Celery's task logger")
    print("printed", "words", end="")
    print("\nsecond line")
    try:
        raise ValueError("no luck")
    except ValueError:
        logger.error("it failed", extra={"error": "details"}, exc_info=True)
    logger.trace("sync span", lambda: logger.info("inside"))


@task(id="say")
async def say(payload: dict[str, Any]) -> dict[str, float]:
    say_everything(payload)
    await logger.trace("async span", asyncio.sleep, 0.01)
    await asyncio.to_thread(print, "in a thread")
    await asyncio.gather(*(asyncio.create_task(say_from_a_task(number)) for number in range(2)))
    used = await usage.get_current()
    await heartbeats.yield_()
    beat = await heartbeats.get_last_heartbeat()
    return {
        "ms": used.compute.attempt.duration_ms,
        "beat": 0.0 if beat is None else beat.timestamp(),
    }


async def say_from_a_task(number: int) -> None:
    plain.warning("task %d\n", number)


@task(id="say-sync")
def say_sync(payload: dict[str, Any]) -> dict[str, float]:
    say_everything(payload)
    used = usage.get_current().sync()
    heartbeats.yield_().sync()
    beat = heartbeats.get_last_heartbeat().sync()
    return {
        "ms": used.compute.attempt.duration_ms,
        "beat": 0.0 if beat is None else beat.timestamp(),
    }


@task(id="say-and-fail", retry=QUICK)
def say_and_fail(payload: dict[str, Any]) -> None:
    print("trying")
    sys.stdout.flush()
    raise ValueError("no luck")


@task(id="say-around-a-wait")
async def say_around_a_wait(payload: str) -> dict[str, float]:
    logger.info("before")
    plain.warning("plain before")
    print("printed before")
    await wait.for_token(payload)
    print("printed after")
    logger.info("after")
    used = await usage.get_current()
    return {"active": used.compute.attempt.duration_ms}


@task(id="say-in-threads")
def say_in_threads(payload: str) -> None:
    """A thread of the user's belongs to no run: what it says stays out of the logs."""
    thread = threading.Thread(target=lambda: print("from nowhere"))
    thread.start()
    thread.join()
    logger.info(payload)
