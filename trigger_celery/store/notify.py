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
from trigger_celery.store.reading import read_reply

_PAUSE = 0.2


class News:
    """The announcements of one name, for all who listen to it."""

    __slots__ = ("__weakref__", "event", "make")

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.event = make()

    def announce(self) -> None:
        """Wake everybody who waits, or is about to with what he has read so far."""
        event, self.event = self.event, self.make()
        event.set()


class Topic:
    """One thing somebody waits for. Listening ends when the object is dropped.

    Each listener has one of his own: what another has heard is still news to him.
    """

    __slots__ = ("channel", "event", "name", "news")

    def __init__(self, name: str, channel: str, news: News) -> None:
        self.name = name
        self.channel = channel
        self.news = news
        self.event = news.event


def _packed(*args: str) -> bytes:
    return wire.pack(Call(None, "", args))


class SyncNotifier:
    """Listens in one daemon thread, started by the first wait of the process."""

    def __init__(self, make: Callable[[], Any], scope: str) -> None:
        self._make = make
        self._scope = scope
        self._news: weakref.WeakValueDictionary[str, News] = weakref.WeakValueDictionary()
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
                self._news = weakref.WeakValueDictionary()
                self._channel = f"{self._scope}:news:{op_id()}"
                self._ready, self._closed = threading.Event(), threading.Event()
                threading.Thread(
                    target=self._read, args=(self._closed,), name="trigger-news", daemon=True
                ).start()
            news = self._news.get(name)
            if news is None:
                news = self._news[name] = News(threading.Event)
            topic = Topic(name, self._channel, news)
        self._ready.wait(2.0)
        return topic

    def wait(self, topic: Topic, seconds: float) -> None:
        """Block until the topic is announced or *seconds* have passed."""
        topic.event.wait(seconds)
        topic.event = topic.news.event

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
                    message = read_reply(connection, None)
                    self._ready.set()
                    self._announce(message)
            except Exception:
                # Whatever was announced meanwhile is lost: let every waiter look for itself.
                for news in list(self._news.values()):
                    news.announce()
                closed.wait(_PAUSE)
            finally:
                connection.disconnect()

    def _announce(self, message: Any) -> None:
        if isinstance(message, list) and message[0] == b"message":
            news = self._news.get(message[2].decode())
            if news is not None:
                news.announce()


class AsyncNotifier:
    """Listens in one task of the event loop, started by the first wait."""

    def __init__(self, make: Callable[[], Any], scope: str) -> None:
        self._make = make
        self._news: weakref.WeakValueDictionary[str, News] = weakref.WeakValueDictionary()
        self._channel = f"{scope}:news:{op_id()}"
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def listen(self, name: str) -> Topic:
        """Return the topic, subscribed: what is announced from now on sets its event."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._read(), context=Context())
        news = self._news.get(name)
        if news is None:
            news = self._news[name] = News(asyncio.Event)
        topic = Topic(name, self._channel, news)
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
        topic.event = topic.news.event

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
                        news = self._news.get(message[2].decode())
                        if news is not None:
                            news.announce()
            except asyncio.CancelledError:
                await connection.disconnect(nowait=True)
                raise
            except Exception:
                await connection.disconnect(nowait=True)
                for news in list(self._news.values()):
                    news.announce()
                await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """End the listening task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
