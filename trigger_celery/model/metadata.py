"""Metadata of a run: the changes that may be made to it, and what they make of a document.

A change is a list whose first item is its kind, as it is stored: `["set", key, value]`,
`["del", key]`, `["append", key, value]`, `["remove", key, value]`, `["increment", key, number]`,
`["replace", document]`. Whoever applies the same changes in the same order gets the same document;
a change that does not fit what it finds leaves the document as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from math import isfinite
from typing import Any, Final

from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.packet import encode_json
from trigger_celery.model.task_options import MAX_METADATA_BYTES

MAX_NUMBER: Final = 2**63
MAX_KEY: Final = 1024
MAX_STEPS: Final = 32

Document = dict[str, Any]
Change = list[Any]
Path = tuple[str | int, ...]

_STEP: Final = re.compile(
    r"""\.([^.\[\]'"]+)|\[(\d{1,5})\]|\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]"""
)


@lru_cache(1024)
def path_of(key: object) -> Path:
    """Return the steps of a key: itself, or those of a JSON path. Raises InvalidOptionError."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY:
        raise InvalidOptionError(
            f"{key!r:.60} is not a key of metadata: text of 1 to {MAX_KEY} characters, or a JSON "
            "path such as '$.user.name' or '$.list[0]'"
        )
    if not key.startswith("$."):
        return (key,)
    steps: list[str | int] = []
    at = 1
    while at < len(key):
        found = _STEP.match(key, at)
        if found is None:
            raise InvalidOptionError(
                f"{key!r:.80} is not a JSON path: from {key[at : at + 20]!r} on it cannot be read. "
                "Paths are made of .name, [0] and ['any name'], for example '$.user.list[0]'."
            )
        name, index, single, double = found.groups()
        quoted = single if single is not None else double
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
    if len(steps) > MAX_STEPS:
        raise InvalidOptionError(f"{key!r:.80} has {len(steps)} steps; the limit is {MAX_STEPS}")
    return tuple(steps)


def find(document: Document, path: Path) -> tuple[bool, Any]:
    """Return whether there is something at *path*, and what."""
    value: Any = document
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return False, None
        elif not isinstance(value, list) or step >= len(value):
            return False, None
        value = value[step]
    return True, value


def apply(document: Document, change: Change) -> tuple[Document, bool]:
    """Return the document after a change, made in place, and whether the change fitted."""
    kind = change[0]
    if kind == "replace":
        return copy_of(change[1]), True
    if kind == "del":
        document.pop(change[1], None)
        return document, True
    path = path_of(change[1])
    there, before = find(document, path)
    fits, after = _after(kind, there, before, change[2])
    if fits and after is not _SAME:
        fits = _put(document, path, after)
    return document, fits


_SAME: Final = object()


def _after(kind: str, there: bool, before: Any, value: Any) -> tuple[bool, Any]:
    """Return whether the change fits, and the new value at its place."""
    if kind == "set":
        return True, copy_of(value)
    if kind == "append":
        if isinstance(before, list):
            before.append(copy_of(value))
            return True, _SAME
        return True, [before, copy_of(value)] if there else [copy_of(value)]
    if kind == "remove":
        if isinstance(before, list):
            before[:] = [item for item in before if not is_equal(item, value)]
        return True, _SAME
    if kind == "increment":
        sum_ = _sum(before if is_number(before) else 0, value)
        return sum_ is not None, sum_
    return False, _SAME  # of a newer release


def _sum(one: float, other: float) -> float | None:
    try:
        found: Any = one + other
    except OverflowError:
        return None
    if isinstance(found, float):
        return found if isfinite(found) else None
    return found if abs(found) <= MAX_NUMBER else None


def _put(document: Document, path: Path, value: Any) -> bool:
    """Put the value at its place, making what is missing on the way; says whether it fitted."""
    if not _fits(document, path):
        return False
    place: Any = document
    for step, following in pairwise(path):
        missing: Any = {} if isinstance(following, str) else []
        if isinstance(step, str):
            place = place.setdefault(step, missing)
        else:
            if step == len(place):
                place.append(missing)
            place = place[step]
    last = path[-1]
    if isinstance(last, int) and last == len(place):
        place.append(value)
    else:
        place[last] = value
    return True


def _fits(document: Document, path: Path) -> bool:
    """Say whether a name meets an object, and an index a list with no gap before it."""
    place: Any = document
    for at, step in enumerate(path):
        if isinstance(step, str):
            if not isinstance(place, dict):
                return False
            missing = step not in place
        else:
            if not isinstance(place, list) or step > len(place):
                return False
            missing = step == len(place)
        if missing:
            return all(isinstance(later, str) or later == 0 for later in path[at + 1 :])
        place = place[step]
    return True


def is_number(value: Any) -> bool:
    """Say whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_equal(one: Any, other: Any) -> bool:
    """Say whether two JSON values are the same: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) and type(one) is not dict and type(one) is not list


def copy_of(value: Any) -> Any:
    """Return a deep copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_of(item) for item in value]
    return value


