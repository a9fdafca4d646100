"""Reads runs by id, waits for a run to end, and tells what workers there are."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trigger_celery.engine.codec import run_of
from trigger_celery.engine.offloading import bring, bring_bodies, is_away, leave_out
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import PollTimeoutError, RunNotFoundError
from trigger_celery.model.ids import GivenRunId
from trigger_celery.model.packet import JSON, STORE, Packet, decode
from trigger_celery.model.run import Run, RunError, RunStatus
from trigger_celery.store.notify import Topic
from trigger_celery.store.op import Await, Flow, Listen, command

MAX_WORKERS = 1000
_STORE = STORE.encode()
_FIRST_LOOK = 0.5
_LAST_LOOK = 5.0


def not_found(run_id: str) -> RunNotFoundError:
    """Return the error for a run that is not there."""
    given = run_id.given if isinstance(run_id, GivenRunId) else run_id
    return RunNotFoundError(
        f"no run {given!r:.80}: it was never triggered in this environment, or its retention has "
        "passed"
    )


def read_run(scope: str, run_id: str, channel: str = "") -> Flow[Run]:
    """Return the run with payload, output and attempts. Raises RunNotFoundError.

    With a *channel*, its end is announced there.
    """
    reply = yield SCRIPTS.read_run(scope, run_id=run_id, channel=channel, watch="end", bodies="1")
    if not reply:
        raise not_found(run_id)
    if is_away(reply):
        yield from bring_bodies([reply])
    return run_of(run_id, reply[0], reply[1:])


def read_runs(scope: str, run_ids: Sequence[str]) -> Flow[dict[str, Run]]:
    """Return those of the runs that exist, with payload, output and attempts, by id.

    What is in the payload store is left there: None.
    """
    if not run_ids:
        return {}
    replies = yield [
        SCRIPTS.read_run(scope, run_id=run_id, channel="", watch="", bodies="1")
        for run_id in run_ids
    ]
    return {
        run_id: run_of(run_id, reply[0], reply[1:])
        for run_id, reply in zip(run_ids, map(leave_out, replies), strict=True)
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
    away = [row for row in rows if row[2] == _STORE]
    if away:
        packets = yield from bring([Packet(row[3].decode(), STORE) for row in away])
        for row, packet in zip(away, packets, strict=True):
            row[2], row[3] = packet.type.encode(), packet.data.encode()
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


def _look(scope: str, run_id: str, channel: str) -> Flow[Run]:
    """Return a run that is waited for: what is in the payload store only comes with its end."""
    reply = yield SCRIPTS.read_run(scope, run_id=run_id, channel=channel, watch="end", bodies="1")
    if not reply:
        raise not_found(run_id)
    if is_away(reply):
        if not run_of(run_id, reply[0]).is_completed:
            leave_out(reply)
        yield from bring_bodies([reply])
    return run_of(run_id, reply[0], reply[1:])


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
        run = yield from _look(scope, run_id, topic.channel)
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
    machine: str | None = None
    """The machine preset whose workers would take them."""


def list_unserved(scope: str) -> Flow[list[UnservedRuns]]:
    """Return what is queued for worker queues that no live worker serves, by queue."""
    cursor = b"0"
    found: list[UnservedRuns] = []
    while True:
        cursor, *entries = yield SCRIPTS.read_unserved(scope, cursor=cursor)
        found += [
            UnservedRuns(
                queue.decode(), task.decode(), name.decode() or None, runs, machine.decode() or None
            )
            for queue, task, name, runs, machine in entries
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
