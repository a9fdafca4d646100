"""What log lines may say: values as JSON, without secrets, and never too long."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Set
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from math import isfinite
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
_OPAQUE = (date, time, timedelta, Decimal, UUID, PurePath)


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
            rank = self._rank(name)
            if not rank or value is None or (rank == 2 and isinstance(value, (int, float))):
                shown[_valid(name)] = self._value(value, depth, room)
            else:
                shown[_valid(name)] = HIDDEN
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
