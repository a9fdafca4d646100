"""Sends the message of a recorded run again: with the same arguments, under a new task id.

What was sent with a serializer whose content nobody should open here (pickle) goes as the bytes that
were kept. Tasks that make runs by now get a run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from celery.exceptions import QueueNotFound
from kombu.exceptions import EncodeError, OperationalError
from kombu.serialization import loads

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_task import registered
from trigger_celery.bridge.queue_option import queue_of_trigger
from trigger_celery.bridge.recording.calls import KeptCall
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.request import check_options
from trigger_celery.bridge.taking_over.arguments import OF_PLAIN_DATA, arguments_of
from trigger_celery.engine.querying import list_workers
from trigger_celery.engine.recording import repeats
from trigger_celery.engine.replaying import Original, recorded_before
from trigger_celery.errors import (
    InvalidOptionError,
    PayloadNotSerializableError,
    StateError,
    TriggerError,
    UnknownOptionError,
)
from trigger_celery.model.ids import derived_uuid, run_id_of
from trigger_celery.model.message import ORDINARY, Body, Exactness, hidden_paths, listed
from trigger_celery.model.packet import decode
from trigger_celery.store.op import Flow, Perform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.bulk")


class _Same:
    """The payload of the run that is repeated."""

    def __repr__(self) -> str:
        return "SAME"


SAME: Final = _Same()

OPTIONS: Final = ("delay", "ttl", "queue", "priority", "tags")
"""Options of a trigger that mean something to a message."""

MOST_PRIORITY: Final = 255
_MOST_REPR: Final = 1024
_OF_TASK: Final = (
    "queue", "priority", "expires", "time_limit", "soft_time_limit", "ignore_result",
    "compression", "delivery_mode",
)  # fmt: skip
"""What a task says of its messages, which not every version of Celery asks it for a call by name."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A call that repeats a recorded run. *kept*: what is recorded of it, if the call cannot tell."""

    task_id: str
    run_id: str
    tags: tuple[str, ...] = ()
    bulk: str = ""
    kept: KeptCall | None = None

    @property
    def text(self) -> str:
        """What its record is told."""
        return repeats(self.run_id, self.tags, self.bulk)


def replayed_as(task_id: Any) -> Replayed | None:
    """Return what the message that is being sent with this id repeats."""
    again = context.replaying.get()
    return again if again is not None and again.task_id == task_id else None


def send_again(
    trigger: TriggerCelery,
    original: Original,
    task_id: str,
    options: Mapping[str, Any],
    payload: Any,
    bulk: str = "",
) -> Flow[None]:
    """Send the message of a recorded run again. *payload*: SAME, or what replaces its arguments.

    Raises StateError where these are not known, InputError for options that do not fit, and what
    making a run raises if the task makes runs by now.
    """
    makes_run, only_ours = _makes_run(trigger, original.task)
    given = {name: value for name, value in options.items() if value is not None}
    checked = check_options(given)
    arguments, body = _arguments(original, payload, makes_run=makes_run, only_ours=only_ours)
    kept = None if body is None else _kept(original, body)
    if makes_run and body is None:
        how = dict(given)
        how.setdefault("tags", original.tags or None)
    else:
        makes_run = False
        how = _options_of_message(original, given, checked)
        if "queue" not in how and (yield from _is_consumed(trigger, original.queue)):
            how["queue"] = original.queue
        how = {**_of_task(trigger, original), **how}
    tags = checked.get("tags", original.tags)
    again = Replayed(task_id, original.id, tags, bulk, kept)

    def blocking() -> None:
        with _as(again):
            if makes_run:
                trigger.app.send_task(original.task, *arguments, task_id=task_id, **how)
            elif body is None:
                _send(trigger, original, arguments, {**how, "task_id": task_id})
            else:
                _send_body(trigger, original, body, {**how, "task_id": task_id})
        trigger.flush_recorded()

    yield Perform(lambda: asyncio.to_thread(blocking), blocking)


@contextmanager
def _as(again: Replayed) -> Iterator[None]:
    """Send as what repeats; in a run it is no durable call of its own, because the replay is one."""
    token, scope = context.replaying.set(again), context.current_scope.set(None)
    try:
        yield
    finally:
        context.replaying.reset(token)
        context.current_scope.reset(scope)


