"""The app of Celery's side: the same tasks, on the same server as broker and result backend."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery

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
