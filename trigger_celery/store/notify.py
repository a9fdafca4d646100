"""Wake-ups: one subscription per process (sync) or per event loop (asyncio), fanned out by topic.

Announcements are published by scripts on the channel of the process that watches. They may be
lost (pub/sub is fire and forget), so every wait has an end and the waiter reads the record again.
Subscribe first, then read, then wait: in that order nothing falls in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any

from trigger_celery.model.ids import op_id
from trigger_celery.store import wire
from trigger_celery.store.op import Call

_PAUSE = 0.2


class Topic:
    """One thing somebody waits for. Listening ends when the object is dropped."""

    __slots__ = ("__weakref__", "channel", "event", "name")

    def __init__(self, name: str, channel: str, event: Any) -> None:
        self.name = name
        self.channel = channel
        self.event = event


def _packed(*args: str) -> bytes:
    return wire.pack(Call(None, "", args))


class SyncNotifier:
    """Listens in one daemon thread, started by the first wait of the process."""

    def __init__(self, make: Callable[[], Any], scope: str) -> None:
        self._make = make
        self._scope = scope
        self._topics: weakref.WeakValueDictionary[str, Topic] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        self._pid = 0
        self._channel = ""
        self._ready = threading.Event()
        self._closed = threading.Event()
        self._connection: Any = None

    def listen(self, name: str) -> Topic:
        """Return the topic, subscribed: what is announced from now on sets its event."""
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._topics = weakref.WeakValueDictionary()
                self._channel = f"{self._scope}:news:{op_id()}"
                self._ready, self._closed = threading.Event(), threading.Event()
                threading.Thread(
                    target=self._read, args=(self._closed,), name="trigger-news", daemon=True
                ).start()
            topic = self._topics.get(name)
            if topic is None:
                topic = self._topics[name] = Topic(name, self._channel, threading.Event())
        self._ready.wait(2.0)
        return topic

    def wait(self, topic: Topic, seconds: float) -> None:
        """Block until the topic is announced or *seconds* have passed."""
        topic.event.wait(seconds)
        topic.event.clear()

    def close(self) -> None:
        """End the listening thread; the next wait starts another."""
        with self._lock:
            self._closed.set()
            if self._pid == os.getpid() and self._connection is not None:
                self._connection.disconnect()
            self._pid = 0

    def _read(self, closed: threading.Event) -> None:
        while not closed.is_set():
            self._connection = connection = self._make()
            try:
                connection.send_packed_command(
                    [_packed("SUBSCRIBE", self._channel)], check_health=False
                )
                while not closed.is_set():
                    message = connection.read_response(disable_decoding=True, timeout=None)
                    self._ready.set()
                    self._announce(message)
            except Exception:
                # Whatever was announced meanwhile is lost: let every waiter look for itself.
                for topic in list(self._topics.values()):
                    topic.event.set()
                closed.wait(_PAUSE)
            finally:
                connection.disconnect()

    def _announce(self, message: Any) -> None:
        if isinstance(message, list) and message[0] == b"message":
            topic = self._topics.get(message[2].decode())
            if topic is not None:
                topic.event.set()


class AsyncNotifier:
    """Listens in one task of the event loop, started by the first wait."""

    def __init__(self, make: Callable[[], Any], scope: str) -> None:
        self._make = make
        self._topics: weakref.WeakValueDictionary[str, Topic] = weakref.WeakValueDictionary()
        self._channel = f"{scope}:news:{op_id()}"
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def listen(self, name: str) -> Topic:
        """Return the topic, subscribed: what is announced from now on sets its event."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._read(), context=Context())
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, self._channel, asyncio.Event())
        if not self._ready.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._ready.wait()
        return topic

    async def wait(self, topic: Topic, seconds: float) -> None:
        """Wait until the topic is announced or *seconds* have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await topic.event.wait()
        topic.event.clear()

    async def _read(self) -> None:
        while True:
            connection = self._make()
            try:
                await connection.send_packed_command(
                    _packed("SUBSCRIBE", self._channel), check_health=False
                )
                while True:
                    message = await connection.read_response(disable_decoding=True)
                    self._ready.set()
                    if isinstance(message, list) and message[0] == b"message":
                        topic = self._topics.get(message[2].decode())
                        if topic is not None:
                            topic.event.set()
            except asyncio.CancelledError:
                await connection.disconnect(nowait=True)
                raise
            except Exception:
                await connection.disconnect(nowait=True)
                for topic in list(self._topics.values()):
                    topic.event.set()
                await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """End the listening task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
