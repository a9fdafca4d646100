"""Replies are read whole, however the bytes are cut."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_errors

from trigger_celery.store.resp import INCOMPLETE, ReplyBuffer

replies = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)


def packed(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(packed, reply))


@given(st.lists(replies, min_size=1, max_size=4), st.integers(1, 64))
def test_any_cut_gives_the_same_replies(wanted: list[Any], size: int) -> None:
    data = b"".join(map(packed, wanted))
    buffer = ReplyBuffer()
    found = []
    for start in range(0, len(data), size):
        buffer.feed(data[start : start + size])
        while (reply := buffer.next()) is not INCOMPLETE:
            found.append(reply)
    assert found == wanted


def test_an_error_reply_is_an_exception() -> None:
    buffer = ReplyBuffer()
    buffer.feed(b"-NOSCRIPT No matching script.\r\n+OK\r\n*-1\r\n")
    assert isinstance(buffer.next(), redis_errors.NoScriptError)
    assert buffer.next() == b"OK"
    assert buffer.next() is None
    assert buffer.next() is INCOMPLETE
