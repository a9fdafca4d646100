"""The step that `TriggerCelery` adds to Celery's worker: `celery -A proj worker` runs runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from celery import bootsteps, signals

from trigger_celery.bridge.binding import TriggerCelery, binding_of
from trigger_celery.errors import StoreUnavailableError
from trigger_celery.worker.background_loop import BACKGROUND
from trigger_celery.worker.celery_internals import consumed_queues, end_if_told
from trigger_celery.worker.crashed_runs import CrashedRuns
from trigger_celery.worker.loop_consumer import LoopConsumer
from trigger_celery.worker.pool import TaskPool
from trigger_celery.worker.session import ServiceRunner, WorkerSession
from trigger_celery.worker.thread_consumer import ThreadConsumer

logger = logging.getLogger("trigger_celery.worker")


PAUSE = 2.0
"""Seconds before the next try to register with a server that is away."""


def _register(session: WorkerSession) -> None:
    """Start the session; while the server is away, try again, as Celery does with its broker."""
    while True:
        try:
            return session.start()
        except StoreUnavailableError as problem:
            logger.error(
                "%s. Trying again in %g seconds",
                problem,
                PAUSE,
                extra={"action": "session_delayed"},
            )
        until = time.monotonic() + PAUSE
        while time.monotonic() < until:
            end_if_told()
            time.sleep(0.1)


class RunWorker(bootsteps.StartStopStep):
    """Starts the session, the services and the run consumer once the pool is up.

    A worker step, not a consumer step: it outlives the loss of the broker.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, machines: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._machines = machines
        self._trigger: TriggerCelery | None = binding_of(worker.app)
        self._session: WorkerSession | None = None
        self._services: ServiceRunner | None = None
        self._consumer: LoopConsumer | ThreadConsumer | None = None

    def include_if(self, worker: Any) -> bool:
        """Only in workers of a bound app."""
        return self._trigger is not None

    def start(self, worker: Any) -> None:
        """Register and begin to pull runs."""
        assert self._trigger is not None  # noqa: S101 - include_if
        if self._trigger.telemetry is not None:  # an unfit one ends the worker here, not its runs
            logger.info("runs are traced", extra={"action": "telemetry_on"})
        names = consumed_queues(worker)
        ours = isinstance(worker.pool, TaskPool)
        pool_name = "asyncio" if ours else type(worker.pool).__module__.rsplit(".", 1)[-1]
        machines = self._trigger.settings.machines if self._machines is None else self._machines
        self._session = WorkerSession(self._trigger, worker, names, pool_name, machines)
        self._session.direct = ours
        crashed = CrashedRuns(
            self._trigger, lambda: worker.pool.loop if ours else BACKGROUND.loop()
        )
        self._services = ServiceRunner(self._trigger, crashed.tell)
        kind = LoopConsumer if ours else ThreadConsumer
        consumer = kind(self._trigger, worker, self._session, self._services)
        _register(self._session)
        self._consumer = consumer
        self._services.start()
        self._consumer.start()
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)
        logger.info(
            "runs of %s%s are served as %s",
            ", ".join(names),
            f", and for machines {', '.join(machines)}," if machines else "",
            self._session.id,
            extra={"action": "session_started", "session": self._session.id},
        )

    def _on_shutting_down(self, **_: Any) -> None:
        """The signal has come; Celery's loop notices within a second. No runs from now on."""
        if self._consumer is not None:
            self._consumer.close()

    def stop(self, worker: Any) -> None:
        """Take no more runs; on the asyncio pool, wait for those under way."""
        if self._consumer is not None and self._trigger is not None:
            self._consumer.drain(self._trigger.settings.shutdown_grace)

    def terminate(self, worker: Any) -> None:
        """Take no more runs, stop those under way and give them back."""
        if self._consumer is not None:
            self._consumer.drain(0.0)
            self._on_shutdown()  # Celery sends no worker_shutdown when it terminates

    def _on_shutdown(self, **_: Any) -> None:
        """The pool has stopped: give back what is left and leave."""
        signals.worker_shutting_down.disconnect(self._on_shutting_down)
        signals.worker_shutdown.disconnect(self._on_shutdown)
        if self._services is not None:
            self._services.stop()
        if self._session is not None and self._consumer is not None:
            self._consumer.finish()
            self._session.stop()
            self._session = None
