"""The same tasks and one more: what a newer version of the project has."""

from __future__ import annotations

from typing import Any

from tests.worker.app_tasks import app, note
from trigger_celery import task

__all__ = ["app"]


@task(id="late")
async def late(payload: Any) -> str:
    note("run")
    return "here"
