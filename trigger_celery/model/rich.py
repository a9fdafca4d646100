"""The rich half of packets: superjson's shape, a JSON value and a tree of the types in it."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from math import isfinite
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final, NoReturn
from uuid import UUID

MAX_DEPTH: Final = 100
MAX_INT_BITS: Final = 14_000  # Python reads back no more than 4300 digits

# A model and a queryset of Django: known by what they have, because nothing of it is imported here.
_ROW: Final = (
    "it is a row of a database, which may be another when the task reads it: pass its pk, and get "
    "the row in the task; or "
)
_ROWS: Final = (
    "it is a query to a database: pass the keys, list(query.values_list('pk', flat=True)), or the "
    "filter; or "
)

_MICROSECOND: Final = timedelta(microseconds=1)
_TYPES_TAKEN: Final = (
    "pass str, numbers, dict, list, set, datetime, Decimal, UUID, bytes, a dataclass "
    "or a pydantic model"
)

# None: nothing inside has a type to remember. A list: the node's own type, and the tree inside it.
# A dict: paths of the nodes inside that have one.
Tree = list[Any] | dict[str, Any] | None


class Walk:
    """One pass over a value that turns it into JSON values and the tree of its types."""

    __slots__ = ("_error", "_frozen", "_objects", "_open", "_path", "_strict", "_what")

    def __init__(
        self, what: str, error: type[Exception], *, strict: bool = False, objects: bool = True
    ) -> None:
        self._what = what
        self._error = error
        self._strict = strict
        self._objects = objects  # whether one may become what it has: it would come back as a dict
        self._path: list[str | int] = []
        self._open: set[int] = set()
        self._frozen = 0  # depth of sets around: what is inside must come back hashable

    def visit(self, value: Any) -> tuple[Any, Tree]:
        """Return the JSON value of *value* and its tree; raise the walk's error for the rest."""
        if isinstance(value, Enum):
            if not (self._objects or isinstance(value, (str, int, float))):
                self._refuse(f"is a {_type_name(value)}, which would come back as its value")
            return self.visit(value.value)
        if value is None or isinstance(value, (bool, str, int, float)):
            return self._scalar(value), None
        if self._objects and isinstance(value, PurePath):
            return self._scalar(str(value)), None
        for kind, name, write in _WRITERS:
            if isinstance(value, kind):
                self._refuse_if_strict(value)
                return write(self, value), [name]
        if id(value) in self._open:
            self._refuse("refers to itself")
        if len(self._path) >= MAX_DEPTH:
            self._refuse(f"is nested deeper than {MAX_DEPTH} levels")
        self._open.add(id(value))
        try:
            return self._container(value)
        finally:
            self._open.discard(id(value))

    def _container(self, value: Any) -> tuple[Any, Tree]:
        if isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, list):
            return self._items(value, None)
        if isinstance(value, tuple):
            return self._items(value, "tuple")
        if isinstance(value, (set, frozenset)):
            self._refuse_if_strict(value)
            self._frozen += 1
            shown = self._items(value, "set")
            self._frozen -= 1
            return shown
        if isinstance(value, (BaseException, type, ModuleType)) or callable(value):
            self._refuse_type(value)
        if not self._objects:
            self._refuse(f"is a {_type_name(value)}, which would come back as a dict")
        if callable(getattr(type(value), "model_dump", None)):
            return self.visit(value.model_dump(mode="python"))
        if dataclasses.is_dataclass(value):
            return self._mapping(
                {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            )
        return self._mapping(self._attributes(value))

    def _attributes(self, value: Any) -> dict[str, Any]:
        named = getattr(value, "__dict__", None)
        shown = {name: item for name, item in (named or {}).items() if not name.startswith("__")}
        if not shown:
            self._refuse_type(value)
        if hasattr(value, "_meta") and hasattr(value, "pk"):
            self._refuse_type(value, _ROW)
        if hasattr(value, "values_list") and hasattr(value, "query"):
            self._refuse_type(value, _ROWS)
        for name in shown:
            if name.startswith("_"):  # a lock, a connection, a database row: not plain data
                self._refuse_type(value, f"it has the private attribute {name!r}; ")
        return shown

    def _scalar(self, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            if not (value.isascii() or _encodable(value)):
                self._refuse("has a lone surrogate, which is not valid Unicode text")
            return value if type(value) is str else str.__str__(value)
        if isinstance(value, int):
            if value.bit_length() > MAX_INT_BITS:
                self._refuse("is an integer of thousands of digits; pass it as text")
            return int(value)
        if not isfinite(value):
            self._refuse(f"is {float(value)}, which JSON cannot carry; pass None or text")
        return float(value)

    def _mapping(self, value: Mapping[Any, Any]) -> tuple[Any, Tree]:
        if self._frozen:
            self._refuse("is an object inside a set, which could not be read back; use a list")
        shown: dict[str, Any] = {}
        trees: dict[str, Any] = {}
        for key, item in value.items():
            name = self._key(key)
            if name in shown:
                self._refuse(f"has the key {name!r} twice")
            self._path.append(name)
            shown[name], tree = self.visit(item)
            self._path.pop()
            _graft(trees, name.replace("\\", "\\\\").replace(".", "\\."), tree)
        return shown, trees or None

    def _key(self, key: Any) -> str:
        if isinstance(key, Enum):
            key = key.value
        if not isinstance(key, str):
            self._refuse(
                f"has the {type(key).__name__} key {key!r}; keys must be text: use str(key)"
            )
        if not (key.isascii() or _encodable(key)):
            self._refuse(f"has the key {key!r} with a lone surrogate, which is not valid text")
        return key if type(key) is str else str.__str__(key)

    def _items(self, value: Iterable[Any], name: str | None) -> tuple[Any, Tree]:
        shown: list[Any] = []
        trees: dict[str, Any] = {}
        for index, item in enumerate(value):
            self._path.append(index)
            one, tree = self.visit(item)
            self._path.pop()
            shown.append(one)
            _graft(trees, str(index), tree)
        if name is None:
            return shown, trees or None
        return shown, [name, trees] if trees else [name]

    def time(self, value: time) -> str:
        """Return a time as ISO text; a zone that needs a date to have an offset is refused."""
        if value.tzinfo is not None and value.utcoffset() is None:
            self._refuse(
                "is a time whose zone has no fixed offset; pass a datetime, or a plain time"
            )
        return value.isoformat()

    def _refuse_if_strict(self, value: Any) -> None:
        if self._strict:
            self._refuse(
                f"is a {_type_name(value)}, not a JSON value; pass it as text, number or list"
            )

    def _refuse_type(self, value: Any, reason: str = "") -> NoReturn:
        self._refuse(f"{_type_name(value)} is not serialisable; {reason}{_TYPES_TAKEN}", ":")

    def _refuse(self, problem: str, colon: str = "") -> NoReturn:
        parts = [
            f"[{part}]"
            if isinstance(part, int)
            else f".{part}"
            if part.isidentifier()
            else f"[{part!r}]"
            for part in self._path
        ]
        raise self._error(f"{self._what}{''.join(parts)}{colon} {problem}.")


def _graft(trees: dict[str, Any], name: str, tree: Tree) -> None:
    """Put the tree of a child under its name, with superjson's joined paths."""
    if isinstance(tree, list):
        trees[name] = tree
    elif tree:
        for path, inner in tree.items():
            trees[f"{name}.{path}"] = inner


def _type_name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write_timedelta(value: timedelta) -> str:
    micros = value // _MICROSECOND
    seconds, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06}".rstrip("0") if rest else ""
    return f"{'-' if micros < 0 else ''}PT{seconds}{fraction}S"


def _read_timedelta(text: str) -> timedelta:
    match = re.fullmatch(r"(-?)PT(\d+)(?:\.(\d{1,6}))?S", text, re.ASCII)
    if match is None:
        raise ValueError(f"not a timedelta: {text!r}")
    sign, seconds, fraction = match.groups()
    length = timedelta(seconds=int(seconds), microseconds=int((fraction or "").ljust(6, "0")))
    return -length if sign else length


def _write_datetime(value: datetime) -> str:
    text = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


_Writer = Callable[[Walk, Any], str]
_WRITERS: Final[tuple[tuple[type | tuple[type, ...], str, _Writer], ...]] = (
    (datetime, "Date", lambda _, value: _write_datetime(value)),
    (date, "date", lambda _, value: value.isoformat()),
    (time, "time", Walk.time),
    (timedelta, "timedelta", lambda _, value: _write_timedelta(value)),
    (Decimal, "Decimal", lambda _, value: str(value)),
    (UUID, "UUID", lambda _, value: str(value)),
    ((bytes, bytearray), "bytes", lambda _, value: base64.b64encode(value).decode("ascii")),
)


def _freeze(value: Any) -> Any:
    """Return an element of a set as something that can be one."""
    if isinstance(value, (set, frozenset)):
        return frozenset(value)
    if isinstance(value, (list, tuple)):
        return tuple(map(_freeze, value))
    return value


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "Date": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": _read_timedelta,
    "Decimal": Decimal,
    "UUID": UUID,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "tuple": tuple,
    "set": lambda items: set(map(_freeze, items)),
    # What JavaScript writes and Python does not:
    "undefined": lambda _: None,
    "bigint": int,
    "number": lambda text: (
        float(text.replace("Infinity", "inf")) if isinstance(text, str) else text
    ),
    "map": lambda pairs: {_freeze(key): value for key, value in pairs},
    "Error": lambda fields: fields,
    "regexp": str,
    "URL": str,
}


