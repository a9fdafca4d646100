"""Reads runs and queues: one by id, pages by filters, and waits for a run to end."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from trigger_celery.engine.codec import run_of
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import InvalidOptionError, PollTimeoutError, RunNotFoundError
from trigger_celery.model.packet import JSON, decode
from trigger_celery.model.run import Run, RunError, RunStatus
from trigger_celery.store.notify import Topic
from trigger_celery.store.op import Await, Flow, Listen, command

MAX_PAGE = 100
MAX_WORKERS = 1000
_FIRST_LOOK = 0.5
_LAST_LOOK = 5.0


def not_found(run_id: str) -> RunNotFoundError:
    """Return the error for a run that is not there."""
    return RunNotFoundError(
        f"no run {run_id!r}: it was never triggered in this environment, or its retention has "
        "passed"
    )


def read_run(scope: str, run_id: str, channel: str = "") -> Flow[Run]:
    """Return the run with payload, output and attempts. Raises RunNotFoundError.

    With a *channel*, its end is announced there.
    """
    reply = yield SCRIPTS.read_run(scope, run_id=run_id, channel=channel, watch="end", bodies="1")
    if not reply:
        raise not_found(run_id)
    return run_of(run_id, reply[0], reply[1:])


def read_runs(scope: str, run_ids: Sequence[str]) -> Flow[dict[str, Run]]:
    """Return those of the runs that exist, with payload, output and attempts, by id."""
    if not run_ids:
        return {}
    replies = yield [
        SCRIPTS.read_run(scope, run_id=run_id, channel="", watch="", bodies="1")
        for run_id in run_ids
    ]
    return {
        run_id: run_of(run_id, reply[0], reply[1:])
        for run_id, reply in zip(run_ids, replies, strict=True)
        if reply
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `status` is None when it is gone."""

    run_id: str
    status: RunStatus | None
    task: str
    output: Any
    error: RunError | None


MAX_RESULTS = 100
"""Outcomes read by one call."""


def read_outcomes(scope: str, run_ids: Sequence[str]) -> Flow[list[Outcome]]:
    """Return how each of the runs ended, in their order."""
    if not run_ids:
        return []
    replies = yield [
        SCRIPTS.read_results(scope, run_ids[start : start + MAX_RESULTS])
        for start in range(0, len(run_ids), MAX_RESULTS)
    ]
    rows = [row for reply in replies for row in reply]
    return [_outcome(run_id, *row) for run_id, row in zip(run_ids, rows, strict=True)]


def _outcome(
    run_id: str, status: bytes, task: bytes, kind: bytes, output: bytes, error: bytes
) -> Outcome:
    done = status == b"COMPLETED"
    return Outcome(
        run_id,
        RunStatus(status.decode()) if status else None,
        task.decode(),
        decode(output.decode(), kind.decode() or JSON) if done else None,
        RunError.from_dict(json.loads(error)) if error else None,
    )


def wait_for_end(
    scope: str, run_id: str, timeout: float | None, topic: Topic | None = None
) -> Flow[Run]:
    """Return the run once it is final. Raises PollTimeoutError after *timeout* seconds.

    Announcements make it quick; looking again at growing intervals makes it sure. With a
    *topic* the changes are announced already: wait first, then look.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_LOOK
    if topic is None:
        topic = yield Listen(run_id)
    else:
        yield Await(topic, pause if timeout is None else min(pause, timeout))
    while True:
        run = yield from read_run(scope, run_id, topic.channel)
        if run.is_completed:
            return run
        left = pause if deadline is None else min(pause, deadline - time.monotonic())
        if left <= 0:
            raise PollTimeoutError(
                f"run {run_id} is still {run.status} after {timeout:g} s. It goes on; poll again, "
                "or look with trigger-celery runs get."
            )
        yield Await(topic, left)
        pause = min(pause * 1.5, _LAST_LOOK)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; empty means any, several of a kind mean any of them."""

    statuses: tuple[RunStatus, ...] = ()
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of runs, newest first, without payloads. `next_cursor` is None at the end."""

    runs: list[Run] = field(default_factory=list)
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


def _cursor(text: str | None) -> tuple[str, str]:
    if text is None:
        return "", ""
    try:
        score, _, run_id = base64.urlsafe_b64decode(text.encode()).decode().partition(" ")
        float(score)
        if not run_id.startswith("run_"):
            raise ValueError
    except ValueError:
        raise InvalidOptionError(
            f"{text!r} is not a cursor: pass `next_cursor` of the page before, as it is"
        ) from None
    return score, run_id


def _bound(value: datetime | None, otherwise: str) -> str:
    if value is None:
        return otherwise
    if not isinstance(value, datetime):
        raise InvalidOptionError(
            f"runs.list: {value!r} is no moment: pass a datetime, or a period such as '7d'"
        )
    return str(int(value.timestamp() * 1000))


def list_runs(scope: str, wanted: RunFilter, limit: int, cursor: str | None) -> Flow[RunPage]:
    """Return one page of at most *limit* (up to 100) runs."""
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise InvalidOptionError(f"limit={limit!r}: a page has 1 to {MAX_PAGE} runs")
    score, after = _cursor(cursor)
    runs: list[Run] = []
    while len(runs) < limit:
        reply: Sequence[Any] = yield SCRIPTS.list_runs(
            scope,
            statuses="\x1f".join(wanted.statuses or tuple(RunStatus)),
            tasks="\x1f".join(wanted.tasks),
            queues="\x1f".join(wanted.queues),
            tags="\x1f".join(wanted.tags),
            oldest=_bound(wanted.created_from, "0"),
            newest=_bound(wanted.created_to, "9999999999999"),
            after_score=score,
            after_id=after,
            count=limit - len(runs),
        )
        runs += [run_of(run_id.decode(), flat) for run_id, flat in reply[:-1]]
        score, after = (part.decode() for part in reply[-1])
        if not after:
            return RunPage(runs, None)
    return RunPage(runs, base64.urlsafe_b64encode(f"{score} {after}".encode()).decode())


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: its limit (None for none), and how many of its runs execute and wait."""

    name: str
    concurrency_limit: int | None
    paused: bool
    running: int
    queued: int
    declared: bool