def _makes_run(trigger: TriggerCelery, task: str) -> tuple[bool, bool]:
    """Say whether calls of a task make runs by now, and whether its messages do nothing else."""
    definition = REGISTRY.tasks.get(task)
    ours = definition is not None and definition.plain is None
    return ours or trigger.taken_over.takes(task), ours


# The arguments


def _arguments(
    original: Original, payload: Any, *, makes_run: bool, only_ours: bool
) -> tuple[Arguments, Body | None]:
    """Return the arguments, or the body that has them."""
    if payload is not SAME:
        return _given(original, payload), None
    _refuse_unknown(original)
    body = original.body
    if body is None:
        value = (
            {} if original.payload is None else decode(original.payload.data, original.payload.type)
        )
        return arguments_of(original.task, value), None
    if makes_run and body.content_type in OF_PLAIN_DATA:
        args, kwargs, _ = loads(body.data, body.content_type, body.encoding, accept=OF_PLAIN_DATA)
        return (tuple(args), kwargs), None
    if only_ours:
        raise StateError(
            f"run {original.id} was a message of the type {body.content_type}, which is not opened "
            f"here, and {original.task!r} makes runs by now, whose payload is JSON. {_give(original)}"
        )
    return ((), {}), body


def _given(original: Original, payload: Any) -> Arguments:
    """Return the arguments that are given instead. What was copied from the record may be hidden."""
    arguments = arguments_of(original.task, payload)
    left = set(hidden_paths(payload)) & set(hidden_paths(_shown(original)))
    if left:
        raise InvalidOptionError(
            f"payload={payload!r:.60} has {listed(sorted(left))} as run {original.id} shows it: "
            "hidden. Put in what it was"
        )
    return arguments


def _shown(original: Original) -> Any:
    """Return the payload that the record shows."""
    packet = original.payload
    return None if packet is None else decode(packet.data, packet.type)


def _give(original: Original) -> str:
    return f"Give the arguments: runs.replay({original.id!r}, payload={{'args': […], 'kwargs': {{…}}}})"


def _refuse_unknown(original: Original) -> None:
    """Raise StateError when the record does not have what the task was called with."""
    exactness = (original.sent or ORDINARY).exactness
    if original.payload is None:
        why = "what it was called with is not known, because what told of it was dropped"
    elif exactness == Exactness.HIDDEN:
        paths = hidden_paths(_shown(original))
        where = listed(paths) or "what an object keeps to itself"
        why = f"a secret was hidden ({where}; the setting mask), and is not known any more"
    elif exactness == Exactness.LARGE:
        why = "its arguments are larger than 1 MB, of which only the beginning was kept"
    elif exactness == Exactness.LOST or (exactness == Exactness.BODY and original.body is None):
        why = "some of its arguments are shown as text, and could not be kept as they were"
    else:
        return
    raise StateError(f"run {original.id} cannot be sent again as it was: {why}. {_give(original)}")


def _kept(original: Original, body: Body) -> KeptCall | None:
    packet = original.payload
    if packet is None or original.sent is None:
        return None
    return KeptCall(packet, original.sent.to_text(), body.to_text())


# The options


