"""The app of our side: tasks of trigger_celery on a bound app."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from typing import Any

from celery import Celery

from bench.apps.notes import NOTES
from trigger_celery import TriggerCelery, logger, metadata, task, wait

app = Celery("ours", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_default_queue="ours",
    worker_pool=os.environ.get("BENCH_POOL", "trigger_celery.worker.pool:TaskPool"),
    broker_connection_retry_on_startup=True,
    worker_redirect_stdouts=False,
)
trigger = TriggerCelery(app, redis_url=os.environ["BENCH_URL"], env="bench", record=False)


@task(id="noop")
async def noop(payload: dict[str, Any]) -> None:
    NOTES.add(time.monotonic())


@task(id="noop-sync")
def noop_sync(payload: dict[str, Any]) -> None:
    NOTES.add(time.monotonic())


@task(id="timed")
async def timed(payload: dict[str, Any]) -> None:
    NOTES.add((payload["i"], time.monotonic(), time.time()))


@task(id="echo")
async def echo(payload: dict[str, Any]) -> dict[str, Any]:
    NOTES.add(0)
    return payload


@task(id="child")
async def child(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@task(id="parent")
async def parent(payload: dict[str, Any]) -> int:
    items = [{"payload": {"i": i}} for i in range(payload["children"])]
    return len((await child.batch_trigger_and_wait(items)).unwrap())


@task(id="token-wait")
async def token_wait(payload: dict[str, Any]) -> None:
    await wait.for_token(payload["token"])
    NOTES.add((payload["i"], time.monotonic()))


@task(id="nap")
async def nap(payload: dict[str, Any]) -> None:
    await wait.for_duration(seconds=payload["seconds"])


@task(id="metadata")
async def set_metadata(payload: int) -> float:
    """Set that many values; returns the seconds that took."""
    began = time.perf_counter()
    for number in range(payload):
        metadata.set("progress", number)
    return time.perf_counter() - began


@task(id="log-lines")
async def log_lines(payload: dict[str, Any]) -> float:
    """Say so many lines, each with an attribute; returns the seconds that took."""
    if payload["how"] == "logger":
        began = time.perf_counter()
        for i in range(payload["lines"]):
            logger.info("line of the run", extra={"i": i})
        return time.perf_counter() - began
    plain = logging.getLogger("bench.plain")
    plain.setLevel(logging.INFO)
    plain.propagate = False
    with tempfile.NamedTemporaryFile() as file:
        handler = logging.FileHandler(file.name)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s %(i)d"))
        plain.addHandler(handler)
        began = time.perf_counter()
        for i in range(payload["lines"]):
            plain.info("line of the run", extra={"i": i})
        took = time.perf_counter() - began
        plain.removeHandler(handler)
        handler.close()
    return took
