"""The tries of a call that is repeated inside a run, so that a replay goes on where it was.

A try that failed needs no record of its own: the wait that followed it is one. A replay that finds
the wait does not make the try again, and counts what was called in it as seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.blocking import durable_wait
from trigger_celery.bridge.durable import Durable, Scope, require_run
from trigger_celery.engine import waitpoints
from trigger_celery.engine.waiting import record_step
from trigger_celery.engine.waitpoints import NewWaitpoint
from trigger_celery.errors import (
    AbortTaskRunError,
    InvalidOptionError,
    ReplayMismatchError,
    RunLeaseLostError,
    SyncInAsyncError,
    TooManyCallsError,
)
from trigger_celery.model.duration import Delay
from trigger_celery.model.packet import Packet
from trigger_celery.model.wait import WaitInfo
from trigger_celery.store.op import Flow

NEVER_AGAIN = (
    AbortTaskRunError,
    InvalidOptionError,
    ReplayMismatchError,
    SoftTimeLimitExceeded,
    SyncInAsyncError,
    TaskPredicate,
    TooManyCallsError,
)
"""Errors that another try does not help, or that are meant for others."""


class Tries:
    """The tries of one call, numbered from 1."""

    __slots__ = ("_bound", "_call", "_called", "_durable", "_path", "_scope")

    def __init__(self, bound: TriggerCelery, name: str, call: str = "") -> None:
        """Take the call's place in the run. Raises OutsideRunError, StateError in a step.

        *call* is what a replay compares; the *name* unless given.
        """
        self._bound = bound
        self._call = call or name
        self._durable: Durable = require_run(f"{name}()")
        self._scope: Scope = self._durable.scope_of(name)
        self._path = self._scope.next_path()
        self._called = False
        """The try under way has made durable calls."""

    def failed_before(self, number: int) -> bool:
        """Whether this try failed in an earlier execution; counts what it called as seen."""
        if not self._durable.knows(self._wait_path(number)):
            return False
        self._durable.skip(f"{self._wait_path(number)}/", self._scope)
        return True

    def _wait_path(self, number: int) -> str:
        return f"{self._path}~{number}"

    @contextmanager
    def inside(self, number: int) -> Iterator[None]:
        """Give what is called in this try positions of its own."""
        with self._scope.inside(f"{self._wait_path(number)}/"):
            try:
                yield
            finally:
                self._called = self._scope.has_called

    def pause(self, number: int, due: Delay) -> Flow[None]:
        """Wait after a failed try, without a slot. No time at all leaves no record.

        Unless the try left some: a replay has to know that they are behind it.
        """
        now = datetime.now(UTC)
        if due.after_ms is None:
            at = datetime.fromtimestamp((due.at_ms or 0) / 1000, UTC)
        else:
            at = now + timedelta(milliseconds=due.after_ms)
        durable, path = self._durable, self._wait_path(number)
        if at <= now and not (self._called or durable.knows(path)):
            return
        position = durable.begin(self._call, path)
        new = NewWaitpoint(durable.id_of("waitpoint", path), "DATETIME", due)
        prepare = [
            waitpoints.create_waitpoint(self._bound.scope, new, self._bound.settings.run_retention)
        ]
        info = WaitInfo("duration", date=at)
        yield from durable_wait(
            durable, self._bound.scope, position, self._call, new.id, info, prepare
        )

    # Results

    def result_before(self) -> Packet | None:
        """Return what `keep` stored in an earlier execution of the attempt."""
        durable = self._durable
        if durable.record is None or not durable.knows(self._path):
            return None
        kept = durable.record.steps.get(self._name())
        if kept is not None:
            durable.begin(self._call, self._path)
            durable.skip(f"{self._path}~", self._scope)
        return kept

    def keep(self, result: Packet) -> Flow[None]:
        """Store the result, for replays of this attempt."""
        durable = self._durable
        durable.begin(self._call, self._path)
        kept = yield from record_step(
            self._bound.scope,
            durable.run_id,
            durable.epoch,
            self._path,
            self._call,
            self._name(),
            result,
        )
        if kept is None:
            durable.parking.check()
            raise RunLeaseLostError(f"run {durable.run_id} belongs to another worker now")

    def _name(self) -> str:
        # Steps outlive the attempt, and the next one shall ask again.
        return f"{self._durable.attempt}:{self._path}"