def json_text(value: Any, what: str) -> str:
    """Return the JSON text of a value. Raises InvalidOptionError for what JSON does not carry."""
    return encode_json(value, error=InvalidOptionError, too_large=InvalidOptionError, what=what)


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def document_size(document: Document) -> int:
    """Return the bytes of a document as it is stored."""
    return size_of(_dump(document))


def size_of(text: str) -> int:
    """Return the bytes of a text."""
    return len(text) if text.isascii() else len(text.encode())


class Folded:
    """A document made of its stored text and the changes that came after it.

    Of each entry, a JSON array of changes that were sent together, all are made, or none when the
    document would be larger than 256 KB.
    """

    __slots__ = ("document", "refused", "text")

    def __init__(self, text: str, entries: Iterable[str]) -> None:
        document: Document = json.loads(text) if text else {}
        self.refused = 0
        """Changes that were not made because the document would have been too large."""
        bound = size_of(text) + 2
        for entry in entries:
            changes: Sequence[Change] = json.loads(entry)
            # A step of a path becomes a name in quotes, and a sum may have more digits.
            grown = bound + 3 * size_of(entry) + 64 * len(changes)
            if grown <= MAX_METADATA_BYTES:
                for change in changes:
                    document, _ = apply(document, change)
                bound = grown
                continue
            after = copy_of(document)
            for change in changes:
                after, _ = apply(after, change)
            bound = size_of(_dump(after))
            if bound <= MAX_METADATA_BYTES:
                document = after
            else:
                self.refused += len(changes)
                bound = size_of(_dump(document))
        self.document = document

    def to_text(self) -> str:
        """Return the document as it is stored."""
        return _dump(self.document)


class Pending:
    """Changes that are not sent yet, collapsed: of several sets of a key the last is left."""

    __slots__ = ("_changes", "_next", "_of_key", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._changes: dict[int, tuple[Change, int]] = {}
        self._of_key: dict[str | int, list[int]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, change: Change, size: int) -> None:
        """Add a change of *size* bytes. Changes of different top-level keys do not meet."""
        if change[0] == "replace":
            self.bytes, self._changes, self._of_key = 0, {}, {}
            self._append("", change, size)
            return
        path: Path = (change[1],) if change[0] == "del" else path_of(change[1])
        if len(path) == 1 and change[0] in ("set", "del"):
            for number in self._of_key.pop(path[0], ()):  # nothing of it is left
                self.bytes -= self._changes.pop(number)[1]
        elif numbers := self._of_key.get(path[0]):
            before, length = self._changes[numbers[-1]]
            merged = _merged(before, change)
            if merged is not None:
                size = max(size, length)
                self._changes[numbers[-1]] = merged, size
                self.bytes += size - length
                return
        self._append(path[0], change, size)

    def _append(self, key: str | int, change: Change, size: int) -> None:
        self._next += 1
        self._changes[self._next] = change, size
        self._of_key.setdefault(key, []).append(self._next)
        self.bytes += size

    @property
    def changes(self) -> list[Change]:
        """The changes, in their order."""
        return [change for change, _ in self._changes.values()]

    def to_text(self) -> str:
        """Return them as one JSON array."""
        return _dump(self.changes)


def _merged(before: Change, change: Change) -> Change | None:
    """Return one change that does what both do one after the other, or None."""
    if before[1] != change[1]:
        return None
    if before[0] == "del":
        return None  # its key may be spelled like a path and mean another place
    if change[0] == "set" and before[0] == "set":
        return change
    if change[0] == "increment" and before[0] == "increment":
        whole = isinstance(before[2], int) and isinstance(change[2], int)
        total = _sum(before[2], change[2]) if whole else None
        return None if total is None else ["increment", change[1], total]
    if change[0] == "increment" and before[0] == "set" and is_number(before[2]):
        total = _sum(before[2], change[2])
        return None if total is None else ["set", change[1], total]
    return None
