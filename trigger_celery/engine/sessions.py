"""Worker sessions: registration, lease, end; and taking over from those that are lost."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trigger_celery.engine import queueing
from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.machines import served
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.ids import op_id
from trigger_celery.model.machine import DEFAULT_MACHINE
from trigger_celery.model.run_error import RunError
from trigger_celery.store.op import Arg, Flow

logger = logging.getLogger("trigger_celery.timers")

LOST_ERROR = json.dumps(
    {
        "type": "INTERNAL_ERROR",
        "code": "TASK_RUN_WORKER_LOST",
        "message": "The worker that executed this attempt is gone: its lease was not renewed.",
    },
    separators=(",", ":"),
)
CLOSED_ERROR = json.dumps(
    {
        "type": "INTERNAL_ERROR",
        "code": "TASK_RUN_WORKER_SHUTDOWN",
        "message": "The worker that executed this attempt was shut down before it ended.",
    },
    separators=(",", ":"),
)


TTL_ERROR = dump_error(
    RunError(None, "Run expired because the TTL (%s) was reached", type="STRING_ERROR")
)
PARENT_ERROR = dump_error(RunError(None, "Canceled with its parent", type="STRING_ERROR"))


@dataclass(frozen=True, slots=True)
class TaskDeclaration:
    """What a worker says of a task: where its runs go and how many attempts they have."""

    id: str
    queue: str
    worker_queue: str
    max_attempts: int
    details: Mapping[str, Any]

    def packed(self) -> str:
        """Return the definition as the scripts read it: parts before the JSON by position."""
        details = json.dumps(self.details, separators=(",", ":"), ensure_ascii=False)
        # Half a surrogate pair is no text to the scripts.
        details = details.encode("utf-8", "replace").decode()
        return "\x1f".join((self.queue, self.worker_queue, str(self.max_attempts), details))


@dataclass(frozen=True, slots=True)
class SessionDeclaration:
    """All that a worker registers."""

    session: str
    lease_ms: int
    info: Mapping[str, Any]
    worker_queues: Sequence[str]
    tasks: Sequence[TaskDeclaration]
    queues: Sequence[QueueDeclaration]
    environment_limit: int | None
    direct: bool = False
    """Whether single runs may be put into its mailbox, started, without being asked for."""
    environment_burst: float = 1.0
    machines: Sequence[str] = ()
    """The machine presets whose runs it takes."""
    default_machine: str = DEFAULT_MACHINE
    """The preset that every worker is; known from those that take others."""


def register(scope: str, declaration: SessionDeclaration) -> Flow[None]:
    """Register a session, apply the limits it declares, and queue runs parked for its tasks."""
    items: list[Arg] = []
    for task in declaration.tasks:
        items += (task.id, task.packed())
    for queue in declaration.queues:
        items += queue.packed()
    limit = declaration.environment_limit
    tasks, queues, regated = yield SCRIPTS.register_session(
        scope,
        items,
        None,
        session=declaration.session,
        lease=declaration.lease_ms,
        info=json.dumps(declaration.info, separators=(",", ":")),
        serves=" ".join(served(declaration.worker_queues, declaration.machines)),
        preset=declaration.default_machine if declaration.machines else "",
        direct="1" if declaration.direct else "0",
        tasks="\x1f".join(task.id for task in declaration.tasks),
        env_limit="" if limit is None else limit,
        burst=declaration.environment_burst,
        counts=len(declaration.tasks),
    )
    if regated:
        yield from queueing.refresh_all(scope)
    else:
        for queue in declaration.queues:
            yield from queueing.refresh(scope, queue.name)
    for kind, names in (("task", tasks), ("queue", queues)):
        for name in names:
            while (yield SCRIPTS.unpark_runs(scope, kind=kind, name=name, count=100)) == 100:
                pass


def renew(scope: str, session: str, lease_ms: int, busy: int, free: int) -> Flow[bool]:
    """Extend the lease. False: it lapsed and the runs are somebody else's; register anew."""
    answer = yield SCRIPTS.renew_session(
        scope, session=session, lease=lease_ms, busy=busy, free=free
    )
    return bool(answer == b"ok")


@dataclass(frozen=True, slots=True)
class Owned:
    """A run that a session owns, as the store has it."""

    epoch: str
    status: str


def owned(scope: str, session: str) -> Flow[dict[str, Owned]]:
    """Return the runs a session owns."""
    rows = yield SCRIPTS.read_owned(scope, session=session)
    return {
        run_id.decode(): Owned(epoch.decode(), status.decode()) for run_id, epoch, status in rows
    }


def close(scope: str, session: str, retention: int) -> Flow[int]:
    """End a session and give back what it still owns; returns the number of runs given back."""
    total = 0
    while True:
        taken, more = yield SCRIPTS.close_session(
            scope,
            op_id=op_id(),
            session=session,
            count=100,
            error=CLOSED_ERROR,
            retention=retention,
        )
        total += int(taken)
        if not more:
            return total


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep did. `held_ms`: nothing is taken yet, the leases may only look lapsed."""

    taken: tuple[tuple[str, str], ...]
    sessions_ended: int
    more: bool
    held_ms: int


def sweep(scope: str, lease_ms: int, interval_ms: int, retention: int) -> Flow[Sweep]:
    """Take up to 100 runs over from sessions whose lease has lapsed."""
    _, ended, more, held, taken = yield SCRIPTS.sweep_sessions(
        scope,
        op_id=op_id(),
        gap=max(lease_ms // 2, 2 * interval_ms),
        lease=lease_ms,
        count=100,
        error=LOST_ERROR,
        retention=retention,
    )
    pairs = [item.decode().partition(">") for item in taken]
    return Sweep(
        tuple((run_id, status) for run_id, _, status in pairs), int(ended), bool(more), int(held)
    )


def fire_timers(scope: str, count: int, retention: int) -> Flow[tuple[int, int | None]]:
    """Do up to *count* things that are due; returns how many, and in how many ms the next is due.

    What fails is logged and tried again in a minute.
    """
    fired, due, now, *failed = yield SCRIPTS.fire_timers(
        scope, count=count, op_id=op_id(), error=PARENT_ERROR, retention=retention, expiry=TTL_ERROR
    )
    for timer, problem in zip(failed[::2], failed[1::2], strict=True):
        logger.error(
            "the timer %s failed and is tried again in a minute: %s",
            timer.decode() or "(several)",
            problem.decode(errors="replace"),
            extra={"action": "timer_failed", "timer": timer.decode()},
        )
    return int(fired), (max(0, int(float(due)) - int(now)) if due else None)


def read_heartbeat(scope: str, run_id: str) -> Flow[int | None]:
    """Return when the worker that has the run last renewed its lease, in ms; None without one."""
    renewed: bytes | None = yield SCRIPTS.read_heartbeat(scope, run_id=run_id)
    return int(renewed) if renewed else None


def prune(scope: str, count: int) -> Flow[int]:
    """Remove up to *count* final runs whose retention has passed; returns how many."""
    removed = yield SCRIPTS.prune_runs(scope, count=count)
    return int(removed)


def prune_queues(scope: str, cursor: bytes) -> Flow[bytes]:
    """Forget the names of some unused queues; returns where to go on, from `b"0"` to `b"0"`."""
    following: bytes = yield SCRIPTS.prune_queues(scope, cursor=cursor)
    return following
