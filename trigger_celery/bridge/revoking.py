"""Cancels a recorded run: Celery revokes its message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kombu.exceptions import OperationalError

from trigger_celery.errors import StateError
from trigger_celery.model.run import Run
from trigger_celery.store.op import Flow, Perform

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery


def revoke(trigger: TriggerCelery, run: Run) -> Flow[None]:
    """Tell all workers to throw the message away. Raises StateError for a run that executes.

    Celery's workers remember it for three hours, and forget it when they restart.
    """
    task_id = run.celery_task_id or run.id
    if run.is_executing:
        raise StateError(
            f"run {run.id} executes and is recorded: Celery cannot stop a task on every pool. On "
            f"prefork, app.control.revoke({task_id!r}, terminate=True) kills the process that "
            "executes it. A @task can be cancelled at any time"
        )

    def blocking() -> None:
        try:
            trigger.app.control.revoke(task_id)
        except (OperationalError, OSError) as problem:
            raise StateError(
                f"run {run.id} is recorded, and the broker that would tell workers to throw its "
                f"message away cannot be reached: {problem}"
            ) from problem

    yield Perform(lambda: asyncio.to_thread(blocking), blocking)
