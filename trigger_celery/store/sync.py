"""The sync runner: a small pool of connections per process, and a loop that drives a flow."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

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
    drive,
)
from trigger_celery.store.payloads import PayloadStore
from trigger_celery.store.reading import read_reply
from trigger_celery.store.resp import CHUNK, INCOMPLETE, ReplyBuffer

T = TypeVar("T")

MAX_IDLE_CONNECTIONS = 32


class SyncRunner:
    """Runs flows in the calling thread. Safe to share between threads and to carry over a fork."""

    def __init__(
        self,
        make: Callable[[], Any],
        where: str,
        retry_for: float,
        notifier: Callable[[], Any],
        payloads: PayloadStore | None = None,
    ) -> None:
        self._make = make
        self._where = where
        self._retry_for = retry_for
        self._notifier = notifier
        self._payloads = payloads
        self._idle: deque[Any] = deque()
        self._inherited: list[deque[Any]] = []
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def run(self, flow: Flow[T]) -> T:
        """Drive the flow to its end and return its result."""
        return drive(flow, self._perform)

    def _perform(self, step: Step) -> Any:
        if type(step) is Call:
            reply = self.send((step,))[0]
            return step.decode(reply) if step.decode is not None else reply
        if isinstance(step, list):
            return wire.decode_replies(step, self.send(step))
        if isinstance(step, Sleep):
            time.sleep(step.seconds)
            return None
        if isinstance(step, Listen):
            return self._notifier().listen(step.topic)
        if isinstance(step, Await):
            return self._notifier().wait(step.topic, step.seconds)
        if isinstance(step, Perform):
            return step.synchronously()
        if isinstance(step, AskPayloads):
            return self._payloads
        raise TypeError(f"a flow yielded {step!r}")

    def send(self, calls: Sequence[Call]) -> list[Any]:
        """Send calls as one pipeline and return their replies.

        A lost link or a server that is loading is retried with the same bytes until
        `retry_for` seconds have passed; then StoreUnavailableError.
        """
        deadline = 0.0
        pause = 0.02
        while True:
            try:
                return self._exchange(calls)
            except Exception as error:
                if not (wire.is_lost(error) or wire.is_transient(error)):
                    raise wire.translate(error, self._where) from error
                now = time.monotonic()
                deadline = deadline or now + self._retry_for
                if now + pause > deadline:
                    raise wire.translate(error, self._where) from error
                self.close()  # what broke one link has most likely broken those that lie idle
            time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - jitter
            pause = min(pause * 2, 0.5)

    def _exchange(self, calls: Sequence[Call]) -> list[Any]:
        connection = self._take()
        try:
            connection.send_packed_command(wire.pieces(calls), check_health=False)
            replies = self._read(connection, len(calls))
        except BaseException:
            # Half a conversation: the next reply on this link could be somebody else's.
            connection.disconnect()
            raise
        for index, reply in enumerate(replies):
            if wire.is_noscript(reply):
                # What stands behind it ran too early: it runs once more, in order, which is harmless.
                replies[index:] = self._by_text(connection, calls[index:])
                break
        self._give_back(connection)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    @staticmethod
    def _read(connection: Any, count: int) -> list[Any]:
        """Read *count* replies; error replies as exceptions, since those behind are to be read."""
        buffer = ReplyBuffer()
        replies: list[Any] = []
        while len(replies) < count:
            reply = buffer.next()
            if reply is INCOMPLETE:
                chunk = connection._sock.recv(CHUNK)
                if not chunk:
                    raise ConnectionError("connection closed by the server")
                buffer.feed(chunk)
                continue
            if isinstance(reply, Exception) and wire.is_lost(reply):
                raise reply
            replies.append(reply)
        return replies

    def _by_text(self, connection: Any, calls: Sequence[Call]) -> list[Any]:
        try:
            connection.send_packed_command(
                [wire.pack(call, by_text=True) for call in calls], check_health=False
            )
            return self._read(connection, len(calls))
        except BaseException:
            connection.disconnect()
            raise

    def _take(self) -> Any:
        if self._pid != os.getpid():
            # Inherited sockets belong to the parent. They are not spoken on, and not even closed:
            # Celery closes its children's descriptors by number, so theirs may be another's by now.
            with self._lock:
                if self._pid != os.getpid():
                    self._inherited.append(self._idle)
                    self._idle = deque()
                    self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()

    def _give_back(self, connection: Any) -> None:
        if len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.disconnect()

    def close(self) -> None:
        """Close the idle connections of this process."""
        while self._pid == os.getpid():
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            connection.disconnect()


class BlockingReader:
    """One connection for blocking reads of a list, for a thread of its own."""

    def __init__(self, make: Callable[[], Any], where: str) -> None:
        self._make = make
        self._where = where
        self._connection: Any = None

    def pop(self, key: str, seconds: float) -> bytes | None:
        """Take the head of list *key*, waiting up to *seconds*; None if there was nothing.

        Raises StoreUnavailableError when the link is lost.
        """
        if self._connection is None:
            self._connection = self._make()
        try:
            call = Call(None, "", ("BLPOP", key, max(seconds, 0.001)))
            self._connection.send_packed_command([wire.pack(call)], check_health=False)
            reply = read_reply(self._connection, seconds + 5.0)
        except BaseException as error:
            self._connection.disconnect()
            if isinstance(error, Exception):
                raise StoreUnavailableError(
                    f"the server at {self._where} cannot serve now: {error!r}"
                ) from error
            raise
        return None if reply is None else bytes(reply[1])

    def close(self) -> None:
        """Close the connection; a read under way in another thread ends with an error."""
        if self._connection is not None:
            self._connection.disconnect()
