"""A connection on which one reader waits for the next entry of a stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from trigger_celery.store import wire
from trigger_celery.store.aio import next_reply
from trigger_celery.store.op import Call
from trigger_celery.store.reading import read_reply
from trigger_celery.store.resp import ReplyBuffer

_GRACE = 5.0


class StreamReader:
    """Waits in sync code or in a coroutine, not both; connects when a wait needs it.

    Closing it from anywhere ends a wait under way.
    """

    def __init__(
        self, make_sync: Callable[[], Any], make_async: Callable[[], Any], where: str
    ) -> None:
        self._make_sync = make_sync
        self._make_async = make_async
        self._where = where
        self._connection: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def wait_sync(self, key: str, after: str, seconds: float) -> None:
        """Block until stream *key* has an entry behind *after*, or *seconds* have passed.

        Raises StoreUnavailableError when the link is lost.
        """
        if self._closed:
            return
        connection = self._connection = self._connection or self._make_sync()
        try:
            connection.send_packed_command([_packed(key, after, seconds)], check_health=False)
            read_reply(connection, seconds + _GRACE)
        except BaseException as error:
            connection.disconnect()
            self._fail(error)

    async def wait(self, key: str, after: str, seconds: float) -> None:
        """The same in a coroutine."""
        if self._closed:
            return
        if self._connection is None:
            self._connection, self._loop = self._make_async(), asyncio.get_running_loop()
        connection = self._connection
        try:
            if not connection.is_connected:
                await _connect(connection)
            connection._writer.write(_packed(key, after, seconds))
            reply = await next_reply(connection, ReplyBuffer(), seconds + _GRACE)
            if isinstance(reply, Exception):
                raise reply
        except BaseException as error:
            await connection.disconnect(nowait=True)
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        if not self._closed:
            raise wire.translate(error, self._where) from error

    def close(self) -> None:
        """Disconnect for good: no wait takes time any more."""
        self._closed = True
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; any thread may, and the garbage collector."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._loop is None:
            connection.disconnect()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its sockets with it
            if asyncio._get_running_loop() is self._loop:
                connection._close()
            else:
                self._loop.call_soon_threadsafe(connection._close)


async def _connect(connection: Any) -> None:
    task = asyncio.current_task()
    asked = 0 if task is None else task.cancelling()
    await connection.connect()
    if task is not None and task.cancelling() > asked:
        # asyncio.wait_for, which redis-py uses, loses a cancellation that comes with the result.
        raise asyncio.CancelledError


def _packed(key: str, after: str, seconds: float) -> bytes:
    ms = max(1, int(seconds * 1000))
    return wire.pack(Call(None, "", ("XREAD", "COUNT", 1, "BLOCK", ms, "STREAMS", key, after)))
