"""The app of Celery's side: the same tasks, on the same server as broker and result backend."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery, chord, group

from bench.apps.notes import NOTES

app = Celery("plain", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BROKER"])
app.conf.update(
    task_default_queue="plain",
    broker_connection_retry_on_startup=True,
    worker_disable_rate_limits=True,
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "64")),
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    task_send_sent_event=False,
    redbeat_redis_url=os.environ["BENCH_URL"],
    redbeat_redis_options={},
    redbeat_lock_timeout=600,
)


@app.task(name="noop", ignore_result=True)
def noop(payload: dict[str, Any]) -> None:
    NOTES.add(time.monotonic())


@app.task(name="noop-kept")
def noop_kept(payload: dict[str, Any]) -> None:
    NOTES.add(time.monotonic())


@app.task(name="timed", ignore_result=True)
def timed(payload: dict[str, Any]) -> None:
    NOTES.add((payload["i"], time.monotonic(), time.time()))


@app.task(name="echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    NOTES.add(0)
    return payload


@app.task(name="child")
def child(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@app.task(name="gather")
def gather(results: list[Any]) -> int:
    return len(results)


def fan_out_group(children: int) -> int:
    """Start children, wait for all of them, and return how many results there are."""
    made = group(child.s({"i": i}) for i in range(children))
    return len(made.apply_async().get(30))


def fan_out_chord(children: int) -> int:
    """Do the same with a task that gets the results."""
    made = chord((child.s({"i": i}) for i in range(children)), gather.s())
    count: int = made.apply_async().get(30)
    return count
