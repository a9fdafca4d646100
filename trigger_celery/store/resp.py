"""Reads replies (RESP2) from bytes.

redis-py makes the connections; its readers serve every kind of client and take several times as
long for the few kinds of reply that scripts give.
"""

from __future__ import annotations

from typing import Any, Final

from redis._parsers.base import BaseParser

CHUNK: Final = 65536
INCOMPLETE: Final[Any] = object()
"""What `ReplyBuffer.next` returns when it needs more bytes."""


_error: Any = BaseParser.parse_error


class _MoreError(Exception):
    """The reply goes on after *length* bytes at least."""

    def __init__(self, length: int) -> None:
        self.length = length


class ReplyBuffer:
    """Bytes received, and the replies in them."""

    __slots__ = ("_at", "_chunks", "_length", "_needed")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._length = 0
        self._needed = 1
        self._at = 0

    def feed(self, chunk: bytes) -> None:
        """Add bytes."""
        self._chunks.append(chunk)
        self._length += len(chunk)

    def next(self) -> Any:
        """Return the next reply, an error reply as an exception, or INCOMPLETE."""
        if self._length < self._needed:
            return INCOMPLETE
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        data = self._chunks[0]
        try:
            reply, self._at = _parse(data, self._at)
        except _MoreError as more:
            # Without what has been read: it is copied with every join.
            rest = data[self._at :]
            self._needed = more.length - self._at
            self._chunks, self._length, self._at = [rest], len(rest), 0
            return INCOMPLETE
        if self._at == len(data):
            self._chunks, self._length, self._needed, self._at = [], 0, 1, 0
        else:
            self._needed = self._at + 1
        return reply


def _parse(data: bytes, at: int) -> tuple[Any, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _MoreError(len(data) + 1)
    kind, start = data[at : at + 1], end + 2
    if kind == b"$":
        stop = start + int(data[at + 1 : end])
        if stop < start:
            return None, start
        if len(data) < stop + 2:
            raise _MoreError(stop + 2)
        return data[start:stop], stop + 2
    if kind == b":":
        return int(data[at + 1 : end]), start
    if kind == b"*":
        count = int(data[at + 1 : end])
        if count < 0:
            return None, start
        items = []
        for _ in range(count):
            item, start = _parse(data, start)
            items.append(item)
        return items, start
    if kind == b"+":
        return data[at + 1 : end], start
    if kind == b"-":
        return _error(data[at + 1 : end].decode(errors="replace")), start
    raise ConnectionError(f"not a reply: {data[at : at + 20]!r}")