def list_queues(scope: str) -> Flow[list[QueueState]]:
    """Return every queue, by name."""
    cursor = b"0"
    found: dict[str, QueueState] = {}
    while True:
        cursor, queues = yield SCRIPTS.read_queues(scope, cursor=cursor)
        for name, limit, paused, running, queued, declared in queues:
            text = name.decode()
            found[text] = QueueState(
                text, int(limit) if limit else None, bool(paused), running, queued, bool(declared)
            )
        if cursor == b"0":
            return [found[name] for name in sorted(found)]


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker session. `alive`: its lease has not lapsed. `busy`: runs that it owns."""

    session: str
    alive: bool
    hostname: str
    pool: str
    concurrency: int | None
    worker_queues: tuple[str, ...]
    tasks: tuple[str, ...]
    busy: int
    since: datetime
    info: Mapping[str, Any]


def list_workers(scope: str) -> Flow[list[WorkerState]]:
    """Return the worker sessions, those with the longest lease first; at most 1,000."""
    now, *sessions = yield SCRIPTS.read_workers(scope, most=MAX_WORKERS)
    return [_worker(int(now), *session) for session in sessions]


def _worker(now: int, *parts: Any) -> WorkerState:
    session, deadline, packed, tasks, _busy, _free, since, owned = parts
    info = json.loads(packed)
    return WorkerState(
        session=session.decode(),
        alive=float(deadline) >= now,
        hostname=str(info.get("hostname", "")),
        pool=str(info.get("pool", "")),
        concurrency=info.get("concurrency"),
        worker_queues=tuple(info.get("queues", ())),
        tasks=tuple(sorted(filter(None, tasks.decode().split("\x1f")))),
        busy=int(owned),
        since=datetime.fromtimestamp(int(since) / 1000, UTC),
        info=info,
    )


@dataclass(frozen=True, slots=True)
class UnservedRuns:
    """Queued runs that no live worker will take. `worker_queue` is None when it is not known."""

    queue: str
    task: str
    worker_queue: str | None
    runs: int


def list_unserved(scope: str) -> Flow[list[UnservedRuns]]:
    """Return what is queued for worker queues that no live worker serves, by queue."""
    cursor = b"0"
    found: list[UnservedRuns] = []
    while True:
        cursor, *entries = yield SCRIPTS.read_unserved(scope, cursor=cursor)
        found += [
            UnservedRuns(queue.decode(), task.decode(), name.decode() or None, runs)
            for queue, task, name, runs in entries
        ]
        if cursor == b"0":
            return sorted(found, key=lambda unserved: (unserved.queue, unserved.task))


def server_version() -> Flow[str]:
    """Return the server's product and version, such as `valkey 9.1.2`."""
    reply: bytes = yield command("INFO", "server")
    lines = [line.partition(":") for line in reply.decode(errors="replace").splitlines()]
    info = {name: value.strip() for name, _, value in lines}
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info.get('redis_version', 'unknown')}"
