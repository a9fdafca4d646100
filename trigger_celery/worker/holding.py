"""Keeps waiting runs on pools that cannot park them: for the hold time, then the memory is given up.

Each waiting run has a mailbox of its own, read by a thread of its process while it waits. When
others wait for the process, the memory is given up at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

from trigger_celery.engine import keys, waiting
from trigger_celery.engine.attempts import finish
from trigger_celery.errors import (
    MaxDurationExceededError,
    RunCanceledError,
    RunEvictedError,
    RunLeaseLostError,
    StoreError,
)
from trigger_celery.model.ids import op_id
from trigger_celery.store.op import ask, command
from trigger_celery.worker.background_loop import BACKGROUND
from trigger_celery.worker.daemon_threads import call_later
from trigger_celery.worker.executor import RunExecution
from trigger_celery.worker.interrupting import interrupt, now_executes, tell_process
from trigger_celery.worker.job import Job
from trigger_celery.worker.mail import news_in
from trigger_celery.worker.parking import FIRST_LOOK, LAST_LOOK, RunParking
from trigger_celery.worker.stopping import CANCEL_BUDGET

logger = logging.getLogger("trigger_celery.worker")

UNHEARD = 5.0
"""Seconds after which a process whose code does not notice that its time is over is killed."""

_held: dict[str, Holder] = {}


def look_for_cancels() -> None:
    """Cancel the runs of this process that are not its own any more in the store."""
    for holder in list(_held.values()):
        grant, store = holder.execution.grant, holder.execution.trigger.store
        epoch = store.run_blocking(
            ask(command("HGET", keys.key(store.scope, "run", grant.id), "epoch"))
        )
        if epoch is None or epoch.decode() != grant.epoch:
            holder.cancel()


def cancel_here(run_id: str, epoch: str) -> bool:
    """Cancel a run that this process executes; tells whether there is one."""
    holder = _held.get(run_id)
    if holder is None or holder.execution.grant.epoch != epoch:
        return False
    threading.Thread(target=holder.cancel, name="trigger-cancel", daemon=True).start()
    return True


def holder_of(execution: RunExecution) -> Holder:
    """Return what keeps a run that this process executes."""
    return _held[execution.grant.id]


def cancel_in(pool: Any, job: Job, still_there: Callable[[], bool]) -> None:
    """Cancel a run in a process of the pool; one that does not end in time is killed."""

    def force() -> None:
        if still_there():
            logger.warning(
                "run %s did not end after its cancel: its process is killed",
                job.grant.id,
                extra={"action": "cancel_forced", "run_id": job.grant.id},
            )
            pool.terminate_job(job.pid, "KILL")

    if job.pid != os.getpid() and not pool.is_green:  # a greenlet has an address for its pid
        tell_process(job.pid)
    call_later(CANCEL_BUDGET + UNHEARD, force)


class Holder:
    """Keeps one run in the memory of a pool's process or thread, while it is executed."""

    def __init__(self, execution: RunExecution, *, killable: bool) -> None:
        self.execution = execution
        self._store = execution.trigger.store
        self._hold = execution.trigger.settings.wait_hold
        self._killable = killable
        """The process executes nothing else: its main thread may be interrupted, or be killed."""
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._root: asyncio.Task[object] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._timer: threading.Timer | None = None
        self.recorded = False
        """The ending is in the store already."""
        self._left = execution.max_duration
        self._since = 0.0
        is_async = execution.definition.is_async
        self.parking = execution.durable.parking = execution.parking = RunParking(
            execution.durable,
            self._store,
            self,
            post=execution.grant.id,
            loop=BACKGROUND.loop() if is_async else None,
            in_thread=not is_async,
            hold_seconds=self._hold,
            hooks=execution.wait_hooks,
        )

    def __enter__(self) -> Holder:
        _held[self.execution.grant.id] = self
        now_executes(self.execution.grant.id if self._killable else "")
        self._go_on()
        return self

    def __exit__(self, *_: object) -> None:
        run_id = self.execution.grant.id
        if _held.get(run_id) is self:  # a replay may be here already
            del _held[run_id]
        now_executes("")
        self._stopped.set()
        self._pause()
        loop = self.parking.loop
        if loop is not None:
            loop.call_soon_threadsafe(self.execution.durable.close)
        else:
            self.execution.durable.close()

    def attach(self, root: asyncio.Task[object]) -> None:
        """Know the run's main task, to be cancelled when the run is stopped."""
        self._root = root
        self.execution.durable.root.task = root

    def expects(self, parking: RunParking) -> None:
        """Read the run's mailbox from now on."""
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name="trigger-run-mail", daemon=True)
            self._reader.start()

    def parked(self, parking: RunParking) -> None:
        """Stop or start the clocks; sync code holds by itself."""
        if parking.parked:
            self._pause()
        else:
            self._go_on()
        if parking.loop is not None:
            parking.loop.call_soon_threadsafe(self._watch_memory, parking.loop)

    def _watch_memory(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.parking.parked:
            self._watch = loop.create_task(self._give_up_in_time(), context=Context())

    async def _give_up_in_time(self) -> None:
        deadline = time.monotonic() + self._hold
        durable = self.execution.durable
        pause = FIRST_LOOK
        while self.parking.parked and self.parking.stopped is None:
            left = deadline - time.monotonic()
            await asyncio.sleep(max(0.0, min(pause, left)))
            pause = min(2 * pause, LAST_LOOK)
            flow = waiting.evict_runs(
                self._store.scope, [(durable.run_id, durable.epoch)], if_needed=left > 0
            )
            try:
                answer = (await self._store.run_async(flow))[0]
            except StoreError:
                continue
            if answer == "granted":
                self._watch = None
                self.parking.look_again()
                return
            if answer != "kept":
                self._stop(RunEvictedError(f"run {durable.run_id} waits without its process"))

    def _stop(self, reason: RunLeaseLostError) -> None:
        """Let the code of the run end; on its loop, if it has one."""
        self.parking.stop(reason)
        if self._root is not None:
            self._root.cancel()

    def _stop_from_outside(self, reason: RunLeaseLostError) -> None:
        loop = self.parking.loop
        if loop is not None:
            loop.call_soon_threadsafe(self._stop, reason)
        else:
            self._stop(reason)

    def cancel(self) -> None:
        """Tell the run's code that it was cancelled, and stop it; in a thread of its own.

        Sync code is interrupted where the process executes nothing else; elsewhere it sees the
        cancel at its next call of the library.
        """
        execution = self.execution
        with self._lock:
            if execution.canceled:
                return
            waits = self.parking.parked
            execution.cancel()
        reason = RunCanceledError(f"run {execution.grant.id} was cancelled")
        deadline = time.monotonic() + CANCEL_BUDGET
        if not waits and execution.has_hooks("on_cancel"):
            with suppress(TimeoutError):
                BACKGROUND.run(asyncio.wait_for(execution.tell_of_cancel(), CANCEL_BUDGET))
        if not waits and execution.definition.takes_signal:
            self._stopped.wait(max(0.0, deadline - time.monotonic()))
        if self._stopped.is_set():
            return
        self._stop_from_outside(reason)
        if self._killable and not execution.definition.is_async and not waits:
            interrupt(execution.grant.id, reason)

    def _pause(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left = (self._left or 0.0) - (time.monotonic() - self._since)

    def _go_on(self) -> None:
        if self._left is not None and self._timer is None and not self._stopped.is_set():
            self._since = time.monotonic()
            self._timer = call_later(max(0.0, self._left), self._time_out)

    def _time_out(self) -> None:
        """The attempt is over its maximum duration: record that, and stop its code."""
        execution = self.execution
        if execution.ending is not None or self._stopped.is_set():
            return
        problem = MaxDurationExceededError(execution.over_duration())
        ending = execution.time_out(problem)
        trigger = execution.trigger
        try:
            trigger.store.run_blocking(
                finish(trigger.scope, op_id(), [ending], trigger.settings.run_retention)
            )
            self.recorded = True
        except StoreError as late:
            logger.warning(
                "run %s is over its time, which is recorded when its code ends: %s",
                ending.run_id,
                late,
                extra={"action": "endings_wait", "count": 1},
            )
        self._stop_from_outside(problem)
        if self._killable and not execution.definition.is_async:
            interrupt(execution.grant.id, problem)
            if not self._stopped.wait(UNHEARD):
                os.kill(os.getpid(), signal.SIGKILL)

    def _read(self) -> None:
        reader = self._store.blocking_reader()
        mailbox = keys.key(self._store.scope, "mailbox", self.execution.grant.id)
        try:
            while not self._stopped.is_set():
                try:
                    message = reader.pop(mailbox, 0.5)
                except StoreError:
                    self._stopped.wait(0.3)
                    continue
                if message is not None:
                    self._deliver(message)
        finally:
            reader.close()

    def _deliver(self, message: bytes) -> None:
        news = news_in(message)
        if news is None:
            return
        word, run_id, detail = news
        if word == "cancel":
            cancel_here(run_id, detail)
            return
        tell = partial(self.parking.told, word, detail)
        if self.parking.loop is not None:
            self.parking.loop.call_soon_threadsafe(tell)
        else:
            tell()
