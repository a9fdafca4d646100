"""A run as its readers see it: status, attempts, error, times."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from trigger_celery.errors import InputError
from trigger_celery.model.instant import iso
from trigger_celery.model.packet import plain
from trigger_celery.model.run_error import RunError as RunError
from trigger_celery.model.status import Status


class RunStatus(Status):
    """Where a run is in its life. Equal to its own name in any letter case."""

    PENDING_VERSION = "PENDING_VERSION"  # no worker knows the task or the queue yet
    DELAYED = "DELAYED"  # starts at a time in the future
    QUEUED = "QUEUED"  # ready to start or to go on; waits for a slot
    DEQUEUED = "DEQUEUED"  # taken by a worker, not started
    EXECUTING = "EXECUTING"  # running, or waiting out a short retry delay
    WAITING = "WAITING"  # blocked on waitpoints: time, tokens, other runs
    COMPLETED = "COMPLETED"  # ended with an output
    CANCELED = "CANCELED"  # ended by a user, or with its parent
    FAILED = "FAILED"  # the task raised and no retry is left
    CRASHED = "CRASHED"  # its worker process died
    SYSTEM_FAILURE = "SYSTEM_FAILURE"  # a fault that is not the task's
    EXPIRED = "EXPIRED"  # its TTL passed before it started
    TIMED_OUT = "TIMED_OUT"  # over its maximum duration, or a time limit of Celery's

    @property
    def is_final(self) -> bool:
        """True when the run has ended. It will not change any more, unless it is a recorded one."""
        return self in FINAL

    is_completed = is_final

    @property
    def is_queued(self) -> bool:
        """True before a worker has taken the run, and while it waits for a slot again."""
        return self in _QUEUED

    @property
    def is_executing(self) -> bool:
        """True while a worker has the run and it is not waiting."""
        return self in _EXECUTING

    @property
    def is_waiting(self) -> bool:
        """True while the run is blocked on waitpoints."""
        return self is RunStatus.WAITING

    @property
    def is_success(self) -> bool:
        """True when the run ended with an output."""
        return self is RunStatus.COMPLETED

    @property
    def is_failed(self) -> bool:
        """True when the run ended without an output, other than by being cancelled."""
        return self in _FAILED

    @property
    def is_cancelled(self) -> bool:
        """True when the run was cancelled."""
        return self is RunStatus.CANCELED

    is_canceled = is_cancelled


_QUEUED: Final = frozenset({RunStatus.QUEUED, RunStatus.PENDING_VERSION, RunStatus.DELAYED})
_EXECUTING: Final = frozenset({RunStatus.EXECUTING, RunStatus.DEQUEUED})
_FAILED: Final = frozenset(
    {
        RunStatus.FAILED,
        RunStatus.CRASHED,
        RunStatus.SYSTEM_FAILURE,
        RunStatus.EXPIRED,
        RunStatus.TIMED_OUT,
    }
)
FINAL: Final = _FAILED | {RunStatus.COMPLETED, RunStatus.CANCELED}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to execute a run. `finished_at` is None until its end was seen."""

    number: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: RunError | None = None
    worker: str | None = None
    """Of a recorded run: the name of the worker."""
    retry_delay: float | None = None
    """Of a recorded run: seconds until the next attempt was to begin."""
    note: str | None = None
    """Of a recorded run: "redelivered", "presumed lost", "ignored", "returned to the broker"."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attempt as JSON-ready values; those of recorded runs only where there are any."""
        shown = {
            "number": self.number,
            "started_at": _ready(self.started_at),
            "finished_at": _ready(self.finished_at),
            "error": _ready(self.error),
        }
        more = {"worker": self.worker, "retry_delay": self.retry_delay, "note": self.note}
        return shown | {name: value for name, value in more.items() if value is not None}


