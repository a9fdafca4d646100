"""The worker's session: it registers, renews its lease from its own thread, runs the services."""

from __future__ import annotations

import heapq
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from trigger_celery.bridge import precedence
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.recording.sending_again import BulkSender
from trigger_celery.bridge.registry import REGISTRY, Queue, TaskDefinition
from trigger_celery.engine import sessions
from trigger_celery.engine.admission import labels_of
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.machines import served
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.services.bulk_actions import BulkActions
from trigger_celery.engine.services.object_pruner import ObjectPruner
from trigger_celery.engine.services.promoter import Promoter
from trigger_celery.engine.services.pruner import Pruner
from trigger_celery.engine.services.service import Service
from trigger_celery.engine.services.sweeper import Sweeper
from trigger_celery.errors import StoreError
from trigger_celery.model.duration import format_duration
from trigger_celery.model.ids import session_id
from trigger_celery.model.rate import parse_rate
from trigger_celery.store.store import Store
from trigger_celery.worker.continuing import Continuing
from trigger_celery.worker.declared_schedules import DeclaredSchedules

logger = logging.getLogger("trigger_celery.session")


def _defaults(definition: TaskDefinition) -> dict[str, Any]:
    """Return what runs get that are triggered where the task is not known."""
    defaults: dict[str, Any] = {}
    if definition.ttl is not None:
        defaults["ttl"] = [definition.ttl, format_duration(definition.ttl)]
    if definition.machine is not None:
        defaults["machine"] = definition.machine
    return {"defaults": defaults} if defaults else {}


class WorkerSession:
    """One registration of this worker process. A lapsed lease means a new session."""

    def __init__(
        self,
        trigger: TriggerCelery,
        worker: Any,
        worker_queues: list[str],
        pool_name: str,
        machines: Sequence[str] = (),
    ) -> None:
        self.trigger = trigger
        self.worker_queues = worker_queues
        self.serves = " ".join(served(worker_queues, machines))
        """What it takes runs from, as tokens."""
        self._machines = machines
        self._unplaced = not machines
        self.id = session_id()
        self._worker = worker
        self._pool_name = pool_name
        self.direct = False
        self._schedules = DeclaredSchedules(trigger)
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None
        self.load: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.on_lost: Callable[[str], None] = lambda session: None
        self.on_audit: Callable[[str, dict[str, sessions.Owned]], None] | None = None

    def start(self) -> None:
        """Register and begin to renew."""
        self.register()
        self._schedules.sync()
        self._renewer = threading.Thread(target=self._renew, name="trigger-lease", daemon=True)
        self._renewer.start()

    def register(self) -> None:
        """Say that this worker is here, with its tasks and queues."""
        trigger = self.trigger
        declaration = sessions.SessionDeclaration(
            session=self.id,
            lease_ms=trigger.settings.lease_ms(),
            info={
                "hostname": self._worker.hostname,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "pool": self._pool_name,
                "concurrency": self._worker.concurrency,
                "queues": self.worker_queues,
                **({"machines": list(self._machines)} if self._machines else {}),
            },
            worker_queues=self.worker_queues,
            tasks=[self._declare(definition) for definition in REGISTRY.tasks.values()],
            queues=[declare_queue(queue) for queue in REGISTRY.queues.values()],
            environment_limit=trigger.settings.environment_concurrency_limit,
            environment_burst=trigger.settings.environment_burst_factor,
            direct=self.direct,
            machines=self._machines,
            default_machine=trigger.settings.default_machine,
        )
        trigger.store.run_blocking(sessions.register(trigger.scope, declaration))

    def _declare(self, definition: TaskDefinition) -> sessions.TaskDeclaration:
        policy = precedence.retry_of(None, definition, self.trigger.settings)
        return sessions.TaskDeclaration(
            id=definition.id,
            queue=definition.queue.name,
            worker_queue=self.trigger.worker_queue(definition, definition.id),
            max_attempts=1 if policy is None else policy.max_attempts,
            details={
                "description": definition.description,
                "file": definition.file_path,
                **({"scheduled": True} if definition.scheduled else {}),
                **_defaults(definition),
            },
        )

    def look_at(self, grant: Grant) -> None:
        """Warn, once, of a run for a machine that came although no worker declares machines."""
        if not self._unplaced or '"machine"' not in grant.options:
            return
        machine = labels_of(grant.options)["machine"]
        if machine and machine != self.trigger.settings.default_machine:
            self._unplaced = False
            logger.warning(
                "run %s is for machine %r and executes on this worker, which declares no machines: "
                "until some worker does, all workers take such runs. Start those on machines of "
                "that size with --machines %s",
                grant.id,
                machine,
                machine,
                extra={"action": "machine_ignored", "run_id": grant.id},
            )

    def replace(self) -> None:
        """Register under a new id, after the lease of the old one lapsed."""
        self.id = session_id()
        self.register()

    def _renew(self) -> None:
        lease = self.trigger.settings.worker_lease
        pause = lease / 3
        while not self._stop.wait(pause):
            session = self.id
            try:
                busy, free = self.load()
                alive = self.trigger.store.run_blocking(
                    sessions.renew(
                        self.trigger.scope,
                        session,
                        self.trigger.settings.lease_ms(),
                        busy,
                        free,
                    )
                )
                if alive and self.on_audit is not None:
                    store = self.trigger.store
                    owned = store.run_blocking(sessions.owned(store.scope, session))
                    self.on_audit(session, owned)
                if alive and not self._schedules.done:
                    self._schedules.sync()
                pause = lease / 3
            except Exception as problem:
                # Whatever it is: a worker that stops renewing loses all its runs.
                logger.warning(
                    "could not renew the lease: %s", problem, extra={"action": "renew_failed"}
                )
                pause = min(1.0, lease / 10)
                continue
            if not alive:
                logger.error(
                    "the lease of %s lapsed: its runs are taken over by other workers",
                    session,
                    extra={"action": "lease_lost", "session": session},
                )
                self.on_lost(session)

    def stop(self) -> None:
        """Stop renewing and give back what this session still owns."""
        self._stop.set()
        try:
            given_back = self.trigger.store.run_blocking(
                sessions.close(self.trigger.scope, self.id, self.trigger.settings.run_retention)
            )
        except StoreError as problem:
            logger.warning(
                "could not close the session, its lease will lapse: %s",
                problem,
                extra={"action": "close_failed", "session": self.id},
            )
            return
        if given_back:
            logger.warning(
                "%d run(s) were given back to the queue",
                given_back,
                extra={"action": "runs_given_back", "count": given_back},
            )


