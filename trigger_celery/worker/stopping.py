"""Stops attempts on the event loop: cancelled by a user, or over their maximum duration."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from trigger_celery.errors import MaxDurationExceededError, RunCanceledError
from trigger_celery.worker.job import Job

logger = logging.getLogger("trigger_celery.worker")

CANCEL_BUDGET = 30.0
"""Seconds that hooks and a task which takes the signal get before the attempt is forced to end."""


class ActiveTime:
    """Measures the active time of an attempt, waits excluded, and says when it is used up."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, over: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._left = seconds
        self._over = over
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.go_on()

    def go_on(self) -> None:
        """The attempt executes."""
        if self._timer is None:
            self._since = time.monotonic()
            self._timer = self._loop.call_later(self._left, self._over)

    def pause(self) -> None:
        """The attempt waits, or is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left -= time.monotonic() - self._since


def stop_for_duration(job: Job) -> None:
    """End the attempt as TIMED_OUT; its code is stopped at its next await."""
    execution = job.execution
    if execution is not None and execution.ending is None:
        problem = MaxDurationExceededError(execution.over_duration())
        execution.time_out(problem)
        execution.parking.stop(problem)
        job.cancel()


async def cancel_attempt(job: Job) -> None:
    """Tell the attempt's code that its run was cancelled, and stop it.

    Hooks, and a task that takes the signal, get 30 seconds in all. A waiting run is told nothing.
    """
    execution = job.execution
    if execution is None:
        job.cancel()
        return
    parking = execution.parking
    waiting = parking.parked
    reason = RunCanceledError(f"run {job.grant.id} was cancelled")
    execution.cancel()
    parking.stop(reason)
    if not waiting and (execution.definition.takes_signal or execution.has_hooks("on_cancel")):
        try:
            async with asyncio.timeout(CANCEL_BUDGET):
                await execution.tell_of_cancel()
                if job.task is not None and execution.definition.takes_signal:
                    await asyncio.wait([job.task])
        except TimeoutError:
            logger.warning(
                "run %s did not end within %g s of its cancel: forced",
                job.grant.id,
                CANCEL_BUDGET,
                extra={"action": "cancel_forced", "run_id": job.grant.id},
            )
    job.cancel()
