"""Payloads, outputs and their wire form: text and the type that says how to read it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from json import encoder as json_encoder
from typing import Any, Final

from trigger_celery.errors import PayloadNotSerializableError, PayloadTooLargeError
from trigger_celery.model.rich import MAX_DEPTH, Walk, restore

MAX_BYTES: Final = 10 * 1024 * 1024
MAX_ITEM_BYTES: Final = 3 * 1024 * 1024
"""The most that the payload of one item of a batch may have."""
MAX_INLINE: Final = 128 * 1024
"""Bytes of a payload that travel with the run to its worker. Larger ones are fetched on their own,
and larger packets of any kind go to the payload store, where there is one."""

JSON: Final = "application/json"
SUPER_JSON: Final = "application/super+json"  # JSON with the places of dates, sets, decimals …
TEXT: Final = "text/plain"
STORE: Final = "application/store"  # a reference to data that is kept elsewhere

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list, tuple})


@dataclass(frozen=True, slots=True)
class Packet:
    """A value in its wire form."""

    data: str
    type: str


def encode(
    value: Any,
    *,
    limit: int = MAX_BYTES,
    error: type[Exception] = PayloadNotSerializableError,
    too_large: type[Exception] = PayloadTooLargeError,
    what: str = "payload",
    objects: bool = True,
) -> Packet:
    """Return *value* in the simplest wire form that carries it.

    Text stays text; what JSON carries exactly becomes JSON; dates, decimals, UUIDs, sets, bytes,
    dataclasses, pydantic models and objects of public attributes become super+json. Objects come
    back as dicts, and tuples in plain JSON as lists. Everything else raises *error* with the path
    to it: also NaN, and dict keys that are not text, which JSON would silently turn into text.
    Without *objects* so do dataclasses, models and objects, which would not come back as they are.
    """
    text = value if type(value) is str else _dump_plain(value)
    if text is None:
        text, mime = _encode_rich(value, Walk(what, error, objects=objects))
    else:
        mime = TEXT if text is value else JSON
    if len(text) > limit or not text.isascii():
        _check_size(value, text, what, limit, error, too_large)
    return Packet(text, mime)


def check_item(packet: Packet) -> Packet:
    """Return the payload of an item of a batch. Raises PayloadTooLargeError over 3 MB."""
    data = packet.data
    if len(data) * 4 > MAX_ITEM_BYTES:
        size = len(data) if data.isascii() else len(data.encode())
        if size > MAX_ITEM_BYTES:
            raise PayloadTooLargeError(
                f"The payload is {size:,} bytes, over the limit of {MAX_ITEM_BYTES:,} for an item "
                "of a batch. Trigger it on its own, or keep the data in a file, an object store or "
                "a database and pass a reference to it."
            )
    return packet


def encode_json(
    value: Any,
    *,
    limit: int = MAX_BYTES,
    error: type[Exception] = PayloadNotSerializableError,
    too_large: type[Exception] = PayloadTooLargeError,
    what: str = "value",
) -> str:
    """Return *value* as JSON text; what only super+json carries (dates, sets …) raises *error*."""
    text = _dump_plain(value)
    if text is None:
        text = _dump(Walk(what, error, strict=True).visit(value)[0])
    _check_size(value, text, what, limit, error, too_large)
    return text


def decode(data: str | bytes, type: str) -> Any:  # noqa: A002
    """Return the value of a packet. Raises ValueError for a type or data it cannot read.

    Also reads the super+json that JavaScript writes: a Map becomes a dict, undefined becomes None.
    """
    if type == JSON:
        return json.loads(data)
    if type == TEXT:
        return data if isinstance(data, str) else data.decode("utf-8")
    if type == SUPER_JSON:
        return restore(json.loads(data))
    if type == STORE:
        raise ValueError(f"{STORE} is a reference: fetch what it points to, then decode that")
    raise ValueError(f"unknown packet type {type!r}")


def plain(value: Any) -> Any:
    """Return *value* as plain JSON values, as `encode` would write them but without the types."""
    if type(value) in _CONTAINERS and _is_plain(value, MAX_DEPTH):
        return value
    return Walk("value", PayloadNotSerializableError).visit(value)[0]


def _dump_plain(value: Any) -> str | None:
    """Return the JSON text of a value that JSON carries exactly, or None for any other value."""
    kind = type(value)
    if kind in _SCALARS or (kind in _CONTAINERS and _is_plain(value, MAX_DEPTH)):
        try:
            return _dump(value)
        except ValueError:  # NaN, infinity, or a number of thousands of digits
            return None
    return None


def _is_plain(container: Any, depth: int) -> bool:
    """Say whether JSON gives the container back as it is, NaN and lone surrogates aside.

    Exact types only: the C encoder would turn int keys into text and enum members into numbers.
    """
    if not depth:
        return False
    if type(container) is dict:
        for key in container:
            if type(key) is not str:
                return False
        container = container.values()
    elif len(container) > 32 and _SCALARS.issuperset(map(type, container)):
        return True
    for item in container:
        kind = type(item)
        if kind not in _SCALARS and not (kind in _CONTAINERS and _is_plain(item, depth - 1)):
            return False
    return True


def _encode_rich(value: Any, walk: Walk) -> tuple[str, str]:
    shown, tree = walk.visit(value)
    if isinstance(shown, str) and tree is None:
        return shown, TEXT
    if tree is None or _only_tuples(tree):
        return _dump(shown), JSON
    meta: dict[str, Any] = {"values": tree}
    text = _dump({"json": shown, "meta": meta})
    if "\\" in text and _has_backslash(tree):
        meta["v"] = 1  # superjson's mark for paths in which backslashes are escaped too
        text = _dump({"json": shown, "meta": meta})
    return text, SUPER_JSON


def _only_tuples(tree: Any) -> bool:
    if isinstance(tree, list):
        return tree[0] == "tuple" and all(map(_only_tuples, tree[1:]))
    return all(map(_only_tuples, tree.values()))


def _has_backslash(tree: Any) -> bool:
    if isinstance(tree, list):
        return any(map(_has_backslash, tree[1:]))
    return any("\\\\" in path or _has_backslash(inner) for path, inner in tree.items())


def _check_size(
    value: Any,
    text: str,
    what: str,
    limit: int,
    error: type[Exception],
    too_large: type[Exception],
) -> None:
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        Walk(what, error).visit(value)  # raises with the path
        raise  # pragma: no cover
    if size > limit:
        raise too_large(
            f"The {what} is {size:,} bytes, over the limit of {limit:,}. "
            f"Keep the data in a file, an object store or a database and pass a reference to it."
        )


def _make_dump() -> Callable[[Any], str]:
    """Return a compact JSON encoder, without `JSONEncoder.encode`'s set-up in each call."""
    fallback = json.JSONEncoder(
        separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
    ).encode
    try:
        quote = json_encoder.encode_basestring
        encode_c: Callable[[Any, int], Any] = getattr(json_encoder, "c_make_encoder")(  # noqa: B009
            None, None, quote, None, ":", ",", False, False, False
        )
        if "".join(encode_c({"é": [1.5, None]}, 0)) == '{"é":[1.5,null]}':
            return lambda value: "".join(encode_c(value, 0))
    except (AttributeError, TypeError):
        pass
    return fallback


_dump: Final = _make_dump()


def dump_json(value: Any) -> str:
    """Return compact JSON of what is known to be plain: dicts with text keys, lists, scalars."""
    return _dump(value)
