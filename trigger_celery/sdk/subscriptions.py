"""What `runs.subscribe_to_…` return: snapshots of runs, for `for` and for `async for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakSet

from trigger_celery.engine.subscribing import Follower
from trigger_celery.errors import SyncInAsyncError
from trigger_celery.model.run import Run
from trigger_celery.store.store import Store

LoopT = TypeVar("LoopT", "_Runs", "_AsyncRuns")


class RunSubscription:
    """Follows runs: `for run in subscription` in sync code, `async for` in async code.

    Each loop starts with the runs as they are at that moment. What a loop holds is given back when
    it ends, also by `break`, an exception or a cancellation. `close()`, from anywhere, ends the
    loops under way; so does the end of a `with` or `async with` block.
    """

    def __init__(self, store: Store, follow: Callable[[], Follower], name: str) -> None:
        self._store = store
        self._follow = follow
        self._name = name
        self._closed = False
        self._loops: WeakSet[_Runs | _AsyncRuns] = WeakSet()

    def __iter__(self) -> Iterator[Run]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._begun(_Runs(self._store, self._follow()))
        raise SyncInAsyncError(
            f"`for run in {self._name}(…)` would block the running event loop: write `async for`"
        )

    def __aiter__(self) -> AsyncIterator[Run]:
        return self._begun(_AsyncRuns(self._store, self._follow()))

    def _begun(self, loop: LoopT) -> LoopT:
        self._loops.add(loop)
        if self._closed:
            loop.close()
        return loop

    def close(self) -> None:
        """End every loop over this subscription, and keep new ones from starting."""
        self._closed = True
        for loop in list(self._loops):
            loop.close()

    async def aclose(self) -> None:
        """The same, for async code that expects it so."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RunSubscription {self._name}{' (closed)' if self._closed else ''}>"


class _Turns:
    """Lets one call at a time use a follower."""

    def __init__(self) -> None:
        self._taken = False

    def __enter__(self) -> None:
        if self._taken:
            raise RuntimeError(
                "this loop over a subscription is already waiting for its next run: start another "
                "loop over the subscription instead"
            )
        self._taken = True

    def __exit__(self, *error: object) -> None:
        self._taken = False


class _Runs(Iterator[Run]):
    """One `for` loop over a subscription."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._follower = follower
        self._turns = _Turns()

    def __next__(self) -> Run:
        with self._turns:
            try:
                run = self._store.run_sync(self._follower.next())
            except BaseException:
                self._follower.rest()
                raise
        if run is None:
            self._follower.rest()
            raise StopIteration
        return run

    def close(self) -> None:
        """End the loop."""
        self._follower.close()

    def __del__(self) -> None:
        self._follower.rest()


class _AsyncRuns(AsyncIterator[Run]):
    """One `async for` loop over a subscription."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._follower = follower
        self._turns = _Turns()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __anext__(self) -> Run:
        self._loop = asyncio.get_running_loop()
        with self._turns:
            try:
                run = await self._store.run_async(self._follower.next())
            except BaseException:
                self._follower.rest()
                raise
        if run is None:
            self._follower.rest()
            raise StopAsyncIteration
        return run

    def close(self) -> None:
        """End the loop."""
        loop = self._loop
        if loop is None or loop.is_closed() or asyncio._get_running_loop() is loop:
            self._follower.close()
        else:
            loop.call_soon_threadsafe(self._follower.close)

    def __del__(self) -> None:
        self._follower.rest()
