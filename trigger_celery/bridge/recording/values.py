"""What of a plain Celery call is kept: arguments and results as packets, masked and bounded."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence, Set
from operator import is_
from typing import Any, Final

from trigger_celery.model.message import Exactness
from trigger_celery.model.packet import TEXT, Packet, encode
from trigger_celery.model.redaction import HIDDEN, Redaction, attributes_of, key_name

logger = logging.getLogger("trigger_celery.recording")

MAX_BYTES: Final = 1024 * 1024
"""A larger payload or output is kept as the beginning of its text."""
MAX_CUT: Final = 8192
MAX_REPR: Final = 2048
MAX_WHOLE: Final = 200_000
"""Of a list, a dict or what is in them that has more items, the first `MAX_PIECES` are kept."""
MAX_PIECES: Final = 5_000
PIECES_OF_AN_OBJECT: Final = 50
_SMALL: Final = (int, float, type, type(None))
_PLAIN: Final = (str, bytes, *_SMALL)


class RecordedValues:
    """Turns arguments and results into packets. Never raises, whatever they are."""

    def __init__(self, names: Sequence[str]) -> None:
        self._redaction = Redaction(names)
        self._secrets: dict[object, tuple[slice, ...]] = {}

    def payload(
        self, task: Any, args: Any, kwargs: Any, inner: Any = None
    ) -> tuple[Packet, Exactness]:
        """Return the payload `{"args": […], "kwargs": {…}}`, and how exact it is. *task* may be None.

        WHOLE is what JSON or its like would make of the arguments, LOST what shows them otherwise.
        *inner*: the task that a `celery.map`, `celery.starmap` or `celery.chunks` calls.
        """
        try:
            given = {"args": list(args or ()), "kwargs": dict(kwargs or {})}
            payload = self._without_secrets(task, inner, given)
        except Exception:
            shown = f"<arguments of {type(args).__name__} and {type(kwargs).__name__}>"
            return _shown(shown), Exactness.LOST
        if payload is given:
            packet = self._whole(given)
            if packet is not None:
                return packet, Exactness.WHOLE
        packet = self.value(payload)
        if payload is not given or HIDDEN in packet.data:
            return packet, Exactness.HIDDEN
        return packet, _exactness(given, packet)

    def _whole(self, value: Any) -> Packet | None:
        """Return what gives the value back as it is, or None."""
        try:
            if _is_large(value) or self._redaction.masked(value) is not value:
                return None
            packet = encode(value, objects=False)
            return packet if len(packet.data) <= MAX_BYTES else None
        except Exception:
            return None

    def _without_secrets(self, task: Any, inner: Any, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments with those hidden that are secrets by their place; or *given*."""
        args, kwargs = given["args"], given["kwargs"]
        if self._secret_places(task):
            args = self._hidden(task, list(args))
        if inner is not None and self._secret_places(inner):
            kwargs = self._hidden_items(inner, task.name == "celery.map", kwargs)
        if kwargs is given["kwargs"] and all(map(is_, args, given["args"])):
            return given
        return {"args": args, "kwargs": kwargs}

    def holds_secret(self, value: Any) -> bool:
        """Say whether a secret is anywhere in the value, also in what objects keep to themselves.

        Also true of what has too many pieces to look at.
        """
        seen: dict[int, Any] = {}
        rest = [value]
        while rest:
            one = rest.pop()
            if isinstance(one, _PLAIN) or id(one) in seen:
                continue
            seen[id(one)] = one
            if len(seen) > MAX_PIECES:
                return True
            if isinstance(one, Mapping):
                named = dict(one)
            elif isinstance(one, list | tuple | Set):
                rest.extend(one)
                continue
            else:
                named = attributes_of(one)
            if any(self._redaction.is_secret(key_name(key), item) for key, item in named.items()):
                return True
            rest.extend(named.values())
        return False

    def value(self, value: Any) -> Packet:
        """Return any value; what no packet carries is there as its repr."""
        try:
            if not _is_large(value):
                return _bounded(encode(self._redaction.masked(value)))
        except Exception:
            logger.debug("a value cannot be kept as a whole", exc_info=True)
        try:
            return _bounded(encode(self._presentable(value, 6, [MAX_PIECES])))
        except Exception:
            return _shown(f"<{type(value).__name__}>")

    def _presentable(self, value: Any, depth: int, left: list[int]) -> Any:
        """Return the value with reprs in the place of what cannot be encoded; so many pieces of it."""
        left[0] -= 1
        if isinstance(value, str):
            return _cut(value, MAX_CUT)
        if isinstance(value, Mapping | list | tuple):
            if not depth:
                return f"<{type(value).__name__} of {len(value):,}>"
            if isinstance(value, Mapping):
                return self._presentable_mapping(value, depth - 1, left)
            if not hasattr(type(value), "_fields"):
                shown = [self._presentable(i, depth - 1, left) for i in value if left[0] > 0]
                return shown if left[0] > 0 else [*shown, f"… {len(value) - len(shown):,} more"]
        try:
            if _is_large(value):
                return _named(value)
            masked = self._redaction.masked(value)
            if masked is not value and not isinstance(masked, str):
                return self._presentable(masked, depth - 1, left) if depth else _named(value)
            encode(masked)
        except RecursionError:
            return _named(value)
        except Exception:
            return _repr(value)
        return masked

    def _presentable_mapping(
        self, value: Mapping[Any, Any], depth: int, left: list[int]
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, item in value.items():
            if left[0] <= 0:
                shown["…"] = f"{len(value) - len(shown):,} more"
                break
            name = key_name(key)
            hidden = bool(name) and self._redaction.is_secret(name, item)
            shown[key if isinstance(key, str) else _repr(key)] = (
                HIDDEN if hidden else self._presentable(item, depth, left)
            )
        return shown

    # Positional arguments

    def _hidden(self, task: Any, args: list[Any]) -> list[Any]:
        for place in self._secret_places(task):
            args[place] = [None if value is None else HIDDEN for value in args[place]]
        return args

    def _hidden_items(self, inner: Any, single: bool, named: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a map with what is secret of each call hidden."""
        items = [self._hidden(inner, [item] if single else list(item)) for item in named["it"]]
        return {**named, "it": [item[0] for item in items] if single else items}

    def _secret_places(self, task: Any) -> tuple[slice, ...]:
        """Return which positional arguments the task's function gives the name of a secret."""
        run = getattr(task, "run", None)
        if run is None:
            return ()
        name = task.name
        found = self._secrets.get(name)
        if found is None:
            found = self._secrets[name] = self._look_up(run)
        return found

    def _look_up(self, run: Any) -> tuple[slice, ...]:
        try:
            parameters = list(inspect.signature(run).parameters.values())
        except (TypeError, ValueError):
            return ()
        return tuple(
            slice(place, None if one.kind is one.VAR_POSITIONAL else place + 1)
            for place, one in enumerate(parameters)
            if one.kind not in (one.KEYWORD_ONLY, one.VAR_KEYWORD)
            and self._redaction.is_secret(one.name, "")
        )


def _exactness(given: Any, packet: Packet) -> Exactness:
    if _is_large(given) or len(packet.data) > MAX_BYTES:
        return Exactness.LARGE
    try:
        same = encode(given, objects=False) == packet
    except Exception:
        return Exactness.LOST
    # A kind of dict was looked at for secrets, and there are none.
    return Exactness.WHOLE if same else Exactness.LOST


def _is_large(value: Any) -> bool:
    """Whether it takes long to look at all of it; nobody waits for that."""
    pieces, characters, rest = MAX_WHOLE, MAX_BYTES, [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str | bytes):
            characters -= len(one)
        elif isinstance(one, dict | list | tuple):
            pieces -= len(one)
            if pieces >= 0:
                rest.extend(one.values() if isinstance(one, dict) else one)
        elif not isinstance(one, _SMALL):
            inside = getattr(one, "__dict__", None)
            if isinstance(inside, dict):
                pieces -= PIECES_OF_AN_OBJECT
                rest.extend(item for name, item in inside.items() if name[:1] != "_")
        if pieces < 0 or characters < 0:
            return True
    return False


def _bounded(packet: Packet) -> Packet:
    if len(packet.data) <= MAX_BYTES:
        return packet
    rest = len(packet.data) - MAX_CUT
    return Packet(f"{packet.data[:MAX_CUT]}… {rest:,} more characters", TEXT)


def _cut(text: str, most: int) -> str:
    if len(text) > most:
        text = f"{text[:most]}… {len(text) - most:,} more characters"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _named(value: object) -> str:
    return f"<{type(value).__name__}>"


def _repr(value: object) -> str:
    if isinstance(value, BaseException):  # it may say what it is made of
        return _named(value)
    try:
        return _cut(repr(value), MAX_REPR)
    except Exception:
        return f"<unprintable {type(value).__name__}>"


def _shown(text: str) -> Packet:
    return Packet(text, TEXT)
