"""The asyncio pool: `worker_pool = "trigger_celery.worker.pool:TaskPool"`.

Runs of `async def` tasks execute on one event loop, those of `def` tasks and plain Celery tasks
in threads beside it. `-c` is the number of runs at once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from concurrent.futures import Future
from typing import Any

from trigger_celery.worker.celery_internals import BasePool, apply_target, shutting_down_cold
from trigger_celery.worker.daemon_threads import DaemonThreads

logger = logging.getLogger("trigger_celery.pool")


class TaskPool(BasePool):
    """A Celery pool with an event loop."""

    signal_safe = False
    body_can_be_buffer = True
    task_join_will_block = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loop = asyncio.new_event_loop()
        self.plain_jobs: set[Future[Any]] = set()
        self.numbers = itertools.count(1)
        self.jobs: dict[int, Any] = {}
        self.threads = DaemonThreads(self.limit or 1, "trigger-task")
        self._thread: threading.Thread | None = None
        self.resized: Any = None
        self.freed: Any = None
        """Called in its thread when a plain task has ended."""
        self.before_stop: Any = None

    def on_start(self) -> None:
        """Start the event loop in its thread."""
        started = threading.Event()
        self.loop.call_soon(started.set)
        self._thread = threading.Thread(
            target=self._run_loop, name="trigger-event-loop", daemon=True
        )
        self._thread.start()
        started.wait(10)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: Any,
    ) -> Any:
        """Execute a plain Celery task in a thread."""
        future = self.threads.submit(apply_target, target, args, kwargs, callback, accept_callback)
        self.plain_jobs.add(future)
        future.add_done_callback(self._plain_ended)
        return future

    def _plain_ended(self, future: Future[Any]) -> None:
        self.plain_jobs.discard(future)
        if self.freed is not None:
            self.freed()

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Cancel the run with this job number; threads cannot be stopped from outside."""
        job = self.jobs.get(pid)
        if job is not None:
            self.loop.call_soon_threadsafe(job.cancel)

    def grow(self, n: int = 1) -> None:
        """Allow *n* more runs at once."""
        self._resize((self.limit or 0) + n)

    def shrink(self, n: int = 1) -> None:
        """Allow *n* fewer runs at once; those under way go on."""
        self._resize(max(1, (self.limit or 1) - n))

    def _resize(self, limit: int) -> None:
        self.limit = limit
        self.threads.resize(limit)
        if self.resized is not None:
            self.resized()

    def on_stop(self) -> None:
        """Wait for plain tasks, unless the shutdown is cold, and stop the loop."""
        if self.before_stop is not None:
            self.before_stop()
        self.threads.shutdown(wait=not shutting_down_cold())
        self._stop_loop()

    def on_terminate(self) -> None:
        """Cancel what is under way and stop the loop."""
        for job in list(self.jobs.values()):
            self.loop.call_soon_threadsafe(job.cancel)
        self.threads.shutdown(wait=False, cancel_futures=True)
        self._stop_loop()

    def _stop_loop(self) -> None:
        if self._thread is None or self.loop.is_closed():
            return
        ending = asyncio.run_coroutine_threadsafe(_wind_down(), self.loop)
        try:
            ending.result(5)
        except Exception:
            logger.exception("the event loop did not wind down", extra={"action": "loop_stop"})
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self._thread = None

    def _get_info(self) -> dict[str, Any]:
        described: Any = super()
        info: dict[str, Any] = described._get_info()
        info.update({"runs": len(self.jobs), "threads": len(self.plain_jobs)})
        return info


async def _wind_down() -> None:
    """Cancel what is left on the loop and close its generators."""
    own = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() if task is not own]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
