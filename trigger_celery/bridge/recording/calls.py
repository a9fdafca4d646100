"""What is kept of a message: the payload that it shows, and what else it takes to send it again.

Mostly the payload is enough: what JSON carries, with dates and their like, is sent again as it was.
Otherwise the body of the message is kept beside it, unless there are secrets in it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from kombu import serialization

from trigger_celery.bridge.recording.values import MAX_BYTES, RecordedValues
from trigger_celery.bridge.taking_over.arguments import OF_PLAIN_DATA, is_same
from trigger_celery.engine.recording import About
from trigger_celery.model.message import Body, Exactness, Sent
from trigger_celery.model.packet import JSON, Packet, decode

logger = logging.getLogger("trigger_celery.recording")

SERIALIZER: Final = "trigger_serializer"
"""In the request of a message that is no JSON: the name of its serializer."""

_UNKNOWN: Final = "?"
_JSON_TYPE: Final = "application/json"
_NAMES: Final[Mapping[str, str]] = getattr(serialization, "registry").type_to_name  # noqa: B009
_NO_CANVAS: Final = dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))


class KeptCall:
    """A payload as it is stored, its packet type, and how its message was sent."""

    __slots__ = ("kind", "payload", "sent")

    def __init__(self, packet: Packet, sent: str = "", body: str = "") -> None:
        self.kind = packet.type
        self.payload = packet.data
        if body:
            self.payload = "\x1f".join((packet.data.replace("\x1f", "?"), body))
        self.sent = sent


NOTHING: Final = KeptCall(Packet("", ""))
"""Of a message of which nothing is told but that there is one."""


def about_of(
    message: Mapping[str, Any], task: str, queue: str, kept: KeptCall = NOTHING, **more: Any
) -> About:
    """Return what a run is, as its message says."""
    parent, root = message.get("parent_id"), message.get("root_id")
    task_id = str(message["id"])
    return About(task_id, task, queue, parent, root, kept.kind, sent=kept.sent, **more)


def note_serializer(request: Any) -> None:
    """Let the process that executes know what a message was made with: to it, it is decoded already."""
    kind = request.content_type
    if kind != _JSON_TYPE:
        request.request_dict[SERIALIZER] = _NAMES.get(kind, _UNKNOWN)


class RecordedCalls:
    """Makes what is kept of the messages of one app."""

    def __init__(self, values: RecordedValues, conf: Any) -> None:
        self._values = values
        self._serializer = conf.task_serializer
        self._priority = conf.task_default_priority

    def published(
        self, task: Any, args: Any, kwargs: Any, inner: Any, options: Mapping[str, Any]
    ) -> KeptCall:
        """Return what is kept of a message that was sent with these options."""
        serializer = options.get("serializer") or self._serializer
        return self._kept(task, args, kwargs, inner, serializer, options.get("priority"))

    def received(
        self, task: Any, args: Any, kwargs: Any, inner: Any, request: Mapping[str, Any]
    ) -> KeptCall:
        """Return what is kept of a message that a worker has; 0 is what brokers say for no priority."""
        serializer = request.get(SERIALIZER) or "json"
        priority = (request.get("delivery_info") or {}).get("priority") or None
        return self._kept(task, args, kwargs, inner, serializer, priority)

    def _kept(
        self, task: Any, args: Any, kwargs: Any, inner: Any, serializer: str, priority: Any
    ) -> KeptCall:
        packet, exactness = self._values.payload(task, args, kwargs, inner)
        body = ""
        if serializer not in OF_PLAIN_DATA and exactness == Exactness.WHOLE:
            exactness = _exactness_of_objects(packet, args, kwargs)
        if exactness == Exactness.LOST:
            exactness, body = self._body(args, kwargs, serializer)
        if not exactness and serializer == self._serializer and priority is None:
            return KeptCall(packet)  # most of them
        usual = serializer in (self._serializer, _UNKNOWN)
        other = "" if usual else serializer.replace("\x1e", "?")
        if not isinstance(priority, int) or priority == self._priority:
            priority = None
        return KeptCall(packet, Sent(exactness, other, priority).to_text(), body)

    def _body(self, args: Any, kwargs: Any, serializer: str) -> tuple[Exactness, str]:
        """Return the body of a message with these arguments, if it may be kept."""
        try:
            if self._values.holds_secret((args, kwargs)):
                return Exactness.HIDDEN, ""
            made = serialization.dumps(
                (tuple(args or ()), dict(kwargs or {}), _NO_CANVAS), serializer=serializer
            )
            content_type, encoding, data = made
            if len(data) > MAX_BYTES:
                return Exactness.LARGE, ""
            return Exactness.BODY, Body(content_type, encoding, data).to_text()
        except Exception:
            logger.debug("a message cannot be kept as it was", exc_info=True)
            return Exactness.LOST, ""


def _exactness_of_objects(packet: Packet, args: Any, kwargs: Any) -> Exactness:
    """Return how exact a payload is for a serializer that gives objects back, and tuples."""
    if packet.type != JSON:
        return Exactness.LOST
    given = {"args": list(args or ()), "kwargs": dict(kwargs or {})}
    same = is_same(decode(packet.data, packet.type), given)
    return Exactness.WHOLE if same else Exactness.LOST
