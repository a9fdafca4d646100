"""Hands out runs and records how their attempts end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trigger_celery.engine import keys
from trigger_celery.engine.codec import read_links
from trigger_celery.engine.offloading import bring
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import RunLeaseLostError
from trigger_celery.model.packet import STORE, Packet
from trigger_celery.store.op import Arg, Call, Flow, command

Kind = Literal["done", "failed", "retry", "move", "lost", "back", "unknown"]


@dataclass(slots=True)
class Grant:
    """A run handed to a worker session. `epoch` is its fence: every write must carry it."""

    id: str
    epoch: str
    attempt: int
    executing: bool
    task: str
    queue: str
    concurrency_key: str
    created_ms: int
    queued_ms: int
    priority_ms: int
    max_attempts: int | None
    tags: tuple[str, ...]
    payload_type: str
    payload: str
    parent_id: str | None = None
    root_id: str | None = None
    depth: int = 0
    max_duration_ms: int | None = None
    batch_id: str | None = None
    resumed: bool = False
    """The attempt waited before and lost its memory: it is executed again from the top."""
    payload_apart: bool = False
    """The payload is large and not here, or a reference: `fetch_payload` brings it."""
    has_data: bool = False
    """It has metadata or streams."""
    started_ms: int | None = None
    """When the first attempt began; None: this is the first."""
    options: str = ""
    """Further options of the trigger, JSON; see `admission.labels_of`."""
    trace: str = ""
    """The trace of OpenTelemetry that the run belongs to, as in `model/trace.py`."""
    celery: dict[str, Any] | None = None
    """What Celery says of the run, once it is read: `bridge/celery_side.py`."""
    changed: bool = False
    """The attempt has changed the payload for the next one."""


@dataclass(slots=True)
class Ending:
    """How one attempt ended; the fields are those of `include/finish.lua`."""

    run_id: str
    epoch: str
    kind: Kind
    detail: str | int
    data: str
    payload: Packet | None = None
    """Of the attempt that follows, if it is another: stored already."""
    has_data: bool = False
    """As its run: something of Celery's may go on from it."""


@dataclass(slots=True)
class Exchange:
    """What a dequeue answered. `runs` is None when the session's lease is gone."""

    answers: list[str]
    runs: list[Grant] | None


def _grant(raw: bytes) -> Grant:
    parts = raw.decode().split("\x1f", 18)
    tags = parts[11]
    parent, root, depth, trace = read_links(parts[12])
    flags, _, started = parts[15].partition("s")
    return Grant(
        id=parts[0],
        epoch=parts[1],
        attempt=int(parts[2]),
        executing=parts[3] == "EXECUTING",
        task=parts[4],
        queue=parts[5],
        concurrency_key=parts[6],
        created_ms=int(parts[7]),
        queued_ms=int(parts[8]),
        priority_ms=int(parts[9] or 0),
        max_attempts=int(parts[10]) if parts[10] else None,
        tags=tuple(tags.split("\x1e")) if tags else (),
        payload_type=parts[16] or "application/json",
        payload=parts[18],
        parent_id=parent,
        root_id=root,
        depth=depth,
        max_duration_ms=int(parts[13]) if parts[13] else None,
        batch_id=parts[14] or None,
        resumed="1" in flags,
        has_data="d" in flags,
        payload_apart="p" in flags or parts[16] == STORE,
        started_ms=int(started) if started else None,
        options=parts[17],
        trace=trace,
    )


def handed(message: bytes) -> Grant:
    """Return the run that a `run …` message of the mailbox hands over."""
    return _grant(message[4:])


def fetch_payload(scope: str, grant: Grant) -> Flow[None]:
    """Bring a payload that did not come with its run.

    Raises RunLeaseLostError when it is gone, PayloadStoreError when the payload store has it not.
    """
    if grant.payload_type == STORE:
        [packet] = yield from bring([Packet(grant.payload, STORE)])
        grant.payload, grant.payload_type = packet.data, packet.type
        grant.payload_apart = False
    elif grant.payload_apart:
        text: bytes | None = yield command("GET", keys.key(scope, "payload", grant.id))
        if text is None:
            raise RunLeaseLostError(f"run {grant.id} and its payload are not there any more")
        grant.payload, grant.payload_apart = text.decode(), False


def _exchange(reply: Any) -> Exchange:
    answers, runs = reply
    return Exchange(
        answers=[answer.decode() for answer in answers],
        runs=None if runs == b"gone" else [_grant(raw) for raw in runs],
    )


def _items(endings: Sequence[Ending]) -> list[Arg]:
    items: list[Arg] = []
    for ending in endings:
        items += (ending.run_id, ending.epoch, ending.kind, ending.detail, ending.data)
    return items


def dequeue(
    scope: str,
    op_id: str,
    session: str,
    worker_queues: str,
    want: int,
    endings: Sequence[Ending],
    retention: int,
    *,
    start: bool,
) -> Call:
    """Return the call that records endings and takes up to *want* runs for the session.

    *worker_queues* are tokens parted by spaces. With *start* the runs are EXECUTING at once.
    A repeat with the same *op_id* answers with the same runs.
    """
    return SCRIPTS.dequeue_runs(
        scope,
        _items(endings),
        _exchange,
        op_id=op_id,
        session=session,
        worker_queues=worker_queues,
        want=want,
        start="1" if start else "0",
        retention=retention,
    )


def _answers(reply: Any) -> list[str]:
    return [answer.decode() for answer in reply]


def finish(scope: str, op_id: str, endings: Sequence[Ending], retention: int) -> Flow[list[str]]:
    """Record endings; answers ok, crashed, stale, final or gone for each."""
    answers: list[str] = yield SCRIPTS.finish_runs(
        scope, _items(endings), _answers, op_id=op_id, retention=retention
    )
    return answers


def holds(scope: str, run_id: str, epoch: str) -> Flow[bool]:
    """Tell whether whoever has this epoch still executes the run, a moment ago."""
    found = yield command("HMGET", keys.key(scope, "run", run_id), "epoch", "status")
    return bool(found == [epoch.encode(), b"EXECUTING"])


def start(scope: str, op_id: str, run_id: str, epoch: str) -> Flow[int | None]:
    """Begin a dequeued run; returns the attempt's number, or None if it is not ours to begin."""
    reply = yield SCRIPTS.start_run(scope, op_id=op_id, run_id=run_id, epoch=epoch)
    return int(reply[1]) if reply[0] == b"ok" else None
