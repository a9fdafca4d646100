"""The app of our side: tasks of trigger_celery on a bound app."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

from bench.apps.notes import NOTES
from trigger_celery import TriggerCelery, task, wait

app = Celery("ours", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_default_queue="ours",
    worker_pool=os.environ.get("BENCH_POOL", "trigger_celery.worker.pool:TaskPool"),
    broker_connection_retry_on_startup=True,
    worker_redirect_stdouts=False,
)
trigger = TriggerCelery(app, redis_url=os.environ["BENCH_URL"], env="bench")


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
