"""`Store`: the one object that owns the connections of a bound app and runs its operations."""

from __future__ import annotations

import asyncio
import os
from typing import Any, TypeVar

from trigger_celery.errors import SyncInAsyncError
from trigger_celery.store.aio import AsyncBlockingReader, AsyncRunner
from trigger_celery.store.checks import require_fit
from trigger_celery.store.connection import async_factory, parse_address, sync_factory
from trigger_celery.store.green_loop import GreenLoop
from trigger_celery.store.notify import AsyncNotifier, SyncNotifier
from trigger_celery.store.op import Call, Flow
from trigger_celery.store.payloads import PayloadStore
from trigger_celery.store.stream_reader import StreamReader
from trigger_celery.store.sync import BlockingReader, SyncRunner

T = TypeVar("T")


class Store:
    """Runs flows against one server and one scope (`{tc:<project>:<env>}`).

    Cheap to make: the first call connects. When *checked*, it also asks whether the server is fit
    to hold runs: one that evicts keys or refuses scripts raises before anything is stored. Sync
    connections belong to the process, asyncio connections to the running loop; neither survives
    a fork.
    """

    def __init__(
        self,
        url: str,
        scope: str,
        *,
        timeout: float = 5.0,
        retry_for: float = 5.0,
        checked: bool = False,
        payloads: PayloadStore | None = None,
    ) -> None:
        self.address = parse_address(url)
        self.scope = scope
        self._timeout = timeout
        self._retry_for = retry_for
        self._payloads = payloads
        self._make_sync = sync_factory(self.address, timeout)
        self._notifier = SyncNotifier(sync_factory(self.address, None), scope)
        self._sync = SyncRunner(
            self._make_sync, self.address.shown, retry_for, lambda: self._notifier, payloads
        )
        self._loops: dict[asyncio.AbstractEventLoop, tuple[AsyncRunner, list[AsyncNotifier]]] = {}
        self._inherited: list[Any] = []
        self._pid = os.getpid()
        self._fit = not checked

    def run_sync(self, flow: Flow[T]) -> T:
        """Run a flow and block. Raises SyncInAsyncError inside a running event loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            pass  # and not in here, or every error of the flow would be shown with this one
        else:
            if not isinstance(loop, GreenLoop) or loop.is_here():
                raise SyncInAsyncError(
                    ".sync() would block the running event loop. In async code write `await …` "
                    "instead of `….sync()`; from a sync function called by async code, run it in "
                    "a thread (asyncio.to_thread)."
                )
        return self.run_blocking(flow)

    def run_blocking(self, flow: Flow[T]) -> T:
        """Run a flow and block, even inside a running event loop."""
        return self._sync.run(flow if self._fit else self._after_check(flow))

    def run_unchecked(self, flow: Flow[T]) -> T:
        """Run a flow and block, without asking first whether the server is fit to hold runs."""
        return self._sync.run(flow)

    async def run_async(self, flow: Flow[T]) -> T:
        """Run a flow on the running event loop."""
        return await self.runner().run(flow if self._fit else self._after_check(flow))

    def _after_check(self, flow: Flow[T]) -> Flow[T]:
        """Ask whether the server is fit before the first step; the flow gets the error if not."""
        try:
            step = next(flow)
            try:
                yield from require_fit(self)
                self._fit = True
            except Exception as error:
                step = flow.throw(error)
            while True:
                try:
                    reply = yield step
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def runner(self) -> AsyncRunner:
        """Return the asyncio runner of the running loop."""
        return self._for_loop()[0]

    def _for_loop(self) -> tuple[AsyncRunner, list[AsyncNotifier]]:
        if self._pid != os.getpid():
            # Closing an inherited connection would take it out of the selector that the parent's
            # loop and its copy here share: the parent would not hear on it any more.
            self._inherited.append(self._loops)
            self._loops = {}
            self._pid = os.getpid()
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            for known in list(self._loops):
                if known.is_closed():  # every asyncio.run has a loop of its own
                    self._loops.pop(known, None)
            notifiers: list[AsyncNotifier] = []

            def notifier() -> AsyncNotifier:
                if not notifiers:
                    make = async_factory(self.address, None)
                    notifiers.append(AsyncNotifier(make, self.scope))
                return notifiers[0]

            runner = AsyncRunner(
                async_factory(self.address, self._timeout),
                self.address.shown,
                self._retry_for,
                notifier,
                self._payloads,
            )
            found = self._loops[loop] = (runner, notifiers)
        return found

    def send(self, *calls: Call) -> list[Any]:
        """Send calls as one pipeline from sync code and return raw replies."""
        return self._sync.send(calls)

    def blocking_reader(self) -> BlockingReader:
        """Return a connection for blocking list reads in a thread."""
        return BlockingReader(self._make_sync, self.address.shown)

    def async_blocking_reader(self) -> AsyncBlockingReader:
        """Return a connection for blocking list reads in a coroutine."""
        return AsyncBlockingReader(async_factory(self.address, self._timeout), self.address.shown)

    def stream_reader(self) -> StreamReader:
        """Return a connection that waits for the entries of a stream."""
        return StreamReader(
            self._make_sync, async_factory(self.address, self._timeout), self.address.shown
        )

    def close(self) -> None:
        """Close the sync connections of this process. The store stays usable."""
        self._sync.close()
        self._notifier.close()

    def close_of_resting_loops(self) -> None:
        """Close the asyncio connections of loops that are not running at the moment; for tests."""
        for loop in list(self._loops):
            if not (loop.is_running() or loop.is_closed()):
                loop.run_until_complete(self.aclose())

    async def aclose(self) -> None:
        """Close the asyncio connections of the running loop. The store stays usable."""
        found = self._loops.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[0].close()
            for notifier in found[1]:
                await notifier.close()
