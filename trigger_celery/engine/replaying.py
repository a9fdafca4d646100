"""Triggers runs again: what a replay takes over from the run it repeats.

Payload and what is shown of it, tags, metadata as it was triggered, queue (if it is still known),
concurrency key, machine and whether it is a test. Not its idempotency key, delay, TTL, priority, attempts, maximum duration,
version and parents: a replay is a run of its own, of the code there is now. Of a recorded run: what
it takes to send its message again, which `bridge/recording/sending_again.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from trigger_celery.engine import keys
from trigger_celery.engine.admission import Extras, labels_of, shown_of
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.triggering import NewRun, Placement
from trigger_celery.model.message import Body, Sent
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.store.op import Flow, command

MAX_BYTES: Final = 8 * 1024 * 1024
"""Payloads that are read by one call."""


@dataclass(frozen=True, slots=True)
class Original:
    """How a run was triggered. *payload* is None when the run was kept without it."""

    id: str
    task: str
    payload: Packet | None
    queue: str = ""
    concurrency_key: str = ""
    tags: tuple[str, ...] = ()
    metadata: str = ""
    machine: str = ""
    test: bool = False
    sent: Sent | None = None
    """How Celery's broker carried it: it is a recorded run, and *queue* the broker's."""
    body: Body | None = None
    """The body of a recorded run's message, where the payload does not say all of it."""
    shown: Mapping[str, str] | None = None
    """What is shown in the place of its arguments."""


def read_originals(scope: str, run_ids: Sequence[str]) -> Flow[list[Original | None]]:
    """Return the runs, in their order; None for one that is gone.

    When their payloads are over 8 MB together, only the first of them: one at least.
    """
    replies = yield SCRIPTS.read_originals(scope, run_ids, None, most_bytes=MAX_BYTES)
    return [
        _original(run_id, *reply) if reply else None
        for run_id, reply in zip(run_ids, replies, strict=False)
    ]


def _original(run_id: str, *parts: Any) -> Original:
    texts: list[Any] = [part.decode() if isinstance(part, bytes) else part for part in parts]
    task, key, tags, kind, options, has_payload, payload, metadata, queue, sent = texts
    labels: dict[str, Any] = labels_of(options)
    body, recorded = None, has_payload > 1
    if recorded:
        body, metadata = Body.of(metadata) if metadata else None, ""
    return Original(
        id=run_id,
        task=task,
        payload=Packet(payload, kind or JSON) if has_payload in (1, 3) else None,
        queue=queue,
        concurrency_key=key,
        tags=tuple(filter(None, tags.split("\x1f"))),
        metadata=metadata,
        machine=labels["machine"] or "",
        test=labels["is_test"],
        sent=Sent.of(sent) if recorded else None,
        body=body,
        shown=shown_of(options),
    )


def copy_of(original: Original, place: Placement, run_id: str, bulk: str = "") -> NewRun:
    """Return the run that repeats another. *place* is where runs of its task go.

    Raises ValueError for a run that was kept without its payload.
    """
    if original.payload is None:
        raise ValueError(f"run {original.id} was kept without its payload")
    return NewRun(
        run_id,
        replace(
            place,
            queue=original.queue,
            concurrency_key=original.concurrency_key,
            preset=original.machine or place.preset,
        ),
        original.payload,
        tags=original.tags,
        metadata=original.metadata,
        extras=extras_of(original, bulk),
    )


def extras_of(original: Original, bulk: str = "") -> Extras:
    """Return the options that a replay has of its own."""
    return Extras(
        machine=original.machine,
        test=original.test,
        own=frozenset({"machine"} if original.machine else ()),
        replay_of=original.id,
        bulk=bulk,
        shown=original.shown,
    )


def recorded_before(scope: str, run_ids: Sequence[str]) -> Flow[list[bool]]:
    """Return which of the runs there are."""
    replies = yield [command("EXISTS", keys.key(scope, "run", run_id)) for run_id in run_ids]
    return [bool(reply) for reply in replies]
