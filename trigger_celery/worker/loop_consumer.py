"""The run consumer of the asyncio pool: pulls runs on the event loop, executes and commits there.

One call records what ended and takes what is next. What ends while it is under way goes with the
next call: a lone run is recorded at once, under load a call carries many, without any timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.durable import task_factory
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine import attempts, keys
from trigger_celery.engine.attempts import Ending, Exchange, Grant
from trigger_celery.engine.sessions import Owned
from trigger_celery.errors import RunLeaseLostError, StoreError
from trigger_celery.model.ids import op_id
from trigger_celery.store.op import ask, command
from trigger_celery.worker.celery_internals import shutting_down_cold, task_ready
from trigger_celery.worker.job import Job, back, lost, next_attempt, stays
from trigger_celery.worker.kept_runs import KeptRuns
from trigger_celery.worker.loop_attempt import LoopAttempts, ending_of
from trigger_celery.worker.mail import read_mailbox
from trigger_celery.worker.pool import TaskPool
from trigger_celery.worker.recording import log_delay, log_refusal
from trigger_celery.worker.session import ServiceRunner, WorkerSession

logger = logging.getLogger("trigger_celery.worker")

MAX_TAKE = 100
"""Runs taken by one call: more gain little and hold the server for longer."""
SETTLE = 0.001  # seconds that a run that was handed over gets to end before more are asked for


class LoopConsumer:
    """Pulls runs for an asyncio pool."""

    def __init__(
        self,
        trigger: TriggerCelery,
        worker: Any,
        session: WorkerSession,
        services: ServiceRunner,
    ) -> None:
        self._trigger = trigger
        self._worker = worker
        self._pool: TaskPool = worker.pool
        self._session = session
        self._services = services
        self._kept = KeptRuns(trigger.store, self._pool.loop, self._look)
        self._jobs = self._kept.jobs
        self._attempts = LoopAttempts(trigger, worker, self._kept)
        self._retention = trigger.settings.run_retention
        self._endings: list[Ending] = []
        self._hungry = True
        self._closing = False
        self._lost = False
        self._wake = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._calls = 0
        self._unheard = False
        self._emptied = asyncio.Event()

    def start(self) -> None:
        """Begin to pull runs."""
        self._session.load = lambda: (len(self._jobs), max(0, self._free()))
        self._session.on_lost = partial(self._soon, self._lose)
        self._session.on_audit = partial(self._soon, self._put_right)
        self._pool.resized = partial(self._soon, self._look)
        self._pool.freed = self._plain_ended
        self._pool.before_stop = lambda: self.drain(0.0 if shutting_down_cold() else None)

        async def begin() -> None:
            asyncio.get_running_loop().set_task_factory(task_factory)
            self._main = asyncio.get_running_loop().create_task(self._pull_for_ever())

        asyncio.run_coroutine_threadsafe(begin(), self._pool.loop).result(10)

    def _soon(self, function: Callable[..., None], *args: Any) -> None:
        """Call on the event loop's thread."""
        self._pool.loop.call_soon_threadsafe(function, *args)

    def drain(self, grace: float | None) -> None:
        """Take no more runs, and wait until those under way have ended, at most *grace* seconds."""
        main = self._main
        if main is None or not self._pool.loop.is_running():
            return
        self._soon(self._close)

        async def wait() -> None:
            await asyncio.wait([main], timeout=grace)
            self._kept.stop_all("is given back: the worker ends")
            if not main.done():
                await asyncio.wait([main], timeout=5)

        asyncio.run_coroutine_threadsafe(wait(), self._pool.loop).result()

    def finish(self) -> None:
        """Nothing is left to record after `drain`."""

    def close(self) -> None:
        """Take no more runs. Safe in a signal handler."""
        if self._pool.loop.is_running():
            self._soon(self._close)

    def _close(self) -> None:
        self._closing = True
        for job in filter(lambda job: job.waiting, list(self._jobs.values())):
            self._put_back(job)
        self._look()

    def _put_back(self, job: Job) -> None:
        """Give back a run whose next attempt has not begun: another worker goes on."""
        del self._jobs[job.grant.id]
        self._endings.append(back(job.grant))

    def _look(self) -> None:
        self._hungry = True
        self._wake.set()

    def _plain_ended(self) -> None:
        if self._hungry and not self._closing:  # it may have waited for this place
            self._soon(self._wake.set)

    def _lose(self, session: str) -> None:
        self._lost |= session == self._session.id
        self._wake.set()

    def _free(self) -> int:
        busy = len(self._kept) + len(self._pool.plain_jobs)
        return (self._worker.max_concurrency or self._pool.limit or 1) - busy

    async def _pull_for_ever(self) -> None:
        """A fault of ours must not leave a worker that looks alive and takes no runs."""
        while True:
            try:
                await self._pull()
                return
            except Exception:
                logger.exception("the run consumer failed", extra={"action": "consumer_failed"})
                await asyncio.sleep(1.0)

    async def _pull(self) -> None:
        reader = asyncio.get_running_loop().create_task(
            read_mailbox(
                self._trigger.store,
                lambda: self._session.id,
                self,
                self._services.poke,
            )
        )
        deregistered = False
        while True:
            if self._lost:
                await self._replace_session()
            want = 0 if self._closing else max(0, min(MAX_TAKE, self._free()))
            if (
                self._endings
                or self._unheard
                or (want and self._hungry)
                or (self._closing and not deregistered)
            ):
                deregistered = self._closing
                await self._exchange(want)
                continue
            if self._closing and not self._emptied.is_set():
                await self._empty_mailbox()
                continue
            if self._closing and self._kept.waiting:
                await self._kept.hand_over()
                continue
            if self._closing and not self._jobs:
                break
            self._wake.clear()
            await self._wake.wait()
        reader.cancel()

    async def _empty_mailbox(self) -> None:
        """Read what was handed to this session before it stopped being idle."""
        mailbox = keys.key(self._trigger.scope, "mailbox", self._session.id)
        with contextlib.suppress(StoreError, TimeoutError):
            await self._trigger.store.run_async(ask(command("RPUSH", mailbox, "stop")))
            async with asyncio.timeout(3.0):
                await self._emptied.wait()
        self._emptied.set()

    def _put_right(self, session: str, owned: dict[str, Owned]) -> None:
        if session == self._session.id and not self._closing:
            self._kept.put_right(owned, self._endings)
            self._wake.set()

    def told(self, word: str, run_id: str, detail: str) -> None:
        """News of a run: a wait is over, or it was cancelled."""
        self._kept.told(word, run_id, detail)

    def woken(self) -> None:
        """Ask for runs: there may be some."""
        self._look()

    def emptied(self) -> None:
        """The mailbox was read to its end."""
        self._emptied.set()

    def handed(self, message: bytes) -> None:
        """Start a run that came in the mailbox, unless there is no room for it any more."""
        grant = attempts.handed(message)
        if self._closing or self._free() <= 0:
            self._endings.append(back(grant))
            self._wake.set()
            return
        self._begin(grant)
        # A short run ends at once, and its call asks for more: another one would only delay it.
        asyncio.get_running_loop().call_later(SETTLE, self._look_unless, self._calls)

    def _look_unless(self, calls: int) -> None:
        if self._calls == calls:
            self._unheard = True  # a call tells the store that the run has begun
            self._look()

    async def _exchange(self, want: int) -> None:
        endings, self._endings = self._endings, []
        self._calls += 1
        self._unheard = False
        if want:
            self._hungry = False
        session = self._session.id
        try:
            exchange = await self._call(session, want, endings)
        except Exception:
            self._endings[:0] = endings
            raise
        if exchange is None:
            return
        for ending, answer in zip(endings, exchange.answers, strict=True):
            self._settle(ending, answer)
        if exchange.runs is None:
            self._lost |= session == self._session.id
            return
        if want and len(exchange.runs) == want:
            self._hungry = True
        for grant in exchange.runs:
            self._begin(grant)

    async def _call(self, session: str, want: int, endings: list[Ending]) -> Exchange | None:
        """Make the call, again and again while the server is away, always as the same call.

        A worker that ends gives up after two leases: its runs have been taken over by then.
        """
        call = attempts.dequeue(
            self._trigger.scope, op_id(), session, self._session.serves, want, endings, self._retention,
            start=True,
        )  # fmt: skip
        runner = self._trigger.store.runner()
        deadline = 0.0
        while True:
            try:
                exchange: Exchange = await runner.run(ask(call))
                return exchange
            except StoreError as problem:
                log_delay(problem, len(endings))
                if self._closing:
                    patience = 2 * self._trigger.settings.worker_lease if endings else 0.0
                    deadline = deadline or time.monotonic() + patience
                    if time.monotonic() >= deadline:
                        return None
                await asyncio.sleep(0.5)

    def _settle(self, ending: Ending, answer: str) -> None:
        """After the answer: start the next attempt in place, if that is what follows."""
        log_refusal(ending, answer)
        if answer == "crashed":
            self._services.on_crashed(ending.run_id)
        if ending.has_data:
            self._services.go_on()
        job = self._jobs.get(ending.run_id)
        if job is None or job.grant.epoch != ending.epoch or not stays(ending):
            return
        if answer != "ok":
            del self._jobs[ending.run_id]
            return
        if self._closing:
            self._put_back(job)
            return
        next_attempt(job.grant, ending)
        job.waiting = True
        self._launch_later(job, int(ending.detail))

    def _launch_later(self, job: Job, ms: int) -> None:
        """Begin the next attempt in place after so long."""
        asyncio.get_running_loop().call_later(ms / 1000, self._launch, job)

    def _begin(self, grant: Grant) -> None:
        if grant.task not in REGISTRY.tasks:
            self._endings.append(Ending(grant.id, grant.epoch, "unknown", "", ""))
            return
        if grant in self._kept.early_cancels:
            return
        if grant.options:
            self._session.look_at(grant)
        job = Job(grant, next(self._pool.numbers))
        self._jobs[grant.id] = job
        self._launch(job)

    def _launch(self, job: Job) -> None:
        if self._jobs.get(job.grant.id) is job:
            job.waiting = False
            self._pool.jobs[job.number] = job
            job.task = asyncio.get_running_loop().create_task(self._execute(job))

    async def _execute(self, job: Job) -> None:
        result = None
        try:
            result = await self._attempts.execute(job)
        except RunLeaseLostError:
            self._release(job, None)
        except asyncio.CancelledError:
            self._release(job, self._stopped(job))
        else:
            self._release(job, ending_of(job))
            if result is not None:
                job.request.on_success(result)
                return
        if job.request is not None:
            task_ready(job.request)

    def _stopped(self, job: Job) -> Ending | None:
        """Return how an attempt ended that was stopped from outside."""
        execution = job.execution
        if self._jobs.get(job.grant.id) is not job or execution is None:
            return None  # its new owner decides about the run
        if execution.canceled or execution.ending is not None:
            return ending_of(job)
        if self._closing or (job.request is not None and job.request.cancelled):
            self._close()
            return None  # the session's end gives the run back
        message = "the attempt was terminated"
        return lost(job.grant, execution.policy, job.grant.attempt, message)

    def _release(self, job: Job, ending: Ending | None) -> None:
        self._pool.jobs.pop(job.number, None)
        if ending is None or not stays(ending):
            self._kept.forget(job)
        if ending is not None:
            ending.has_data = job.grant.has_data
            self._endings.append(ending)
        self._wake.set()

    async def _replace_session(self) -> None:
        """Stop what was taken over from us, and go on as a new session."""
        self._lost = False
        self._kept.drop_all("was taken over")
        self._endings.clear()
        while not self._closing:
            try:
                await asyncio.to_thread(self._session.replace)
                break
            except StoreError as problem:
                log_delay(problem, 0)
                await asyncio.sleep(0.5)
        self._hungry = True
