"""Creates runs: validated requests become records, single or in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trigger_celery.engine.admission import Extras, pack
from trigger_celery.engine.offloading import bring, put_away
from trigger_celery.engine.querying import wait_for_end
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import QueueFullError
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import token
from trigger_celery.model.packet import JSON, MAX_INLINE, STORE, Packet
from trigger_celery.model.run import Run
from trigger_celery.model.stored_packet import is_large, read_reference
from trigger_celery.store.op import Arg, Call, Flow, Listen

MAX_RUNS_PER_CALL = 250
"""A script call creates at most so many runs: a few milliseconds of the server's time."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where runs go. `declared` False: the process does not know the task, workers may.

    `at_given`: the worker queue is the caller's word, which counts before what workers declared.
    `ttl_ms` and `machine` are those of runs that say nothing else.
    """

    task: str
    declared: bool
    worker_queue: str
    queue: str
    concurrency_key: str = ""
    max_attempts: int | None = None
    max_duration_ms: int | None = None
    ttl_ms: int = 0
    machine: str = ""
    preset: str = ""
    """The machine preset that a trigger or its task names: which workers take the runs."""
    size_limit: int = 1_000_000
    queue_limit: int | None = None
    """What the queue's limit becomes if nobody declared it."""
    at_given: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that makes runs, and where in it: what the engine calls their links."""

    parent: str = ""
    links: str = ""
    path: str = ""
    call: str = ""
    batch: str = ""


NOWHERE = Origin()
"""Runs that are made outside of a run."""


@dataclass(slots=True)
class NewRun:
    """One run to create. Its id makes a repeat of the call harmless."""

    id: str
    placement: Placement
    payload: Packet
    delay: Delay | None = None
    priority_ms: int = 0
    tags: tuple[str, ...] = ()
    metadata: str = ""
    failed: str = ""
    """The error, JSON, of an item that could not be triggered: the run ends with it at once."""
    extras: Extras | None = None


class Triggered(NamedTuple):
    """The run that a trigger means. `is_cached`: it was there before."""

    id: str
    is_cached: bool = False


def _item(run: NewRun, index: int | None = None) -> tuple[Arg, ...]:
    """Return the run as arguments of `create_runs`. *index*: its place in a batch."""
    if run.extras is not None:
        run_id, payload, details = _plain_item(run)
        packed = pack(run.extras, run.placement.task, index)
        return run_id, payload, f"{packed}\x1e{details}"
    return _plain_item(run)


def _plain_item(run: NewRun) -> tuple[str, Arg, str]:
    payload, delay = run.payload, run.delay
    if run.failed:
        return run.id, run.failed, _details(run, "failed", 0)
    if delay is not None:
        mode, amount = ("at", delay.at_ms) if delay.after_ms is None else ("in", delay.after_ms)
        return run.id, payload.data, _details(run, mode, amount or 0)
    if payload.type == JSON and not (run.priority_ms or run.tags or run.metadata):
        return run.id, payload.data, ""
    return run.id, payload.data, _details(run, "now", 0)


def _details(run: NewRun, mode: str, delay_ms: int) -> str:
    tags = "\x1f".join(run.tags)
    mime = JSON if run.failed else run.payload.type
    return f"{mode}\x1e{delay_ms}\x1e{run.priority_ms}\x1e{mime}\x1e{tags}\x1e{run.metadata}"


def _lane(place: Placement) -> str:
    fixed = "=" if place.at_given else ""
    if not place.declared:
        return fixed
    key = place.concurrency_key
    return f"{fixed}{token(place.worker_queue)}:{token(place.queue)}:{token(key) if key else ''}"


def _call(
    scope: str,
    place: Placement,
    items: Sequence[Arg],
    retention: int,
    channel: str = "",
    origin: Origin = NOWHERE,
    decode: Callable[[Any], Any] | None = None,
) -> Call:
    return SCRIPTS.create_runs(
        scope,
        items,
        decode or _accepted,
        task=place.task,
        queue=place.queue,
        lane=_lane(place),
        worker_queue=place.worker_queue,
        key=place.concurrency_key,
        max="" if place.max_attempts is None else place.max_attempts,
        max_duration="" if place.max_duration_ms is None else place.max_duration_ms,
        retention=retention,
        channel=channel,
        parent=origin.parent,
        links=origin.links,
        path=origin.path,
        call=origin.call,
        batch=origin.batch,
        size_limit=place.size_limit,
        queue_limit="" if place.queue_limit is None else place.queue_limit,
        machine=place.preset,
    )


def _accepted(reply: Any) -> Any:
    """Return the reply of a call that was not refused. Raises QueueFullError."""
    if reply[0] == b"full":
        _, queue, size = reply
        raise QueueFullError(
            f"the queue {queue.decode()!r} is full: its size limit is {int(size):,} runs that wait. "
            "Nothing was triggered. Trigger again when workers have caught up, or raise size_limit "
            "of the queue, or the setting queue_size_limit."
        )
    return reply


def may_be_put_away(run: NewRun) -> bool:
    """Whether the payload may have to be moved: quick, and no for nearly all runs."""
    return len(run.payload.data) * 4 > MAX_INLINE or run.payload.type == STORE


def put_payloads_away(scope: str, runs: Sequence[NewRun]) -> Flow[None]:
    """Move large payloads to the payload store, if there is one, before their runs are created.

    Every run has objects of its own: one that repeats another gets a copy. The last payload of a
    debounced run stays in Redis, because it becomes that of a run whose id is not known here.
    Raises PayloadStoreError: nothing is created then.
    """
    large = []
    for run in runs:
        if run.payload.type == STORE and read_reference(run.payload).owner != run.id:
            [run.payload] = yield from bring([run.payload])
            yield from _put_away(scope, [run])  # at once: one copy in memory
        elif may_be_put_away(run) and is_large(run.payload):
            large.append(run)
    if large:
        yield from _put_away(scope, large)


def _put_away(scope: str, runs: Sequence[NewRun]) -> Flow[None]:
    moving = [run for run in runs if run.extras is None or not run.extras.may_replace]
    kept = yield from put_away(scope, [(run.id, run.payload) for run in moving])
    for run, packet in zip(moving, kept, strict=True):
        run.payload = packet


def create_run(
    scope: str, run: NewRun, retention: int, origin: Origin = NOWHERE
) -> Flow[Triggered]:
    """Create one run, or find the one that has its idempotency or debounce key."""
    if may_be_put_away(run):
        yield from put_payloads_away(scope, (run,))
    if run.extras is None or not run.extras.may_find:
        yield create_call(scope, run, retention, origin)
        return Triggered(run.id)
    found: str | None = yield create_call(scope, run, retention, origin, _found)
    return Triggered(run.id) if found is None else Triggered(found, True)


def create_call(
    scope: str,
    run: NewRun,
    retention: int,
    origin: Origin = NOWHERE,
    decode: Callable[[Any], Any] | None = None,
) -> Call:
    """Return the call that creates one run."""
    return _call(scope, run.placement, _item(run), retention, origin=origin, decode=decode)


def _found(reply: Any) -> str | None:
    """Return the id of the run that was there before, if one was."""
    word, _, run_id = _accepted(reply)[0].decode().partition(" ")
    return run_id if word == "cached" else None


def create_watched_run(
    scope: str,
    run: NewRun,
    retention: int,
    timeout: float | None,
    origin: Origin = NOWHERE,
) -> Flow[Run]:
    """Create a run and wait for its end: announced from the start, so it is read only once.

    Raises PollTimeoutError after *timeout* seconds; None waits for ever.
    """
    if run.extras is not None and run.extras.may_find:
        found = yield from create_run(scope, run, retention, origin)
        return (yield from wait_for_end(scope, found.id, timeout))
    if may_be_put_away(run):
        yield from put_payloads_away(scope, (run,))
    topic = yield Listen(run.id)
    yield _call(scope, run.placement, _item(run), retention, topic.channel, origin)
    return (yield from wait_for_end(scope, run.id, timeout, topic))


def create_runs(
    scope: str, runs: Sequence[NewRun], retention: int, origin: Origin = NOWHERE
) -> Flow[list[str]]:
    """Create runs in one pipeline, a script call per few hundred runs of the same placement.

    Each call is atomic, the pipeline is not: when the link is lost halfway, the whole pipeline
    is sent again and what exists already is left as it is.
    """
    yield from put_payloads_away(scope, runs)
    calls = create_calls(scope, runs, retention, origin)
    if calls:
        yield calls
    return [run.id for run in runs]


def create_calls(
    scope: str, runs: Sequence[NewRun], retention: int, origin: Origin = NOWHERE
) -> list[Call]:
    """Return the calls that create runs, a call per few hundred runs of the same placement."""
    calls: list[Call] = []
    groups: dict[Placement, list[Arg]] = {}
    items: list[Arg] = []
    last: Placement | None = None
    for index, run in enumerate(runs):
        item = _item(run, index if origin.batch else None)
        if run.placement is not last:
            last = run.placement
            items = groups.setdefault(last, [])
        items.extend(item)
        if len(items) == MAX_RUNS_PER_CALL * len(item):
            calls.append(_call(scope, last, items, retention, origin=origin))
            del groups[last]
            last = None
    calls.extend(
        _call(scope, place, items, retention, origin=origin) for place, items in groups.items()
    )
    return calls
