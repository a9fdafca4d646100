"""Queues and the environment: declared, read, paused, their limits overridden."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import QueueNotFoundError, closest
from trigger_celery.model.ids import token
from trigger_celery.model.rate import Rate
from trigger_celery.store.op import Arg, Flow

Action = Literal["pause", "resume", "override", "reset"]


@dataclass(frozen=True, slots=True)
class QueueDeclaration:
    """What a worker says of a queue: its bounds, each None for none of its own."""

    name: str
    limit: int | None = None
    total_limit: int | None = None
    rate: Rate | None = None
    key_rate: Rate | None = None
    size_limit: int | None = None

    def packed(self) -> tuple[Arg, ...]:
        """Return it as arguments of `register_session`."""
        gates: list[object] = ["" if self.total_limit is None else self.total_limit]
        for rate in (self.rate, self.key_rate):
            gates += ("", "") if rate is None else (rate.every_us, rate.burst)
        text = ":".join(map(str, gates))
        options = {
            name: value
            for name, value in (
                ("total", self.total_limit),
                ("rate", self.rate and self.rate.text),
                ("key_rate", self.key_rate and self.key_rate.text),
            )
            if value is not None
        }
        return (
            self.name,
            "" if self.limit is None else self.limit,
            text if text.strip(":") else "",
            "" if self.size_limit is None else self.size_limit,
            json.dumps(options, separators=(",", ":")) if options else "",
        )


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many may execute at once: `current` counts, which is the override or else the base.

    `base` is the limit in the code. None is no limit, or no override.
    """

    current: int | None
    base: int | None
    override: int | None = None
    overridden_at: datetime | None = None
    overridden_by: str | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: its bounds (None for none), and how many of its runs execute and wait.

    `type` is `task` for the queue that a task has anyway, else `custom`. `queued` counts runs that
    could start, and those of a queue that nobody declared; delayed ones are not in it.
    """

    name: str
    type: Literal["task", "custom"]
    running: int
    queued: int
    paused: bool
    concurrency_limit: int | None
    concurrency: Concurrency
    total_concurrency_limit: int | None = None
    rate_limit: str | None = None
    rate_limit_per_key: str | None = None
    size_limit: int | None = None
    declared: bool = True
    id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """The environment: its limit, and how many runs execute and wait in all queues.

    With a `burst_factor` over 1 all queues together may execute `concurrency_limit` times the
    factor; one queue never more than the limit.
    """

    running: int
    queued: int
    paused: bool
    concurrency_limit: int | None
    concurrency: Concurrency
    burst_factor: float


def _number(value: bytes) -> int | None:
    return int(value) if value else None


def _concurrency(
    current: bytes, base: bytes, over: bytes, over_at: bytes, over_by: bytes
) -> Concurrency:
    return Concurrency(
        _number(current),
        _number(base),
        _number(over),
        datetime.fromtimestamp(int(over_at) / 1000, UTC) if over_at else None,
        over_by.decode() or None,
    )


def _state(row: Any) -> QueueState:
    name = row[0].decode()
    limit, base, over, over_at, over_by, paused, declared, size, packed, running, queued = row[1:]
    options: Mapping[str, Any] = json.loads(packed) if packed else {}
    return QueueState(
        name=name,
        type="task" if name.startswith("task/") else "custom",
        running=running,
        queued=queued,
        paused=bool(paused),
        concurrency_limit=_number(limit),
        concurrency=_concurrency(limit, base, over, over_at, over_by),
        total_concurrency_limit=options.get("total"),
        rate_limit=options.get("rate"),
        rate_limit_per_key=options.get("key_rate"),
        size_limit=_number(size),
        declared=bool(declared),
        id=f"queue_{token(name)}",
    )


def list_queues(scope: str) -> Flow[list[QueueState]]:
    """Return every queue, by name."""
    cursor = b"0"
    found: dict[str, QueueState] = {}
    while True:
        cursor, rows = yield SCRIPTS.read_queues(scope, cursor=cursor)
        for state in map(_state, rows):
            found[state.name] = state
        if cursor == b"0":
            return [found[name] for name in sorted(found)]


def read_queue(scope: str, name: str) -> Flow[QueueState]:
    """Return one queue. Raises QueueNotFoundError."""
    rows = yield SCRIPTS.read_queue(scope, queue=name)
    if not rows:
        yield from _refuse(scope, name)
    return _state(rows[0])


def _refuse(scope: str, name: str) -> Flow[None]:
    names = [queue.name for queue in (yield from list_queues(scope))]
    meant = closest(name, names)
    raise QueueNotFoundError(
        f"no queue {name!r} in this environment.{meant} A queue is known once a worker declared "
        "it, or a run was triggered into it."
    )


def change_queue(
    scope: str, name: str, action: Action, limit: int | None = None, by: str = ""
) -> Flow[QueueState]:
    """Pause, resume, override or reset a queue; returns what it is after it.

    Raises QueueNotFoundError. A repeat changes nothing.
    """
    value = "" if limit is None else limit
    answer = yield SCRIPTS.change_queue(scope, queue=name, action=action, value=value, by=by)
    if answer != b"ok":
        yield from _refuse(scope, name)
    yield from refresh(scope, name)
    return (yield from read_queue(scope, name))


def refresh(scope: str, queue: str) -> Flow[None]:
    """Offer the queue's lanes that have room, after its limit changed, or it was paused or resumed."""
    cursor = b"0"
    while True:
        cursor = yield SCRIPTS.refresh_lanes(scope, queue=queue, cursor=cursor)
        if cursor == b"0":
            return


def refresh_all(scope: str) -> Flow[None]:
    """Do that for every queue, after what one queue may have of the environment changed."""
    for queue in (yield from list_queues(scope)):
        yield from refresh(scope, queue.name)


def read_environment(scope: str) -> Flow[EnvironmentState]:
    """Return the environment."""
    (
        _,
        base,
        over,
        over_at,
        over_by,
        burst,
        paused,
        running,
        queued,
    ) = yield SCRIPTS.read_environment(scope)
    return EnvironmentState(
        running=running,
        queued=queued,
        paused=bool(paused),
        concurrency_limit=_number(over or base),
        concurrency=_concurrency(over or base, base, over, over_at, over_by),
        burst_factor=float(burst or 1),
    )


def change_environment(
    scope: str, action: Action, limit: int | None = None, by: str = ""
) -> Flow[EnvironmentState]:
    """Pause, resume, override or reset the environment; returns what it is after it."""
    value = "" if limit is None else limit
    regated = yield SCRIPTS.change_environment(scope, action=action, value=value, by=by)
    if regated:
        yield from refresh_all(scope)
    return (yield from read_environment(scope))
