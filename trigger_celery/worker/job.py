"""A run in this worker's hands."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from trigger_celery.engine.attempts import Ending, Grant
from trigger_celery.model.retry import REQUEUE_FROM_MS


@dataclass(slots=True, eq=False)
class Job:
    """One run from its dequeue to its end here; several attempts when they follow in place."""

    grant: Grant
    number: int
    request: Any = None
    task: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Stop the attempt; only for jobs on an event loop, and from its thread."""
        if self.task is not None:
            self.task.cancel()


def stays(ending: Ending) -> bool:
    """Tell whether the run stays in this worker for its next attempt: a delay under 30 s."""
    return (
        ending.kind in ("retry", "lost")
        and ending.detail != ""
        and int(ending.detail) < REQUEUE_FROM_MS
    )


def next_attempt(grant: Grant) -> Grant:
    """Return the grant of the attempt that follows in place.

    A run that was handed out unstarted was started by the pool: that was attempt + 1.
    """
    grant.attempt += 1 if grant.executing else 2
    grant.executing = True
    return grant
