"""Drives the engine in tests: what callers, workers and services do, one call each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import redis

from tests.driving_waits import DAY, HOUR, RETENTION, Waits, origin
from trigger_celery.engine import (
    attempts,
    cancelling,
    keys,
    querying,
    queueing,
    sessions,
    triggering,
)
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.attempts import Ending, Exchange, Grant
from trigger_celery.engine.machines import served
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.triggering import NOWHERE, NewRun, Origin, Placement, Triggered
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import op_id, run_id, token
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.store.op import Flow
from trigger_celery.store.store import Store

__all__ = ["DAY", "ERROR", "HOUR", "LEASE", "RETENTION", "Clock", "Engine", "origin"]

T = TypeVar("T")

LEASE = 30_000
ERROR = json.dumps({"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no"})


def queue_declarations(
    queues: Mapping[str, int | QueueDeclaration | None],
) -> list[QueueDeclaration]:
    """Return what a worker says of queues that are given by name and limit, or whole."""
    return [
        given if isinstance(given, QueueDeclaration) else QueueDeclaration(name, given)
        for name, given in queues.items()
    ]


class Clock:
    """Moves the test clock, which the scripts add to the server's."""

    def __init__(self, client: redis.Redis, scope: str) -> None:
        self._client = client
        self._key = keys.key(scope, "clock")

    def advance(self, ms: int) -> None:
        """Let *ms* pass at once."""
        self._client.incrby(self._key, ms)

    def now(self) -> int:
        """Return the present in ms, as the scripts see it."""
        seconds, micros = self._client.time()
        return seconds * 1000 + micros // 1000 + int(self._client.get(self._key) or 0)


