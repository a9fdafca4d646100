"""Replies that are waited for longer than others, on sync connections of redis-py."""

from __future__ import annotations

from inspect import signature
from typing import Any

import redis.connection

_connection: Any = redis.connection
_TAKES_TIMEOUT = "timeout" in signature(_connection.AbstractConnection.read_response).parameters


def read_reply(connection: Any, seconds: float | None) -> Any:
    """Block until the connection has a reply, for up to *seconds*; None: for ever.

    Of a connection that is for such replies only: before redis-py 7 it keeps the timeout.
    """
    if _TAKES_TIMEOUT:
        return connection.read_response(disable_decoding=True, timeout=seconds)
    sock = connection._sock
    if sock is not None:  # else somebody closed it, which reading tells
        sock.settimeout(seconds)
    return connection.read_response(disable_decoding=True)
