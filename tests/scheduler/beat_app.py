"""The app that beats of tests are started of. `TEST_KILL` kills a beat around the script that fires.

`before:<file>` and `after:<file>`: once, if the file is there; who finds it removes it first.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery

from trigger_celery import TriggerCelery, scheduled_task, task
from trigger_celery.engine import scheduling

app = Celery("beats")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_pool="trigger_celery.worker.pool:TaskPool",
    beat_schedule={"static": {"task": "sent", "schedule": 1.0, "args": ["static"]}},
)
app.conf.update(json.loads(os.environ.get("TEST_CELERY_CONF", "{}")))
TriggerCelery(app)


@scheduled_task(id="tick")
async def tick(payload: Any) -> str:
    return str(payload.timestamp.isoformat())


@scheduled_task(id="declared", cron="* * * * *")
async def declared(payload: Any) -> str:
    return str(payload.timestamp.isoformat())


@task(id="sent")
async def sent(payload: Any) -> Any:
    return payload


def _die(flag: Path) -> None:
    try:
        flag.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _fire_and_die(when: str, flag: Path) -> None:
    fire = scheduling.fire_schedules

    def firing(scope: str, firings: Any, *more: Any) -> Iterator[Any]:
        if firings and when == "before":
            _die(flag)
        fired = yield from fire(scope, firings, *more)
        if firings and when == "after":
            _die(flag)
        return fired

    scheduling.fire_schedules = firing  # type: ignore[assignment]


if "TEST_KILL" in os.environ:
    _when, _, _flag = os.environ["TEST_KILL"].partition(":")
    _fire_and_die(_when, Path(_flag))
