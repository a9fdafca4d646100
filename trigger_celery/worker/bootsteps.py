"""The step that `TriggerCelery` adds to Celery's worker: `celery -A proj worker` runs runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import bootsteps, signals

from trigger_celery.bridge.binding import TriggerCelery, binding_of
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.errors import StoreUnavailableError, TriggerError
from trigger_celery.worker.background_loop import BACKGROUND
from trigger_celery.worker.celery_internals import (
    after_revoke,
    before_soft_shutdown,
    consumed_queues,
)
from trigger_celery.worker.crashed_runs import CrashedRuns
from trigger_celery.worker.loop_consumer import LoopConsumer
from trigger_celery.worker.pool import TaskPool
from trigger_celery.worker.revoking import Revocations
from trigger_celery.worker.session import ServiceRunner, WorkerSession
from trigger_celery.worker.thread_consumer import ThreadConsumer

logger = logging.getLogger("trigger_celery.worker")


PAUSE = 2.0
"""Seconds before the next try to register with a server that is away."""
LAST_TRY = 10.0
"""Seconds that a worker which ends waits for a try under way."""
WITHOUT_RUNS = frozenset({"eventlet"})
"""Pools that execute Celery's own tasks only: there is no stopping a run in them, and no time limit."""


class RunWorker(bootsteps.StartStopStep):
    """Starts the session, the services and the run consumer once the pool is up.

    A worker step, not a consumer step: it outlives the loss of the broker. `worker -B` has forked
    its beat before: that process inherits neither connections nor threads of a session.
    """

    requires = ("celery.worker.components:Pool", "celery.worker.components:Beat")

    def __init__(self, worker: Any, machines: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._machines = machines
        self._trigger: TriggerCelery | None = binding_of(worker.app)
        if self._trigger is not None:
            self._trigger.taken_over.look()  # before the pool's processes are made
        self._session: WorkerSession | None = None
        self._services: ServiceRunner | None = None
        self._consumer: LoopConsumer | ThreadConsumer | None = None
        self._registered = self._began = False
        self._forget_revokes: Callable[[], None] = lambda: None
        self._ending = threading.Event()
        self._turn = threading.RLock()  # a signal may interrupt who holds it
        """Held to begin, and to say that the worker ends."""
        self._serving = ""
        self._registrar: threading.Thread | None = None

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
        crashed = CrashedRuns(
            self._trigger, lambda: worker.pool.loop if ours else BACKGROUND.loop()
        )
        self._services = ServiceRunner(self._trigger, crashed.tell)
        self._forget_revokes = after_revoke(Revocations(self._trigger).add)
        if pool_name in WITHOUT_RUNS:
            self._refuse_runs(pool_name, names)
            return
        self._session = WorkerSession(self._trigger, worker, names, pool_name, machines)
        self._session.direct = ours
        kind = LoopConsumer if ours else ThreadConsumer
        self._consumer = kind(self._trigger, worker, self._session, self._services)
        before_soft_shutdown(worker, self._on_shutting_down)
        signals.worker_shutting_down.connect(self._on_shutting_down, weak=False)
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)
        self._serving = ", ".join(names)
        if machines:
            self._serving += f", and for machines {', '.join(machines)},"
        try:
            self._register()
        except StoreUnavailableError as problem:
            # Celery's own tasks are executed all the same.
            self._delayed(problem)
            self._registrar = threading.Thread(
                target=self._register_later, name="trigger-registrar", daemon=True
            )
            self._registrar.start()

    def _refuse_runs(self, pool_name: str, names: list[str]) -> None:
        """Have no session, so that no run comes; what is due in the environment is seen to."""
        assert self._services is not None  # noqa: S101 - made in start
        level = logging.ERROR if REGISTRY.tasks else logging.INFO
        logger.log(
            level,
            "the %s pool executes no runs: those of %s stay queued until a worker with another pool "
            "serves them, for example one with `-P gevent`. Celery's own tasks are executed",
            pool_name,
            ", ".join(names),
            extra={"action": "runs_refused", "pool": pool_name},
        )
        signals.worker_shutdown.connect(self._on_shutdown, weak=False)
        with self._turn:
            self._began = True
            self._services.start()

    def _register(self) -> None:
        """Register and begin to pull runs, unless the worker ends."""
        assert self._session is not None  # noqa: S101 - made in start
        assert self._services is not None  # noqa: S101
        assert self._consumer is not None  # noqa: S101
        self._session.start()
        with self._turn:
            self._registered = True
            if self._ending.is_set():
                return
            self._began = True
            self._services.start()
            self._consumer.start()
        logger.info(
            "runs of %s are served as %s",
            self._serving,
            self._session.id,
            extra={"action": "session_started", "session": self._session.id},
        )

    def _register_later(self) -> None:
        while not self._ending.wait(PAUSE):
            try:
                return self._register()
            except TriggerError as problem:
                self._delayed(problem)

    def _delayed(self, problem: TriggerError) -> None:
        logger.error(
            "%s. Trying again in %g seconds; no runs are executed until then",
            problem,
            PAUSE,
            extra={"action": "session_delayed"},
        )

    def _end(self) -> bool:
        """Begin nothing from now on; returns whether it had begun."""
        with self._turn:
            self._ending.set()
            return self._began

    def _on_shutting_down(self, **_: Any) -> None:
        """The signal has come; Celery's loop notices within a second. No runs from now on."""
        if self._end() and self._consumer is not None:
            self._consumer.close()

    def stop(self, worker: Any) -> None:
        """Take no more runs; on the asyncio pool, wait for those under way."""
        if self._end() and self._consumer is not None and self._trigger is not None:
            self._consumer.drain(self._trigger.settings.shutdown_grace)

    def terminate(self, worker: Any) -> None:
        """Take no more runs, stop those under way and give them back."""
        if self._services is not None:
            if self._end() and self._consumer is not None:
                self._consumer.drain(0.0)
            self._on_shutdown()  # Celery sends no worker_shutdown when it terminates

    def _on_shutdown(self, **_: Any) -> None:
        """The pool has stopped: give back what is left and leave."""
        signals.worker_shutting_down.disconnect(self._on_shutting_down)
        signals.worker_shutdown.disconnect(self._on_shutdown)
        self._forget_revokes()
        if self._registrar is not None:
            self._registrar.join(LAST_TRY)
        began = self._end()
        if began and self._services is not None:
            self._services.stop()
            if self._consumer is not None:
                self._consumer.finish()
            self._services.finish()
        if self._registered and self._session is not None:
            self._session.stop()
        self._session = None
