"""What asyncio says of the tasks of a run that its worker gives up."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.durable import Durable, task_factory
from trigger_celery.errors import RunEvictedError


async def reports(stopped: bool) -> list[dict[str, Any]]:
    """Let a task of a run end with what stops the run, and nobody awaits it."""
    durable = Durable("run_1", "1", 1, "")
    reason = RunEvictedError("it waits without its process")
    parking: Any = SimpleNamespace(stopped=reason if stopped else None, reconsider=lambda: None)
    durable.parking = parking
    loop, found = asyncio.get_running_loop(), list[dict[str, Any]]()
    loop.set_task_factory(task_factory)
    loop.set_exception_handler(lambda _, context: found.append(context))
    current_scope.set(durable.root)

    async def branch() -> None:
        raise reason

    task = asyncio.create_task(branch())
    for _ in range(5):
        await asyncio.sleep(0)
    del task
    gc.collect()
    return found


@pytest.mark.parametrize("stopped", [True, False])
def test_they_are_not_reported_as_failures_of_whatever_executes_then(stopped: bool) -> None:
    said = [context["message"] for context in asyncio.run(reports(stopped))]
    assert said == ([] if stopped else ["Task exception was never retrieved"])