@dataclass(frozen=True, slots=True)
class RelatedRuns:
    """The runs around a run, without payloads and outputs. Those that are gone are missing.

    `children` are the newest 100 that the run triggered, of `child_count`; `runs.list(parent=run)`
    finds all.
    """

    root: Run | None = None
    parent: Run | None = None
    children: tuple[Run, ...] = ()
    child_count: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the runs as JSON-ready values."""
        return {
            "root": None if self.root is None else self.root.to_dict(),
            "parent": None if self.parent is None else self.parent.to_dict(),
            "children": [child.to_dict() for child in self.children],
            "child_count": self.child_count,
        }


@dataclass(frozen=True, slots=True)
class Run:
    """A snapshot of a run; reading it again may show another. Times are aware and in UTC."""

    id: str
    status: RunStatus
    task_identifier: str
    queue: str = ""
    concurrency_key: str | None = None
    priority: float = 0.0
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    payload: Any = None
    output: Any = None
    error: RunError | None = None
    attempt_count: int = 0
    max_attempts: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    queued_at: datetime | None = None
    dequeued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    delayed_until: datetime | None = None
    expired_at: datetime | None = None
    ttl: str | None = None
    idempotency_key: str | None = None
    idempotency_key_scope: str | None = None
    machine: str | None = None
    version: str | None = None
    is_test: bool = False
    replayed_from: str | None = None
    schedule_id: str | None = None
    depth: int = 0
    parent_id: str | None = None
    root_id: str | None = None
    batch_id: str | None = None
    worker_queue: str | None = None
    duration_ms: int = 0
    attempts: tuple[Attempt, ...] = ()
    recorded: bool = False
    """True: Celery's broker carries the task, and the library only writes down what happens."""
    celery_task_id: str | None = None
    """Celery's id of the task where it is not the run's own, and `id` is made of it: of recorded tasks, of
    those that were taken over, in a canvas, and of calls with a `task_id`."""
    notes: tuple[str, ...] = ()
    """Of a recorded run, where they are read with its attempts: "delay beyond the visibility timeout",
    "in a chord without a result"."""
    related_runs: RelatedRuns | None = None
    """Only `runs.retrieve` reads them."""

    @property
    def is_queued(self) -> bool:
        """True while the run waits to start or for a slot: QUEUED, PENDING_VERSION, DELAYED."""
        return self.status.is_queued

    @property
    def is_executing(self) -> bool:
        """True for DEQUEUED and EXECUTING."""
        return self.status.is_executing

    @property
    def is_waiting(self) -> bool:
        """True while the run is blocked on a wait, a token or another run."""
        return self.status.is_waiting

    @property
    def is_completed(self) -> bool:
        """True for every final status, failures and cancellation included."""
        return self.status.is_final

    @property
    def is_success(self) -> bool:
        """True for COMPLETED."""
        return self.status.is_success

    @property
    def is_failed(self) -> bool:
        """True for FAILED, CRASHED, SYSTEM_FAILURE, EXPIRED and TIMED_OUT."""
        return self.status.is_failed

    @property
    def is_cancelled(self) -> bool:
        """True for CANCELED."""
        return self.status.is_cancelled

    is_canceled = is_cancelled

    @property
    def is_replay(self) -> bool:
        """True when the run repeats another: `replayed_from`."""
        return self.replayed_from is not None

    @property
    def queue_wait(self) -> timedelta | None:
        """The time from queued to started; None until both have happened, or when it queued again since."""
        if self.queued_at is None or self.started_at is None or self.queued_at > self.started_at:
            return None
        return self.started_at - self.queued_at

    def to_dict(self) -> dict[str, Any]:
        """Return the run and its booleans as JSON-ready values under snake_case names.

        Instants are ISO 8601 in UTC. Rich payload and output values (dates, sets, decimals) appear
        as their JSON half.
        """
        shown = {name: _ready(getattr(self, name)) for name in _FIELDS}
        shown.update({name: getattr(self, name) for name in _BOOLEANS})
        return shown


_FIELDS: Final = tuple(field.name for field in fields(Run))
_BOOLEANS: Final = (
    "is_queued",
    "is_executing",
    "is_waiting",
    "is_completed",
    "is_success",
    "is_failed",
    "is_cancelled",
    "is_replay",
)


def _ready(value: Any) -> Any:
    """Return *value* as the JSON encoder takes it."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return iso(value)
    if isinstance(value, (RunError, Attempt, RelatedRuns)):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_ready(item) for item in value]
    try:
        return plain(value)
    except InputError:
        return repr(value)
