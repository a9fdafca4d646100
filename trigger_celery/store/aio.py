"""The asyncio runner: one multiplexed connection per event loop.

All coroutines of a loop share one connection. Calls made in the same loop turn leave in one
write, replies come back in order. So a thousand runs need one socket, and a cancelled caller
never leaves a reply for somebody else to read.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from trigger_celery.errors import StoreUnavailableError
from trigger_celery.store import wire
from trigger_celery.store.op import (
    AskPayloads,
    Await,
    Call,
    Flow,
    Listen,
    Perform,
    Sleep,
    Step,
    drive_async,
)
from trigger_celery.store.payloads import PayloadStore
from trigger_celery.store.resp import CHUNK, INCOMPLETE, ReplyBuffer

T = TypeVar("T")


async def next_reply(connection: Any, replies: ReplyBuffer, seconds: float | None) -> Any:
    """Return the next reply, an error reply as an exception."""
    reply = replies.next()
    while reply is INCOMPLETE:
        async with asyncio.timeout(seconds):
            chunk = await connection._reader.read(CHUNK)
        if not chunk:
            raise ConnectionError("connection closed by the server")
        replies.feed(chunk)
        reply = replies.next()
    return reply


class Channel:
    """The shared connection of one loop."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._connection: Any = None
        self._replies = ReplyBuffer()
        self._outgoing: list[bytes] = []
        self._unsent: list[asyncio.Future[Any]] = []
        self._awaiting: deque[asyncio.Future[Any]] = deque()
        self._pump: asyncio.Task[None] | None = None

    def request(self, data: bytes) -> asyncio.Future[Any]:
        """Queue packed bytes; the future gets the reply, or an error reply as its result."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._outgoing.append(data)
        self._unsent.append(future)
        if self._pump is None:
            # In a context of its own: it serves everybody, not the run that happened to ask first.
            self._pump = self._loop.create_task(self._exchange(), context=Context())
            self._flush()  # on an idle link at once, without waiting for the task
        elif len(self._outgoing) == 1:
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        connection = self._connection
        if not self._outgoing or connection is None or not connection.is_connected:
            return
        data, self._outgoing = b"".join(self._outgoing), []
        self._awaiting.extend(self._unsent)
        self._unsent = []
        connection._writer.write(data)

    async def _exchange(self) -> None:
        """Send and read until nothing is outstanding."""
        try:
            if self._connection is None:
                self._connection = self._make()
            if not self._connection.is_connected:
                self._replies = ReplyBuffer()
                await self._connection.connect()
            self._flush()
            while self._awaiting:
                reply = await self._read()
                future = self._awaiting.popleft()
                if not future.done():
                    future.set_result(reply)
                if not self._awaiting and self._outgoing:
                    self._flush()
            self._pump = None
        except BaseException as error:
            self._pump = None
            await self._fail(error)
            if not isinstance(error, Exception):
                raise

    async def _read(self) -> Any:
        seconds = self._connection.socket_timeout
        reply = await next_reply(self._connection, self._replies, seconds)
        if isinstance(reply, Exception) and wire.is_lost(reply):
            raise reply
        return reply

    async def _fail(self, error: BaseException) -> None:
        waiting = [*self._awaiting, *self._unsent]
        self._awaiting.clear()
        self._unsent, self._outgoing = [], []
        connection, self._connection = self._connection, None
        for future in waiting:
            if not future.done():
                lost = error if isinstance(error, Exception) else None
                future.set_exception(lost or redis_errors.ConnectionError(repr(error)))
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Close the connection; calls under way get a ConnectionError."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._fail(redis_errors.ConnectionError("closed"))


class AsyncRunner:
    """Runs flows on the running event loop."""

    def __init__(
        self,
        make: Callable[[], Any],
        where: str,
        retry_for: float,
        notifier: Callable[[], Any],
        payloads: PayloadStore | None = None,
    ) -> None:
        self._channel = Channel(make)
        self._where = where
        self._retry_for = retry_for
        self._notifier = notifier
        self._payloads = payloads

    def run(self, flow: Flow[T]) -> Coroutine[Any, Any, T]:
        """Drive the flow to its end and return its result."""
        return drive_async(flow, self._perform)

    async def _perform(self, step: Step) -> Any:
        if type(step) is Call:
            reply = (await self.send((step,)))[0]
            return step.decode(reply) if step.decode is not None else reply
        if isinstance(step, list):
            return wire.decode_replies(step, await self.send(step))
        if isinstance(step, Sleep):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Listen):
            return await self._notifier().listen(step.topic)
        if isinstance(step, Await):
            return await self._notifier().wait(step.topic, step.seconds)
        if isinstance(step, Perform):
            return await step.asynchronously()
        if isinstance(step, AskPayloads):
            return self._payloads
        raise TypeError(f"a flow yielded {step!r}")

    async def send(self, calls: Sequence[Call]) -> list[Any]:
        """Send calls as one pipeline and return their replies; retries as the sync runner does."""
        deadline = 0.0
        pause = 0.02
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await self._send_once(calls)
            except Exception as error:
                if not (wire.is_lost(error) or wire.is_transient(error)):
                    raise wire.translate(error, self._where) from error
                now = loop.time()
                deadline = deadline or now + self._retry_for
                if now + pause > deadline:
                    raise wire.translate(error, self._where) from error
            await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter
            pause = min(pause * 2, 0.5)

    async def _send_once(self, calls: Sequence[Call]) -> list[Any]:
        replies = await self._exchange([wire.pack(call) for call in calls])
        for index, reply in enumerate(replies):
            if wire.is_noscript(reply):
                # What stands behind it ran too early: it runs once more, in order, which is harmless.
                texts = [wire.pack(call, by_text=True) for call in calls[index:]]
                replies[index:] = await self._exchange(texts)
                break
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _exchange(self, packed: Sequence[bytes]) -> list[Any]:
        futures = [self._channel.request(data) for data in packed]
        if len(futures) == 1:
            return [await futures[0]]
        # Every one of them is looked at, so that none fails unseen.
        return list(await asyncio.gather(*futures, return_exceptions=True))

    async def close(self) -> None:
        """Close the connection of this loop."""
        await self._channel.close()


class AsyncBlockingReader:
    """One connection for blocking reads of a list, for one coroutine."""

    def __init__(self, make: Callable[[], Any], where: str) -> None:
        self._make = make
        self._where = where
        self._connection: Any = None

    async def pop(self, key: str, seconds: float, most: int = 200) -> list[bytes]:
        """Take up to *most* items from the head of list *key*, waiting up to *seconds* for one.

        Raises StoreUnavailableError when the link is lost.
        """
        if self._connection is None:
            self._connection = self._make()
        try:
            calls = (("BLPOP", key, max(seconds, 0.001)), ("LPOP", key, most))
            packed = b"".join(wire.pack(Call(None, "", args)) for args in calls)
            await self._connection.send_packed_command(packed, check_health=False)
            replies = ReplyBuffer()
            first = await next_reply(self._connection, replies, seconds + 5.0)
            more = await next_reply(self._connection, replies, seconds + 5.0)
            for reply in (first, more):
                if isinstance(reply, Exception):
                    raise reply
        except BaseException as error:
            await self._connection.disconnect(nowait=True)
            if isinstance(error, Exception):
                raise StoreUnavailableError(
                    f"the server at {self._where} cannot serve now: {error!r}"
                ) from error
            raise
        return ([] if first is None else [bytes(first[1])]) + [bytes(item) for item in more or ()]

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
