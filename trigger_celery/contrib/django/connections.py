"""Closes old connections of the database around runs, as Django does around requests.

Connections belong to threads. A `def` task has its thread; the calls by which an `async def` task
reaches the database (`sync_to_async`, `async for` over a queryset, `aget`) are made in one of a few
threads, always the same for an attempt.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import close_old_connections

from trigger_celery.contrib.django.configuration import DEFAULT_THREADS
from trigger_celery.worker.daemon_threads import DaemonThreads

logger = logging.getLogger("trigger_celery.django")


class ConnectionThread(DaemonThreads):
    """A thread in which async code reaches the database; there once somebody does."""

    def __init__(self, number: int) -> None:
        super().__init__(1, f"trigger-django-{number}")
        self.attempts = 0
        """How many have it now."""
        self._used = False
        self._late = False
        """Its connections may have become old since somebody looked."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Execute the call in the thread, after those before; after a while without, see to it."""
        if self._late:
            self._late = False
            super().submit(_close)
        self._used = True
        return super().submit(fn, *args, **kwargs)

    def tidy(self) -> None:
        """Close its old connections, now and before its next use; does not wait for it."""
        self._late = True
        if self._used:
            self._used = False
            super().submit(_close)


class Connections:
    """What surrounds runs in a Django project."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pid = 0
        self._threads: list[ConnectionThread] = []
        self._lock = threading.Lock()

    def resize(self, most: int) -> None:
        """Use up to *most* threads for async code from now on."""
        with self._lock:
            self._most = most
            self._pid = 0

    @contextmanager
    def around(self) -> Iterator[None]:
        """Close old connections before and after, and give async code its thread."""
        in_thread = not _on_loop()
        thread = self._take()
        thread.tidy()
        inside = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[inside] = thread
        token = SyncToAsync.thread_sensitive_context.set(inside)
        if in_thread:
            _close()
        try:
            yield
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            if in_thread:
                _close()
            thread.tidy()
            with self._lock:
                thread.attempts -= 1

    def rest(self) -> None:
        """Close old connections: none is held through a wait, and none that died in it is used."""
        if not _on_loop():
            _close()
        inside = SyncToAsync.thread_sensitive_context.get(None)
        thread = None if inside is None else SyncToAsync.context_to_thread_executor.get(inside)
        if isinstance(thread, ConnectionThread):
            thread.tidy()

    def _take(self) -> ConnectionThread:
        """Return the thread that the fewest attempts have."""
        with self._lock:
            if self._pid != os.getpid():  # threads do not come along into a forked process
                self._threads = [ConnectionThread(number) for number in range(self._most)]
                self._pid = os.getpid()
            thread = min(self._threads, key=lambda one: one.attempts)
            thread.attempts += 1
            return thread


CONNECTIONS = Connections(DEFAULT_THREADS)
"""Those of this process."""


def _on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _close() -> None:
    try:
        close_old_connections()
    except Exception:
        logger.exception(
            "an old connection of the database could not be closed",
            extra={"action": "connection_not_closed"},
        )