def declare_queue(queue: Queue) -> QueueDeclaration:
    """Return a queue as the engine takes it."""
    return QueueDeclaration(
        queue.name,
        queue.concurrency_limit,
        queue.total_concurrency_limit,
        parse_rate(queue.rate_limit),
        parse_rate(queue.rate_limit_per_key, "rate_limit_per_key"),
        queue.size_limit,
    )


def tick(store: Store, service: Service) -> float:
    """Let a service do a piece of work; returns the seconds until the next, also after a failure."""
    name = service.name
    try:
        return store.run_blocking(service.tick())
    except StoreError as problem:
        logger.warning(
            "service %s could not reach the store: %s",
            name,
            problem,
            extra={"action": "service_failed", "service": name},
        )
        return 1.0
    except Exception:
        logger.exception(
            "service %s failed", name, extra={"action": "service_failed", "service": name}
        )
        return 5.0


class ServiceThread:
    """Runs one service in a thread of its own: what waits for others than Redis may take long."""

    def __init__(self, store: Store, service: Service) -> None:
        self._store = store
        self._service = service
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        name = f"trigger-{self._service.name}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def stop(self) -> None:
        """Begin no other piece of work; one under way may be cut off by the end of the process."""
        self._stopping.set()

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = tick(self._store, self._service)


class ServiceRunner:
    """Runs the services of this worker in one thread; a failing one is tried again later."""

    def __init__(
        self,
        trigger: TriggerCelery,
        on_crashed: Callable[[str], None],
        *,
        without: Sequence[str] = (),
    ) -> None:
        settings, scope = trigger.settings, trigger.scope
        self.on_crashed = on_crashed
        """Called with the id of a run that is CRASHED since its process died."""
        self._store = trigger.store
        self._services: dict[str, Service] = {
            service.name: service
            for service in (
                Promoter(scope, settings.run_retention),
                Sweeper(scope, settings.lease_ms(), settings.run_retention, on_crashed),
                Pruner(scope),
                BulkActions(
                    scope,
                    settings.run_retention,
                    lambda task: trigger.placement(None, task),
                    BulkSender(trigger),
                ),
            )
            if service.name not in without
        }
        self._wake = threading.Event()
        self._poked: set[str] = set()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._objects: ServiceThread | None = None
        self._continuing = Continuing(trigger)
        if settings.payload_store is not None:
            self._objects = ServiceThread(trigger.store, ObjectPruner(scope))

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="trigger-services", daemon=True)
        self._thread.start()
        self._continuing.start()
        if self._objects is not None:
            self._objects.start()

    def finish(self) -> None:
        """The worker's last runs are recorded."""
        self._continuing.finish()

    def go_on(self) -> None:
        """The end of a run is recorded from which something of Celery's may go on."""
        self._continuing.poke()

    def poke(self, name: str) -> None:
        """Let a service tick now: something became due sooner than it expects."""
        self._poked.add(name)
        self._wake.set()

    def stop(self) -> None:
        """Stop the thread after the tick under way."""
        self._stopping = True
        self._wake.set()
        self._continuing.stop()
        if self._objects is not None:
            self._objects.stop()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        due: list[tuple[float, str]] = [(0.0, name) for name in self._services]
        heapq.heapify(due)
        while not self._stopping:
            self._wake.clear()
            if self._poked:
                poked = {self._poked.pop() for _ in range(len(self._poked))}
                due = [(0.0 if name in poked else at, name) for at, name in due]
                heapq.heapify(due)
            wait = due[0][0] - time.monotonic()
            if wait > 0:
                self._wake.wait(wait)
                if self._poked or time.monotonic() < due[0][0]:
                    continue
            _, name = heapq.heappop(due)
            heapq.heappush(due, (time.monotonic() + self._tick(name), name))

    def _tick(self, name: str) -> float:
        return 0.0 if self._stopping else tick(self._store, self._services[name])
