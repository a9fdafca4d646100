"""The arguments of a call that is taken over: a run has them as the broker's message would, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trigger_celery.errors import InvalidOptionError, PayloadNotSerializableError
from trigger_celery.model.packet import Packet, decode, encode

OF_PLAIN_DATA: Final = frozenset(
    {
        "json", "application/json", "yaml", "application/x-yaml", "msgpack",
        "application/x-msgpack",
    }
)  # fmt: skip
"""Serializers that give no object back as it was, so that nobody counts on it."""


def is_exact(task: Any, conf: Any, options: Mapping[str, Any]) -> bool:
    """Say whether a call's serializer gives its arguments back as they are: pickle, and its like."""
    own = options.get("serializer") or getattr(task, "serializer", None)
    return (own or conf.task_serializer) not in OF_PLAIN_DATA


def arguments_of(task: str, payload: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a Celery task is called with. Raises InvalidOptionError."""
    fits = isinstance(payload, Mapping) and set(payload) <= {"args", "kwargs"}
    args, kwargs = (payload.get("args"), payload.get("kwargs")) if fits else (None, None)
    if not (fits and isinstance(args or [], list | tuple) and isinstance(kwargs or {}, Mapping)):
        raise InvalidOptionError(
            f"task {task!r} is a Celery task: the payload of its runs is "
            f"{{'args': […], 'kwargs': {{…}}}}, not {payload!r:.60}"
        )
    return tuple(args or ()), dict(kwargs or {})


def pack(args: tuple[Any, ...], kwargs: dict[str, Any], *, exact: bool = False) -> Packet:
    """Return the payload of a run.

    Raises PayloadNotSerializableError for what would be another thing to the task: an object, and if
    the call is *exact* also a tuple, or a kind of text or dict of somebody's own.
    """
    payload = {"args": list(args), "kwargs": kwargs}
    packet = encode(payload, objects=False)
    if exact and not is_same(decode(packet.data, packet.type), payload):
        raise PayloadNotSerializableError(
            "pickle would give the arguments back as they are, and a run something like them: "
            "lists for tuples, say. serializer='json' takes the call over"
        )
    return packet


def is_same(one: Any, other: Any) -> bool:
    """Say whether two values are equal, and of the same types throughout."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)
