"""One wait of a run, from before the server is asked until it is over."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from trigger_celery.bridge.durable import Scope
from trigger_celery.bridge.surroundings import rest
from trigger_celery.model.wait import WaitInfo
from trigger_celery.worker.grounds import run_now

if TYPE_CHECKING:
    from trigger_celery.worker.parking import RunParking


class Ticket:
    """One wait of a run."""

    __slots__ = ("_event", "_future", "_parking", "fired", "info", "park", "scope", "target")

    def __init__(self, parking: RunParking, target: str, scope: Scope, info: WaitInfo) -> None:
        self._parking = parking
        self.target = target
        self.scope = scope
        self.info = info
        self.park = False
        self.fired = False
        self._future: asyncio.Future[None] | None = None
        self._event: threading.Event | None = None

    def fire(self) -> None:
        """The target is done and the run may go on. On the loop's thread for coroutines."""
        self.fired = True
        self._parking.moving.add(self)
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
        if self._event is not None:
            self._event.set()

    def free_thread(self) -> None:
        """Let a thread that waits here look again."""
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Wait without holding a slot of the pool once nothing else of the run is to do."""
        self.park = False
        hooks = self._parking.hooks_of(self)
        try:
            if hooks is not None:
                await hooks.wait(self.info)
            rest()
            if not self.fired:
                self._future = asyncio.get_running_loop().create_future()
                self._rest()
                await self._future
        except BaseException:
            self.drop()
            await self._parking.give_up(self.target)
            raise
        self.drop()
        self._parking.check()
        rest()
        if hooks is not None:
            await hooks.resume(self.info)

    def wait_sync(self) -> None:
        """Block the thread for a while; then give the memory up by RunEvictedError."""
        hooks = self._parking.hooks_of(self)
        event = self._event = threading.Event()
        try:
            if hooks is not None:
                run_now(hooks.wait(self.info))
            rest()
            if not self.fired:
                self._rest()
                self._parking.hold(self, event)
        finally:
            self.drop()
        self._parking.check()
        rest()
        if hooks is not None:
            run_now(hooks.resume(self.info))

    def _rest(self) -> None:
        """The server knows of the wait, and the code does nothing before it is over."""
        self._parking.moving.discard(self)
        self._parking.reconsider()

    async def abandon(self) -> None:
        """The call that began the wait broke off; it may have counted all the same."""
        self.park = False
        self.drop()
        await self._parking.give_up(self.target)

    def abandon_sync(self) -> None:
        """The same for sync code: blocks until the server says that the run has its slot."""
        self.drop()
        self._parking.give_up_sync(self.target)

    def drop(self) -> None:
        """Nothing more is waited for here."""
        self._parking.forget(self)
