"""What of a plain Celery call is kept: arguments and results as packets, masked and bounded."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from trigger_celery.model.packet import TEXT, Packet, encode
from trigger_celery.model.redaction import HIDDEN, Redaction, key_name

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


class RecordedValues:
    """Turns arguments and results into packets. Never raises, whatever they are."""

    def __init__(self, names: Sequence[str]) -> None:
        self._redaction = Redaction(names)
        self._secrets: dict[object, tuple[slice, ...]] = {}

    def payload(self, task: Any, args: Any, kwargs: Any, inner: Any = None) -> Packet:
        """Return the payload `{"args": […], "kwargs": {…}}`. *task* may be None.

        *inner*: the task that a `celery.map`, `celery.starmap` or `celery.chunks` calls.
        """
        try:
            named = dict(kwargs or {})
            listed = self._hidden(task, list(args or ()))
            if inner is not None and self._secret_places(inner):
                named = self._hidden_items(inner, task.name == "celery.map", named)
        except Exception:
            return _shown(f"<arguments of {type(args).__name__} and {type(kwargs).__name__}>")
        return self.value({"args": listed, "kwargs": named})

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