def restore(document: Any) -> Any:
    """Return the value of a superjson document; raise ValueError when it is none."""
    try:
        tree = document.get("meta", {}).get("values")
        escaped = document.get("meta", {}).get("v", 0) >= 1
        return document["json"] if tree is None else _restore(document["json"], tree, escaped)
    except (KeyError, IndexError, TypeError, AttributeError, InvalidOperation) as problem:
        raise ValueError(f"malformed super+json: {problem!r}") from problem
    except binascii.Error as problem:
        raise ValueError(f"malformed bytes in super+json: {problem}") from problem


def _restore(node: Any, tree: Any, escaped: bool) -> Any:
    own, inner = (tree[0], tree[1:]) if isinstance(tree, list) else (None, [tree])
    for paths in inner:
        for path, subtree in paths.items():
            parent, key = None, None
            target = node
            for name in _split(path, escaped):
                parent, key = target, int(name) if isinstance(target, list) else name
                target = parent[key]
            parent[key] = _restore(target, subtree, escaped)  # type: ignore[index]
    if own is None:
        return node
    reader = _READERS.get(own) if isinstance(own, str) else None
    if reader is None:
        raise ValueError(f"unknown type {own!r} in super+json")
    return reader(node)


def _split(path: str, escaped: bool) -> list[str]:
    if "\\" not in path:
        return path.split(".")
    if not escaped:
        return [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", path)]
    parts = [""]
    for piece in re.findall(r"\\.|[^\\]", path, re.DOTALL):
        if piece == ".":
            parts.append("")
        else:
            parts[-1] += piece[-1]
    return parts