class Engine(Waits):
    """The engine's operations with short names and defaults, in sync code."""

    def __init__(self, store: Store, client: redis.Redis) -> None:
        self.store = store
        self.client = client
        self.scope = store.scope
        self.clock = Clock(client, store.scope)
        self.known: set[tuple[str, str]] = set()  # tasks and queues that are deployed

    def run(self, flow: Flow[T]) -> T:
        return self.store.run_sync(flow)

    # Callers

    @staticmethod
    def new_run(
        task: str = "t",
        *,
        queue: str | None = None,
        key: str = "",
        delay: int | None = None,
        at: int | None = None,
        priority: int = 0,
        tags: Sequence[str] = (),
        metadata: str = "",
        max_attempts: int | None = None,
        payload: str = "{}",
        declared: bool = True,
        worker_queue: str = "celery",
        id: str | None = None,
        failed: str = "",
        extras: Extras | None = None,
        machine: str = "",
    ) -> NewRun:
        if declared and queue is None:
            queue = f"task/{task}"
        place = Placement(
            task, declared, worker_queue, queue or "", key, max_attempts, preset=machine
        )
        if machine and extras is None:
            extras = Extras(machine=machine, own=frozenset({"machine"}))
        due = None if delay is None and at is None else Delay(delay, at)
        return NewRun(
            id or run_id(), place, Packet(payload, JSON), due, priority, tuple(tags), metadata,
            failed, extras,
        )  # fmt: skip

    def create(self, task: str = "t", **options: Any) -> str:
        """Create one run; *delay* and *priority* are in ms."""
        return self.trigger(self.new_run(task, **options)).id

    def trigger(self, new: NewRun, origin: Origin = NOWHERE) -> Triggered:
        """Create a run, or find the one that has its key."""
        return self.run(triggering.create_run(self.scope, self.deployed(new), RETENTION, origin))

    def deployed(self, new: NewRun) -> NewRun:
        """Return the run, with its task and queue known as if a worker had declared them before.

        Not if its process does not know the task.
        """
        place = new.placement
        if not place.declared or (place.task, place.queue) in self.known:
            return new
        self.known.add((place.task, place.queue))
        declared = sessions.TaskDeclaration(
            place.task, f"task/{place.task}", place.worker_queue, 1, {}
        )
        self.client.hsetnx(self.key("tasks"), place.task, declared.packed())
        if place.queue != f"task/{place.task}":
            record = self.key("queue", token(place.queue))
            self.client.hset(self.key("queues"), token(place.queue), place.queue)
            self.client.hset(record, mapping={"name": place.queue, "declared": "1"})
            self.client.persist(record)
        return new

    def create_many(self, count: int, task: str = "t", **options: Any) -> list[str]:
        runs = [self.new_run(task, **options) for _ in range(count)]
        for new in runs:
            self.deployed(new)
        return self.run(triggering.create_runs(self.scope, runs, RETENTION))

    def cancel(self, run: str) -> RunStatus:
        return self.run(cancelling.cancel_run(self.scope, run, "Canceled by user", RETENTION))

    def revoke(self, *runs: str, terminate: bool = False) -> list[bool]:
        """Let Celery's `revoke` reach runs; returns which it cancelled."""
        flow = cancelling.revoke_runs(self.scope, runs, "Revoked", RETENTION, terminate=terminate)
        return self.run(flow)

    def read(self, run: str) -> Run:
        return self.run(querying.read_run(self.scope, run))

    def status(self, run: str) -> str:
        return self.fields(run).get("status", "")

    def statuses(self, runs: Sequence[str]) -> list[str]:
        return [self.status(run) for run in runs]

    # Workers

    def register(
        self,
        session: str = "w1",
        tasks: Mapping[str, int] | Sequence[str] = ("t",),
        queues: Mapping[str, int | QueueDeclaration | None] | None = None,
        *,
        worker_queues: Sequence[str] = ("celery",),
        lease: int = LEASE,
        limit: int | None = None,
        direct: bool = False,
        burst: float = 1.0,
        machines: Sequence[str] = (),
        details: Mapping[str, Any] | None = None,
    ) -> str:
        """Register a session; *tasks* maps ids to their number of attempts (default 3)."""
        known = tasks if isinstance(tasks, Mapping) else dict.fromkeys(tasks, 3)
        declarations = [
            sessions.TaskDeclaration(
                task, f"task/{task}", worker_queues[0], attempts_, details or {}
            )
            for task, attempts_ in known.items()
        ]
        self.run(
            sessions.register(
                self.scope,
                sessions.SessionDeclaration(
                    session,
                    lease,
                    {},
                    worker_queues,
                    declarations,
                    queue_declarations(queues or {}),
                    limit,
                    direct,
                    burst,
                    machines,
                ),
            )
        )
        return session

    def dequeue(
        self,
        session: str = "w1",
        want: int = 10,
        endings: Sequence[Ending] = (),
        *,
        start: bool = True,
        worker_queues: Sequence[str] = ("celery",),
        machines: Sequence[str] = (),
        op: str | None = None,
    ) -> Exchange:
        call = attempts.dequeue(
            self.scope,
            op or op_id(),
            session,
            " ".join(served(worker_queues, machines)),
            want,
            endings,
            RETENTION,
            start=start,
        )

        def flow() -> Flow[Exchange]:
            return (yield call)

        return self.run(flow())

    def take(self, session: str = "w1", want: int = 10, **options: Any) -> list[Grant]:
        """Dequeue and return the runs; the lease must be alive."""
        runs = self.dequeue(session, want, **options).runs
        assert runs is not None, f"the lease of {session} is gone"
        return runs

    def take_one(self, session: str = "w1", **options: Any) -> Grant:
        (grant,) = self.take(session, 1, **options)
        return grant

    def begin(self, task: str = "t", *, session: str = "w1", **options: Any) -> Grant:
        """Create a run and let the session begin it."""
        run = self.create(task, **options)
        grant = self.take_one(session)
        assert grant.id == run, "another run was waiting"
        return grant

    def start(self, grant: Grant, op: str | None = None) -> int | None:
        return self.run(attempts.start(self.scope, op or op_id(), grant.id, grant.epoch))

    def end(self, grant: Grant, kind: Any = "done", detail: str | int = JSON, data: str = "1",
            op: str | None = None) -> str:  # fmt: skip
        """End one attempt and return the answer."""
        ending = Ending(grant.id, grant.epoch, kind, detail, data)
        (answer,) = self.run(attempts.finish(self.scope, op or op_id(), [ending], RETENTION))
        return answer

    def fail(self, grant: Grant, status: str = "FAILED", op: str | None = None) -> str:
        return self.end(grant, "failed", status, ERROR, op)

    def retry(self, grant: Grant, delay: int, op: str | None = None) -> str:
        return self.end(grant, "retry", delay, ERROR, op)

    def move(self, grant: Grant, machine: str, delay: int = 0, op: str | None = None) -> str:
        """End an attempt that was out of memory."""
        return self.end(grant, "move", f"{delay} {machine}", ERROR, op)

    def back(self, grant: Grant, op: str | None = None) -> str:
        return self.end(grant, "back", "", "", op)

    def unknown(self, grant: Grant, op: str | None = None) -> str:
        return self.end(grant, "unknown", "", "", op)

    def renew(self, session: str = "w1", lease: int = LEASE) -> bool:
        return self.run(sessions.renew(self.scope, session, lease, 0, 1))

    def close(self, session: str = "w1") -> int:
        return self.run(sessions.close(self.scope, session, RETENTION))

    def refresh(self, queue: str) -> None:
        self.run(queueing.refresh(self.scope, queue))

    # Services

    def fire(self, count: int = 200) -> int:
        return self.run(sessions.fire_timers(self.scope, count, RETENTION))[0]

    def sweep(self, lease: int = LEASE) -> sessions.Sweep:
        return self.run(sessions.sweep(self.scope, lease, 5000, RETENTION))

    def let_lapse(self, *alive: str, ms: int = LEASE + 1) -> sessions.Sweep:
        """Let *ms* pass while sweepers work and the sessions *alive* renew, and sweep at the end."""
        done = self.sweep()
        for step in (*[LEASE // 3] * (ms // (LEASE // 3)), ms % (LEASE // 3), LEASE // 3):
            for session in alive:
                assert self.renew(session)
            self.clock.advance(step)
            last = self.sweep()
            done = sessions.Sweep(
                (*done.taken, *last.taken),
                done.sessions_ended + last.sessions_ended,
                last.more,
                last.held_ms,
            )
        return done

    def prune(self, count: int = 100) -> int:
        return self.run(sessions.prune(self.scope, count))

    # What is stored

    def key(self, name: str, *parts: str) -> str:
        return keys.key(self.scope, name, *parts)

    def fields(self, run: str) -> dict[str, str]:
        stored = self.client.hgetall(self.key("run", run))
        return {name.decode(): value.decode() for name, value in stored.items()}

    def members(self, name: str, *parts: str) -> list[str]:
        """Return the members of a zset, lowest score first."""
        return [item.decode() for item in self.client.zrange(self.key(name, *parts), 0, -1)]

    def mail(self, session: str = "w1") -> list[str]:
        """Take every message of a session's mailbox."""
        box = self.key("mailbox", session)
        return [item.decode() for item in self.client.lpop(box, 1_000_000) or ()]

    def photograph(self) -> dict[bytes, tuple[bytes, int]]:
        """Return all that the server holds."""
        names = list(self.client.scan_iter())
        return {name: (self.client.dump(name), max(0, self.client.pttl(name))) for name in names}

    def restore(self, photograph: Mapping[bytes, tuple[bytes, int]]) -> None:
        """Put the server back to where it was, as the loss of its last writes does."""
        self.client.flushall()
        for name, (value, ttl) in photograph.items():
            self.client.restore(name, ttl, value)
