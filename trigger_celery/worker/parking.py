"""How waiting runs are kept: in memory on the asyncio pool, for a while elsewhere.

A ticket is made before the server is asked, so that news of a target never falls in between.
Messages of the mailbox: `done <run> <target>` while the run executes; `resume <run> <target>` when
a waiting run has its slot back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol

from trigger_celery.bridge.durable import Durable, Scope
from trigger_celery.engine import waiting
from trigger_celery.errors import RunEvictedError, RunLeaseLostError, StoreError
from trigger_celery.model.wait import WaitInfo
from trigger_celery.store.store import Store
from trigger_celery.worker.ticket import Ticket

FIRST_LOOK, LAST_LOOK = 0.02, 0.5
"""Seconds between looks whether others need the process of a waiting run: they double."""
LOOK_AGAIN = 0.1
"""Seconds between looks whether a run with several tasks has nothing left to do but wait."""
HOOKLESS_WAIT = 5.0
"""A wait for time up to so many seconds calls no hooks."""


class Keeper(Protocol):
    """Who keeps the run in memory, as far as parking needs it."""

    def expects(self, parking: RunParking) -> None:
        """The run begins a wait: its mailbox will have news."""
        ...

    def parked(self, parking: RunParking) -> None:
        """The run has nothing to do but wait, or goes on. May be called from any thread."""
        ...


class WaitHooks(Protocol):
    """What a task wants to be told around waits."""

    async def wait(self, info: WaitInfo) -> None:
        """Before the run waits."""
        ...

    async def resume(self, info: WaitInfo) -> None:
        """After it."""
        ...


class RunParking:
    """The waits of one attempt."""

    __slots__ = (
        "_asked", "_back", "_began", "_given_up", "_hold_seconds", "_keeper", "_looks", "_rested_at", "_store", "_tickets", "durable", "gave_way_at", "hooks",
        "in_thread", "loop", "moving", "parked", "post", "ready", "stopped",
    )  # fmt: skip

    def __init__(
        self,
        durable: Durable,
        store: Store,
        keeper: Keeper,
        *,
        post: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
        in_thread: bool = False,
        hold_seconds: float = 5.0,
        hooks: WaitHooks | None = None,
    ) -> None:
        self.durable = durable
        self.post = post
        self.loop = loop
        self.in_thread = in_thread
        """The task's function is sync: it waits in its thread."""
        self.hooks = hooks
        self.parked = False
        self.gave_way_at = self._began = time.monotonic()
        self._rested_at = 0.0
        self.stopped: RunLeaseLostError | None = None
        self.ready: list[str] = []
        self.moving: set[Ticket] = set()
        """Waits that the server has not answered yet, and those that are over: their code goes on."""
        self._asked = False
        self._back: asyncio.Future[None] | None = None
        self._given_up: list[str] | None = None
        self._looks = False
        self._hold_seconds = hold_seconds
        self._keeper = keeper
        self._store = store
        self._tickets: dict[str, list[Ticket]] = {}

    def begin(self, target: str, scope: Scope, info: WaitInfo) -> Ticket:
        """Announce a wait. The only one of a run parks it in the same call."""
        self._keeper.expects(self)
        if self._given_up and target in self._given_up:
            self._given_up = [one for one in self._given_up if one != target]
        ticket = Ticket(self, target, scope, info)
        scope.waits += 1
        self._tickets.setdefault(target, []).append(ticket)
        self.moving.add(ticket)
        if len(self._tickets) == 1 and self.hooks is None and self.durable.only_waits():
            ticket.park = True
            self._set_parked(True)
        return ticket

    def hooks_of(self, ticket: Ticket) -> WaitHooks | None:
        """Return the hooks that this wait calls, if any."""
        info = ticket.info
        date = info.date if info.type == "duration" else None
        if date is not None and date.timestamp() - time.time() <= HOOKLESS_WAIT:
            return None
        return self.hooks

    def active_seconds(self) -> float:
        """Return for how long the attempt has been active: its waits do not count."""
        return (self._rested_at if self.parked else time.monotonic()) - self._began

    def check(self) -> None:
        """Raise what stops the run, if anything does."""
        if self.stopped is not None:
            raise self.stopped

    def forget(self, ticket: Ticket) -> None:
        """A wait is over or was not needed."""
        self.moving.discard(ticket)
        found = self._tickets.get(ticket.target)
        if found is None or ticket not in found:
            return
        found.remove(ticket)
        if not found:
            del self._tickets[ticket.target]
        ticket.scope.waits -= 1
        if ticket.park and not ticket.fired:
            self._set_parked(False)
        if self._tickets:
            self._look_later()

    def told(self, word: str, target: str) -> None:
        """A message of the mailbox."""
        if target != "-":
            self.ready.append(target)
        if word == "resume":
            self._set_parked(False)
        if not self._fire_ready() and word == "resume":
            # What is done is nothing that the code still waits for: it had given it up.
            self.reconsider()

    def _fire_ready(self) -> bool:
        if self.parked:
            return False
        tickets = [ticket for target in self.ready for ticket in self._tickets.get(target, ())]
        for ticket in tickets:
            ticket.fire()
        self.ready.clear()
        return bool(tickets)

    def _set_parked(self, parked: bool) -> None:
        if self.parked is parked:
            return
        self.parked = parked
        if parked:
            self._rested_at = time.monotonic()
        else:
            self._began += time.monotonic() - self._rested_at
            self._let_back()
        self._keeper.parked(self)

    def _let_back(self) -> None:
        if self._back is not None and not self._back.done():
            self._back.set_result(None)

    def reconsider(self) -> None:
        """Give the slot back if nothing of the run is left to do but wait."""
        if self.parked or self._asked or not self._tickets:
            return
        if self.loop is None or self.stopped is not None:
            return
        if self._only_waits():
            self._asked = True
            self._on_loop(self._park)
        else:
            self._look_later()

    def _only_waits(self) -> bool:
        return not self.moving and self.durable.only_waits()

    def _look_later(self) -> None:
        """A task that is busy now may wait for the others in a while, and nobody tells."""
        if self._looks or self.loop is None or self.stopped is not None:
            return
        self._looks = True
        self.loop.call_soon_threadsafe(self.loop.call_later, LOOK_AGAIN, self._look)

    def _look(self) -> None:
        self._looks = False
        self.reconsider()

    def _on_loop(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = self.loop
        assert loop is not None  # noqa: S101 - callers looked

        def begin() -> None:
            # In a context of its own: it is not a task of the run.
            loop.create_task(function(), context=Context())

        loop.call_soon_threadsafe(begin)

    async def _park(self) -> None:
        durable = self.durable
        try:
            if durable.metadata is not None or durable.pipes is not None:
                await self._store.run_async(durable.store_effects())
            self._asked = False
            targets, rests = list(self._tickets), durable.rests()
            if self.parked or self.stopped or not targets:
                return
            if not self._only_waits():  # it went on meanwhile, and may wait again unnoticed
                self._look_later()
                return
            self._set_parked(True)
            answer = await self._store.run_async(
                waiting.park_run(self._store.scope, durable.run_id, durable.epoch, targets, rests)
            )
        except StoreError:
            self._asked = False
            self._set_parked(False)
            assert self.loop is not None  # noqa: S101 - this runs on it
            self.loop.call_later(1.0, self.reconsider)
            return
        if answer.word == "parked":
            durable.noted(rests)
        elif answer.word == "ready":
            self.ready.extend(answer.more)
            self.told("resume", "-")
        elif answer.word == "stale":
            self.stop(RunLeaseLostError(f"run {durable.run_id} belongs to another worker now"))

    def look_again(self) -> None:
        """The store says that the run executes, and here it waits: the news was lost."""
        if self.parked:
            self._set_parked(False)
            self._fire_ready()
            self.reconsider()

    def stop(self, reason: RunLeaseLostError) -> None:
        """Let no wait go on: the code of the run gets *reason*. On the loop's thread, if any."""
        self.stopped = self.stopped or reason
        self._let_back()
        for tickets in list(self._tickets.values()):
            for ticket in list(tickets):
                ticket.fire()

    def close(self, reason: RunLeaseLostError) -> None:
        """The attempt is over: refuse everything from now on; threads that wait end."""
        self.stopped = self.stopped or reason
        self._let_back()
        for tickets in list(self._tickets.values()):
            for ticket in tickets:
                ticket.free_thread()

    async def give_up(self, target: str) -> None:
        """The task's own code does not wait for *target* any more: take its edge away."""
        if target not in self._tickets:
            self._given_up = [*(self._given_up or ()), target]
        await self.regain()

    async def regain(self) -> None:
        """Get the slot back after the task's own code gave a wait up, or ended without it."""
        if self.stopped is not None or not (self.parked or self._given_up):
            return
        if self._back is None or self._back.done():
            self._back = asyncio.get_running_loop().create_future()
            self._on_loop(self._ask_back)
        await asyncio.shield(self._back)

    def give_up_sync(self, target: str) -> None:
        """The same as `give_up`, for sync code."""
        durable, scope = self.durable, self._store.scope
        while self.stopped is None:
            flow = waiting.resume_run(scope, durable.run_id, durable.epoch, [target])
            try:
                answer = self._store.run_blocking(flow)
            except StoreError:
                answer = "queued"
            if answer != "queued":
                return
            time.sleep(FIRST_LOOK)

    async def _ask_back(self) -> None:
        """Ask for the slot until the server hears it; the mailbox brings it."""
        durable, answer = self.durable, ""
        while self.stopped is None:
            given_up = list(self._given_up or ())
            flow = waiting.resume_run(self._store.scope, durable.run_id, durable.epoch, given_up)
            try:
                answer = await self._store.run_async(flow)
            except StoreError:
                await asyncio.sleep(0.5)
                continue
            if answer == "stale":
                self.stop(RunLeaseLostError(f"run {durable.run_id} belongs to another worker now"))
                return
            self._given_up = [one for one in self._given_up or () if one not in given_up] or None
            if not self._given_up:
                break
        if answer == "ok":
            # It executes already: the wait had not reached the server, which tells nothing.
            self._set_parked(False)
            self._look_later()
        if not self.parked:  # else the mailbox tells when it has its slot
            self._let_back()

    def hold(self, ticket: Ticket, event: threading.Event) -> None:
        """Block until *event*, at most the hold time, then evict the run. Raises RunEvictedError."""
        durable, scope = self.durable, self._store.scope
        deadline = time.monotonic() + self._hold_seconds
        pause = FIRST_LOOK
        while not event.wait(max(0.0, min(pause, deadline - time.monotonic()))):
            pause = min(2 * pause, LAST_LOOK)
            flow = waiting.evict_runs(
                scope, [(durable.run_id, durable.epoch)], if_needed=time.monotonic() < deadline
            )
            try:
                answer = self._store.run_blocking(flow)[0]
            except StoreError:
                deadline = time.monotonic() + LAST_LOOK  # it waits on, as long as it takes
                continue
            if answer == "kept":
                continue
            if answer == "granted" and not durable.only_waits() and time.monotonic() < deadline:
                continue  # other work of the run goes on beside this
            if answer != "granted":
                self.stopped = RunEvictedError(f"run {durable.run_id} waits without its process")
                raise self.stopped
            # It executes: because this wait is over and the news was lost, or for another wait.
            if self._look_blocking(ticket):
                ticket.fired = True
                return
            deadline = time.monotonic() + 1.0

    def _look_blocking(self, ticket: Ticket) -> bool:
        """Whether the target of a sync wait is done; else the run gives its slot back."""
        durable = self.durable
        self._store.run_blocking(durable.store_effects())
        rests = durable.rests()
        look = waiting.park_run(
            self._store.scope, durable.run_id, durable.epoch, [ticket.target], rests
        )
        word = self._store.run_blocking(look).word
        if word == "parked":
            durable.noted(rests)
        return word == "ready"


def split_message(message: bytes) -> tuple[str, str, str]:
    """Return word, run id and target of a mailbox message; a bare word has neither."""
    word, _, rest = message.decode().partition(" ")
    run_id, _, target = rest.partition(" ")
    return word, run_id, target
