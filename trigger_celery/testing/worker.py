"""A worker in the test's own process: the real pool and consumer, and no Celery worker around them.

So breakpoints, monkeypatching and coverage reach the code of tasks.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.engine import sessions
from trigger_celery.engine.machines import served
from trigger_celery.testing.clock import Clock
from trigger_celery.worker.crashed_runs import CrashedRuns
from trigger_celery.worker.declared_schedules import DeclaredSchedules
from trigger_celery.worker.job import Job
from trigger_celery.worker.loop_consumer import LoopConsumer
from trigger_celery.worker.pool import TaskPool
from trigger_celery.worker.session import ServiceRunner, WorkerSession

CONCURRENCY = 16
GRACE = 2.0
"""Seconds that attempts under way get to end when their test is over."""


@dataclass
class _Host:
    """What the consumer asks of the Celery worker that it is part of."""

    app: Any
    pool: TaskPool
    concurrency: int
    hostname: str
    max_concurrency: int | None = None
    hub: Any = None
    consumer: Any = None


class SkippingConsumer(LoopConsumer):
    """A consumer whose pauses between two attempts are part of the time that tests skip."""

    def __init__(self, clock: Clock, *args: Any) -> None:
        super().__init__(*args)
        self._clock = clock
        self.held: dict[str, tuple[int, Job]] = {}
        """Runs between two attempts: when the next is due, and their job. The loop's thread writes."""

    def _launch_later(self, job: Job, ms: int) -> None:
        loop, run_id = asyncio.get_running_loop(), job.grant.id
        # The clock of the store counts; the loop's own only sees to it that nobody has to skip.
        pause = self.held[run_id] = (self._clock.now() + ms, job)

        def launch() -> None:
            if self.held.get(run_id) is pause:
                del self.held[run_id]
                self._launch(job)

        loop.call_later(ms / 1000, launch)

    def _close(self) -> None:
        self.held.clear()  # those jobs are given back
        super()._close()

    async def launch_due(self) -> None:
        """Begin the attempts that are due by now."""
        now = self._clock.now()
        for run_id, (due, job) in list(self.held.items()):
            if due <= now:
                del self.held[run_id]
                self._launch(job)


class InProcessWorker:
    """Executes the runs of all tasks that this process knows, those declared later included."""

    def __init__(self, trigger: TriggerCelery, concurrency: int = CONCURRENCY) -> None:
        self._trigger = trigger
        self._pool = TaskPool(concurrency)
        host = _Host(trigger.app, self._pool, concurrency, f"test@{socket.gethostname()}")
        self._session = WorkerSession(trigger, host, self._queues(), "asyncio")
        self._session.direct = True
        crashed = CrashedRuns(trigger, lambda: self._pool.loop)
        # A test may skip years and look at its runs all the same.
        self._services = ServiceRunner(trigger, crashed.tell, without=("pruner",))
        self._consumer = SkippingConsumer(
            Clock(trigger.store), trigger, host, self._session, self._services
        )
        self._known: dict[str, TaskDefinition] = {}
        self._started = False

    def _queues(self) -> list[str]:
        trigger = self._trigger
        tasks = [trigger.worker_queue(one, one.id) for one in REGISTRY.tasks.values()]
        default: Any = trigger.app.conf.task_default_queue
        return list(dict.fromkeys([str(default), *tasks]))

    def start(self) -> None:
        """Begin to execute runs."""
        # As workers do it: a thread of theirs that calls a shared task means this app.
        self._trigger.app.set_default()
        self._pool.start()
        self._session.start()
        self._services.start()
        self._consumer.start()
        self._started = True
        self._trigger.taken_over.look()
        self._known = dict(REGISTRY.tasks)
        REGISTRY.on_task(self._learn)

    def _learn(self, definition: TaskDefinition) -> None:
        """A task was declared: say so, if it is not one of those that were there."""
        session = self._session
        if self._known.get(definition.id) is definition:
            return
        self._known[definition.id] = definition
        session.worker_queues = self._queues()
        session.serves = " ".join(served(session.worker_queues, ()))
        session.register()
        if definition.scheduled:
            DeclaredSchedules(self._trigger).sync()

    @property
    def queues(self) -> list[str]:
        """The worker queues that it serves."""
        return self._session.worker_queues

    @property
    def held(self) -> dict[str, int]:
        """Runs that wait here for their next attempt, and when it is due."""
        return {run_id: due for run_id, (due, _) in list(self._consumer.held.items())}

    def catch_up(self) -> None:
        """Time was skipped: keep the lease, and begin the attempts that are due."""
        settings = self._trigger.settings
        self._trigger.store.run_blocking(
            sessions.renew(self._trigger.scope, self._session.id, settings.lease_ms(), 0, 1)
        )
        launched = asyncio.run_coroutine_threadsafe(self._consumer.launch_due(), self._pool.loop)
        launched.result(10)

    def stop(self) -> None:
        """Give attempts under way a moment to end, stop them, and leave."""
        if not self._started:
            return
        self._started = False
        REGISTRY.off_task(self._learn)
        self._consumer.drain(GRACE)
        self._services.stop()
        self._consumer.finish()
        self._session.stop()
        closed = asyncio.run_coroutine_threadsafe(self._trigger.store.aclose(), self._pool.loop)
        closed.result(10)
        self._pool.terminate()  # threads that sleep on are left behind; they end with the process
        if not self._pool.loop.is_running():
            self._pool.loop.close()
