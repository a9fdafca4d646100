"""What `runs.subscribe_to_…` return: snapshots of runs, for `for` and for `async for`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from weakref import WeakSet

from trigger_celery.engine.following import Follower
from trigger_celery.engine.subscribing import RunEvent
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.run import Run
from trigger_celery.store.op import refuse_in_loop
from trigger_celery.store.store import Store

T = TypeVar("T")
LoopT = TypeVar("LoopT", bound="_Turns[Any]")


class Subscription(Generic[T]):
    """Follows runs: `for … in subscription` in sync code, `async for` in async code.

    Each loop starts with what is there at that moment. What a loop holds is given back when
    it ends, also by `break`, an exception or a cancellation. `close()`, from anywhere, ends the
    loops under way; so does the end of a `with` or `async with` block.
    """

    def __init__(self, store: Store, follow: Callable[[], Follower[T]], name: str) -> None:
        self._store = store
        self._follow = follow
        self._name = name
        self._closed = False
        self._loops: WeakSet[_Turns[Any]] = WeakSet()

    def __iter__(self) -> Iterator[T]:
        refuse_in_loop(f"for run in {self._name}(…)")
        return self._begun(_Loop(self._store, self._follow()))

    def __aiter__(self) -> AsyncIterator[T]:
        return self._begun(_AsyncLoop(self._store, self._follow()))

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
        return f"<{type(self).__name__} {self._name}{' (closed)' if self._closed else ''}>"


class RunSubscription(Subscription[Run]):
    """Follows runs: `for run in subscription` in sync code, `async for` in async code.

    Each loop starts with the runs as they are at that moment. What a loop holds is given back when
    it ends, also by `break`, an exception or a cancellation. `close()`, from anywhere, ends the
    loops under way; so does the end of a `with` or `async with` block.
    """

    def __init__(
        self,
        store: Store,
        follow: Callable[[], Follower[Run]],
        name: str,
        follow_streams: Callable[[], Follower[RunEvent]] | None = None,
    ) -> None:
        super().__init__(store, follow, name)
        self._follow_streams = follow_streams

    def with_streams(self) -> Subscription[RunEvent]:
        """Follow the run and its streams: dicts, of which `type` says what they are.

        `{"type": "run", "run": run}` for each change, as without streams, and
        `{"type": name, "chunk": chunk, "run": run}` for each chunk, in the order of its stream. The
        final status comes last. Only for one run. Raises InvalidOptionError for several.
        """
        if self._follow_streams is None:
            raise InvalidOptionError(
                f"{self._name}(…).with_streams(): streams are followed run by run, with "
                "runs.subscribe_to_run(id).with_streams()"
            )
        return Subscription(self._store, self._follow_streams, f"{self._name}.with_streams")


class _Turns(Generic[T]):
    """One loop over a subscription: one call at a time uses its follower."""

    def __init__(self, store: Store, follower: Follower[T]) -> None:
        self._store = store
        self._follower = follower
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

    def close(self) -> None:
        """End the loop."""
        self._follower.close()

    def __del__(self) -> None:
        self._follower.rest()


class _Loop(_Turns[T], Iterator[T]):
    """One `for` loop over a subscription."""

    def __next__(self) -> T:
        with self:
            try:
                found = self._store.run_sync(self._follower.next())
            except BaseException:
                self._follower.rest()
                raise
        if found is None:
            self._follower.rest()
            raise StopIteration
        return found


class _AsyncLoop(_Turns[T], AsyncIterator[T]):
    """One `async for` loop over a subscription."""

    def __init__(self, store: Store, follower: Follower[T]) -> None:
        super().__init__(store, follower)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __anext__(self) -> T:
        self._loop = asyncio.get_running_loop()
        with self:
            try:
                found = await self._store.run_async(self._follower.next())
            except BaseException:
                self._follower.rest()
                raise
        if found is None:
            self._follower.rest()
            raise StopAsyncIteration
        return found

    def close(self) -> None:
        """End the loop."""
        loop = self._loop
        if loop is None or loop.is_closed() or asyncio._get_running_loop() is loop:
            self._follower.close()
        else:
            loop.call_soon_threadsafe(self._follower.close)
