"""What log lines may say: values as JSON, without secrets, and never too long."""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import ItemsView, Iterable, Mapping, Set, ValuesView
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from math import isfinite
from operator import is_
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

MAX_MESSAGE: Final = 16_384
MAX_TEXT: Final = 8_192
MAX_ATTRIBUTES: Final = 65_536
MAX_DEPTH: Final = 6
MAX_ITEMS: Final = 100
HIDDEN: Final = "[redacted]"

SECRET_NAMES: Final = (
    "password", "passwd", "pwd", "passphrase", "secret", "token", "authorization", "api_key",
    "access_key", "private_key", "signing_key", "encryption_key", "cookie", "credential",
)  # fmt: skip
"""Names whose values are never shown: as words of a key, in any spelling, in the plural as well."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_IN_ADDRESS = re.compile(r"(\w://[^\s/@:]*):[^\s/]+@")
_PARAMETER = re.compile(r"([?&;])([\w.\-\[\]]+)=[^\s&;\"'<>]+")
_CUT_ADDRESS = re.compile(r"(\w://[^\s/@:]*):[^\s/@]*$")
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_OPAQUE = (date, time, timedelta, Decimal, UUID, PurePath)
_UNMASKED = (*_OPAQUE, Enum, type, bytes, bytearray)


class Redaction:
    """Turns what code wants to log into what may be stored. Never raises."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = tuple(
            f"_{spelling}"
            for name in (*SECRET_NAMES, *names)
            for spelling in dict.fromkeys((_spelled(name), _spelled(name).replace("_", "")))
            if spelling
        )
        self._phrases = tuple(name[1:] for name in self._names if "_" in name[1:])
        self._rank = lru_cache(4096)(self._look_up)

    def message(self, text: str) -> str:
        """Return a message: cut, and without the passwords and secret parameters of addresses."""
        return self._text(text, MAX_MESSAGE)

    def attributes(self, given: object) -> dict[str, Any]:
        """Return the attributes of a line. What is no mapping becomes the attribute `extra`."""
        try:
            values = given if isinstance(given, Mapping) else {"extra": given}
            shown: dict[str, Any] = self._mapping(values, MAX_DEPTH, _Room(MAX_ATTRIBUTES))
        except Exception as problem:  # changed meanwhile by another thread, or worse
            return {"unreadable": type(problem).__name__}
        return shown

    def masked(self, value: Any) -> Any:
        """Return the value with secrets hidden, and otherwise whole; itself if there are none.

        Dataclasses, models and other objects become dicts of what is public in them. Raises
        RecursionError for what contains itself.
        """
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is dict:
            return self._masked_mapping(value)
        if kind is list or kind is tuple:
            items = [self.masked(item) for item in value]
            if all(map(is_, items, value)):
                return value
            return items if kind is list else tuple(items)
        if isinstance(value, _UNMASKED):
            return value
        if isinstance(value, Set) and not isinstance(value, ItemsView):
            return self._masked_items(value, value)
        inner = _parts(value)
        if isinstance(inner, Mapping):
            return self._masked_mapping(dict(inner))
        return value if inner is None else self._masked_items(value, inner)

    def is_secret(self, key: str, value: object) -> bool:
        """Say whether the value of this key is not to be shown."""
        rank = self._rank(key)
        return (
            bool(rank) and value is not None and not (rank == 2 and isinstance(value, (int, float)))
        )

    def _masked_items(self, value: Any, items: Iterable[Any]) -> Any:
        """Return the value, or what is in it as a list if there is something to hide."""
        before = list(items)
        names: Any = getattr(type(value), "_fields", None)  # of a named tuple
        if isinstance(names, tuple) and len(names) == len(before):
            after = [
                HIDDEN if self.is_secret(str(name), item) else self.masked(item)
                for name, item in zip(names, before, strict=True)
            ]
        else:
            after = [self.masked(item) for item in before]
        return value if all(map(is_, after, before)) else after

    def _masked_mapping(self, values: dict[Any, Any]) -> dict[Any, Any]:
        changed: dict[Any, Any] | None = None
        for key, item in values.items():
            name = key if type(key) is str else key_name(key)
            if name and self.is_secret(name, item):
                new: Any = HIDDEN
            elif type(item) in _SCALARS:
                continue
            else:
                new = self.masked(item)
            if new is not item:
                if changed is None:
                    changed = dict(values)
                changed[key] = new
        return values if changed is None else changed

    def _look_up(self, key: str) -> int:
        """Return 0 for a key that may be shown, 1 for a secret, 2 for secrets or a number of them."""
        spelled = f"_{_spelled(key)}_"
        if any(f"{name}_" in spelled for name in self._names):
            return 1
        if any(f"{phrase}_" in spelled for phrase in self._phrases):  # XAPIKey: where words begin
            return 1
        return 2 if any(f"{name}s_" in spelled for name in self._names) else 0

    def _mapping(self, values: Mapping[Any, Any], depth: int, room: _Room) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, value in values.items():
            if len(shown) >= MAX_ITEMS or room.left <= 0:
                shown["…"] = f"{len(values) - len(shown)} more"
                break
            name = key[:200] if isinstance(key, str) else str(key)[:200]
            room.left -= len(name)
            if self.is_secret(name, value):
                shown[_valid(name)] = HIDDEN
            else:
                shown[_valid(name)] = self._value(value, depth, room)
        return shown

    def _value(self, value: Any, depth: int, room: _Room) -> Any:
        kind = type(value)
        if kind is str:
            text = self._text(value, min(MAX_TEXT, max(0, room.left)))
            room.left -= len(text)
            return text
        room.left -= 8
        if kind is bool or value is None:
            return value
        if kind is int:
            return (
                value if value.bit_length() < 1024 else f"an integer of {value.bit_length()} bits"
            )
        if kind is float:
            return value if isfinite(value) else str(value)
        return self._other(value, depth, room)

    def _other(self, value: Any, depth: int, room: _Room) -> Any:
        if isinstance(value, Enum):
            return self._value(value.value, depth - 1, room) if depth else "…"
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"{len(value):,} bytes"
        if isinstance(value, _OPAQUE):
            return str(value)
        if isinstance(value, BaseException):
            return self._value(f"{type(value).__name__}: {value}", depth, room)
        inner = _inside(value)
        if inner is not None and depth <= 0:
            return "…"
        if isinstance(inner, Mapping):
            return self._mapping(inner, depth - 1, room)
        if inner is not None:
            return self._items(inner, depth - 1, room)
        return self._value(_described(value), depth, room)

    def _items(self, values: Any, depth: int, room: _Room) -> list[Any]:
        shown: list[Any] = []
        for item in values:
            if len(shown) >= MAX_ITEMS or room.left <= 0:
                shown.append(f"… {len(values) - len(shown)} more")
                break
            shown.append(self._value(item, depth, room))
        return shown

    def _parameter(self, found: re.Match[str]) -> str:
        """Return a parameter of an address, which may be a secret by its name."""
        return f"{found[1]}{found[2]}=***" if self._rank(found[2]) == 1 else found[0]

    def _text(self, text: str, most: int) -> str:
        rest = len(text) - most
        if rest > 0:
            text = text[:most]
        if "://" in text:
            text = _IN_ADDRESS.sub(r"\1:***@", text)
            if rest > 0:  # the address may have been cut within its password
                text = _CUT_ADDRESS.sub(r"\1:***", text)
            if "?" in text:
                text = _PARAMETER.sub(self._parameter, text)
        if rest > 0:
            text = f"{text}… {rest:,} more characters"
        return _valid(text)


