"""The signal of a run: tells its code that the run was cancelled."""

from __future__ import annotations

import asyncio
import threading

from trigger_celery.errors import RunCanceledError


class RunSignal:
    """What a task gets as `signal`. Aborted once, from then on for ever.

    A task that takes it gets up to 30 seconds to end in its own way; others are stopped at once.
    """

    __slots__ = ("_event", "_waiters", "reason")

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why it is aborted; None while it is not."""
        self._event = threading.Event()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @property
    def aborted(self) -> bool:
        """Whether the run was cancelled."""
        return self._event.is_set()

    def raise_if_aborted(self) -> None:
        """Raise RunCanceledError when the run was cancelled."""
        if self.aborted:
            raise RunCanceledError(self.reason or "the run was cancelled")

    async def wait(self) -> None:
        """Wait until the run is cancelled, in async code."""
        if self.aborted:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiters.append((loop, future))
        if not self.aborted:
            await future

    def wait_sync(self, timeout: float | None = None) -> bool:
        """Block until the run is cancelled, at most *timeout* seconds; tells whether it was."""
        return self._event.wait(timeout)

    def abort(self, reason: str) -> None:
        """Abort it; for the worker. The first reason stays."""
        if self.reason is None:
            self.reason = reason
        self._event.set()
        for loop, future in self._waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future)
        self._waiters.clear()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
