"""Creates runs: validated requests become records, single or in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trigger_celery.engine.querying import wait_for_end
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import token
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.run import Run
from trigger_celery.store.op import Arg, Call, Flow, Listen

MAX_RUNS_PER_CALL = 250
"""A script call creates at most so many runs: a few milliseconds of the server's time."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where runs go. `declared` False: the process does not know the task, workers may."""

    task: str
    declared: bool
    worker_queue: str
    queue: str
    concurrency_key: str = ""
    max_attempts: int | None = None
    max_duration_ms: int | None = None


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


def _item(run: NewRun) -> tuple[Arg, ...]:
    """Return the run as arguments of `create_runs`."""
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
    if not place.declared:
        return ""
    key = place.concurrency_key
    return f"{token(place.worker_queue)}:{token(place.queue)}:{token(key) if key else ''}"


def _call(
    scope: str,
    place: Placement,
    items: Sequence[Arg],
    retention: int,
    channel: str = "",
    origin: Origin = NOWHERE,
) -> Call:
    return SCRIPTS.create_runs(
        scope,
        items,
        None,
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
    )


def create_run(scope: str, run: NewRun, retention: int, origin: Origin = NOWHERE) -> Flow[str]:
    """Create one run and return its id."""
    yield create_call(scope, run, retention, origin)
    return run.id


def create_call(scope: str, run: NewRun, retention: int, origin: Origin = NOWHERE) -> Call:
    """Return the call that creates one run."""
    return _call(scope, run.placement, _item(run), retention, origin=origin)


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
    for run in runs:
        item = _item(run)
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