class _Room:
    """How many characters a line may still have."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def key_name(key: object) -> str:
    """Return the name that a key of a mapping is; '' for what is none."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, bytes):
        return key.decode("latin-1")
    return str.__str__(key) if isinstance(key, str) else ""


def _parts(value: Any) -> Mapping[Any, Any] | Iterable[Any] | None:
    """Return what a value to be masked consists of; of other objects what is public in them."""
    if isinstance(value, ItemsView):
        return dict(value)
    if isinstance(value, deque | ValuesView):
        return list(value)
    inner: Mapping[Any, Any] | Iterable[Any] | None = _inside(value)
    if inner is not None or isinstance(value, BaseException):
        return inner
    if hasattr(value, "__dict__"):
        return {name: item for name, item in vars(value).items() if name[:1] != "_"}
    slots = {name: 0 for kind in type(value).__mro__ for name in _slots(kind) if name[:1] != "_"}
    return {name: getattr(value, name, None) for name in slots} or None


def attributes_of(value: object) -> dict[str, Any]:
    """Return all that an object keeps, also what is not public."""
    kept = {
        name: getattr(value, _mangled(kind, name), None)
        for kind in type(value).__mro__
        for name in _slots(kind)
        if name not in ("__dict__", "__weakref__")
    }
    return {**kept, **(getattr(value, "__dict__", None) or {})}


def _mangled(kind: type, name: str) -> str:
    """Return what Python calls a slot: a private one by its class."""
    private = name.startswith("__") and not name.endswith("__")
    return f"_{kind.__name__.lstrip('_')}{name}" if private else name


def _slots(kind: type) -> Iterable[str]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else slots


def _spelled(name: str) -> str:
    return "_".join(_WORDS.findall(name)).lower()


def _valid(text: str) -> str:
    """Return text that can be stored: without lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _inside(value: Any) -> Mapping[Any, Any] | Any | None:
    """Return what a value consists of: a mapping, items, or None when it is none of these."""
    if isinstance(value, (Mapping, list, tuple, Set)):
        return value
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    fields = getattr(type(value), "model_fields", None)  # pydantic
    if isinstance(fields, Mapping):
        return {name: getattr(value, name, None) for name in fields}
    return None


def _described(value: Any) -> str:
    try:
        return str.__str__(value) if isinstance(value, str) else repr(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"