def _options_of_message(
    original: Original, given: Mapping[str, Any], checked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return options as Celery has them. Raises InputError for what a message does not have."""
    for name in given:
        if name not in OPTIONS:
            raise UnknownOptionError(
                f"run {original.id} is recorded, and sent again as a message of Celery's, which has "
                f"no {name}. Options: {', '.join(OPTIONS)}. To have the others, take "
                f"{original.task!r} over: TriggerCelery(app, manage=[{original.task!r}])"
            )
    how: dict[str, Any] = {}
    wait = 0.0
    delay = checked.get("delay")
    if delay is not None and delay.after_ms is not None:
        wait = how["countdown"] = delay.after_ms / 1000
    elif delay is not None:
        how["eta"] = datetime.fromtimestamp(delay.at_ms / 1000, UTC)
        wait = max(0.0, (how["eta"] - datetime.now(UTC)).total_seconds())
    if checked.get("ttl"):
        how["expires"] = wait + checked["ttl"] / 1000  # a TTL counts from when it is due
    if "queue" in given:
        how["queue"], limit = queue_of_trigger(given["queue"])
        if limit is not None:
            raise InvalidOptionError("a queue of the broker has no concurrency_limit")
    if "priority" in given:
        how["priority"] = _priority(given["priority"])
    return how


def _priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_PRIORITY:
        raise InvalidOptionError(
            f"priority={value!r:.40}: what is sent again is a message, whose priority is a whole "
            f"number from 0 to {MOST_PRIORITY}, in the broker's sense"
        )
    return value


def _of_task(trigger: TriggerCelery, original: Original) -> dict[str, Any]:
    """Return what the task says of its messages, and how the old one was sent."""
    app: Any = trigger.app
    task = registered(app, original.task)
    said = {} if task is None else {name: getattr(task, name, None) for name in _OF_TASK}
    how = {name: value for name, value in said.items() if value is not None}
    sent = original.sent or ORDINARY
    how["serializer"] = sent.serializer or app.conf.task_serializer
    if sent.priority is not None:
        how["priority"] = sent.priority
    return how


def _is_consumed(trigger: TriggerCelery, queue: str) -> Flow[bool]:
    """Say whether the app declares a queue of the broker, or a live worker takes from it."""
    app: Any = trigger.app
    if not queue or queue in app.amqp.queues or not app.conf.task_create_missing_queues:
        return bool(queue) and queue in app.amqp.queues
    workers = yield from list_workers(trigger.scope)
    return any(worker.alive and queue in worker.worker_queues for worker in workers)


# To the broker


class _ProducerOfBody:
    """A producer that publishes one message with a body that is made already."""

    def __init__(self, producer: Any, body: Body, task_id: str) -> None:
        self._producer = producer
        self._body = body
        self._task_id = task_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish; events about the message have bodies of their own."""
        if (options.get("headers") or {}).get("id") == self._task_id:
            options["content_type"] = self._body.content_type
            options["content_encoding"] = self._body.encoding
            body = self._body.data
        return self._producer.publish(body, **options)


def _send_body(
    trigger: TriggerCelery, original: Original, body: Body, how: Mapping[str, Any]
) -> None:
    app: Any = trigger.app
    shown = _shown(original)
    shown = shown if isinstance(shown, dict) else {}
    texts = {
        "argsrepr": repr(tuple(shown.get("args", ())))[:_MOST_REPR],
        "kwargsrepr": repr(shown.get("kwargs", {}))[:_MOST_REPR],
    }
    with app.producer_or_acquire() as producer:
        prepared = _ProducerOfBody(producer, body, how["task_id"])
        _send(trigger, original, ((), {}), {**texts, **how, "producer": prepared})


def _send(
    trigger: TriggerCelery, original: Original, arguments: Arguments, how: Mapping[str, Any]
) -> None:
    try:
        trigger.calls.send_plain(original.task, *arguments, **how)
    except QueueNotFound as problem:
        raise InvalidOptionError(
            f"queue={how.get('queue')!r:.60}: the app has no such queue in task_queues"
        ) from problem
    except EncodeError as problem:
        raise PayloadNotSerializableError(
            f"the payload cannot be sent with the serializer {how.get('serializer')!r}: {problem}"
        ) from problem
    except (OperationalError, OSError) as problem:
        raise StateError(
            f"run {original.id} could not be sent again: the broker did not answer, and has the "
            f"message {how['task_id']} or not: {problem}"
        ) from problem


# Many


class BulkSender:
    """Sends messages again for the bulk actions that a worker carries out."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger

    def __call__(self, originals: Sequence[Original], bulk: str) -> Flow[list[bool]]:
        """Send each again unless that has been recorded; answer which are sent."""
        ids = [derived_uuid(bulk, original.id) for original in originals]
        done = yield from recorded_before(self._trigger.scope, [run_id_of(one) for one in ids])
        for index, original in enumerate(originals):
            if not done[index]:
                done[index] = yield from self._send(original, ids[index], bulk)
        return done

    def _send(self, original: Original, task_id: str, bulk: str) -> Flow[bool]:
        try:
            yield from send_again(self._trigger, original, task_id, {}, SAME, bulk)
        except TriggerError as problem:
            logger.warning(
                "a run is not replayed: %s",
                problem,
                extra={"action": "run_not_replayed", "run_id": original.id, "bulk_id": bulk},
            )
            return False
        return True
