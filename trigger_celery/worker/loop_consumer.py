"""The run consumer of the asyncio pool: pulls runs on the event loop, executes and commits there.

One call records what ended and takes what is next. What ends while it is under way goes with the
next call: a lone run is recorded at once, under load a call carries many, without any timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine import attempts, keys
from trigger_celery.engine.attempts import Ending, Exchange, Grant
from trigger_celery.errors import StoreError
from trigger_celery.model.ids import op_id, token
from trigger_celery.model.packet import decode
from trigger_celery.model.retry import effective
from trigger_celery.store.op import ask, command
from trigger_celery.worker.audit import Audit
from trigger_celery.worker.celery_internals import (
    current_job,
    follow_job,
    scale,
    shutting_down_cold,
    task_ready,
    trace,
)
from trigger_celery.worker.executor import RunExecution, invoke_async, invoke_sync
from trigger_celery.worker.job import Job, back, lost, next_attempt, stays
from trigger_celery.worker.pool import TaskPool
from trigger_celery.worker.recording import log_delay, log_refusal
from trigger_celery.worker.request import EventSender, make_request
from trigger_celery.worker.session import ServiceRunner, WorkerSession
from trigger_celery.worker.trampoline import await_in_greenlet, run_in_greenlet

logger = logging.getLogger("trigger_celery.worker")

MAX_TAKE = 100
"""Runs taken by one call: more gain little and hold the server for longer."""
SETTLE = 0.001  # seconds that a run that was handed over gets to end before more are asked for
LOOK_EVERY = 2.0
"""Seconds between looks without a wake-up: the net under a lost one."""


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
        self._events = EventSender(worker)
        self._serves = " ".join(token(name) for name in session.worker_queues)
        self._retention = trigger.settings.run_retention
        self._jobs: dict[str, Job] = {}
        self._endings: list[Ending] = []
        self._hungry = True
        self._closing = False
        self._lost = False
        self._wake = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._followed: set[str] = set()
        self._audit = Audit()
        self._calls = 0
        self._emptied = asyncio.Event()

    def start(self) -> None:
        """Begin to pull runs."""
        self._session.load = lambda: (len(self._jobs), max(0, self._free()))
        self._session.on_lost = partial(self._soon, self._lose)
        self._session.on_audit = partial(self._soon, self._give_back_missing)
        self._pool.resized = partial(self._soon, self._look)
        self._pool.before_stop = lambda: self.drain(0.0 if shutting_down_cold() else None)

        async def begin() -> None:
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
            for job in list(self._jobs.values()):
                job.cancel()
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

    def _lose(self, session: str) -> None:
        self._lost |= session == self._session.id
        self._wake.set()

    def _free(self) -> int:
        busy = len(self._jobs) + len(self._pool.plain_jobs)
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
        reader = asyncio.get_running_loop().create_task(self._read_mailbox())
        deregistered = False
        while True:
            if self._lost:
                await self._replace_session()
            want = 0 if self._closing else max(0, min(MAX_TAKE, self._free()))
            if self._endings or (want and self._hungry) or (self._closing and not deregistered):
                deregistered = self._closing
                await self._exchange(want)
                continue
            if self._closing and not self._emptied.is_set():
                await self._empty_mailbox()
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

    def _give_back_missing(self, session: str, owned: dict[str, str]) -> None:
        if session == self._session.id and not self._closing:
            known = self._jobs.keys() | {ending.run_id for ending in self._endings}
            self._endings += self._audit.missing(owned, known)
            self._wake.set()

    def _hand(self, message: bytes) -> None:
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
            self._look()

    async def _exchange(self, want: int) -> None:
        endings, self._endings = self._endings, []
        self._calls += 1
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
            self._trigger.scope, op_id(), session, self._serves, want, endings, self._retention,
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
        job = self._jobs.get(ending.run_id)
        if job is None or job.grant.epoch != ending.epoch or not stays(ending):
            return
        if answer != "ok":
            del self._jobs[ending.run_id]
            return
        if self._closing:
            self._put_back(job)
            return
        next_attempt(job.grant)
        job.waiting = True
        asyncio.get_running_loop().call_later(int(ending.detail) / 1000, self._launch, job)

    def _begin(self, grant: Grant) -> None:
        if grant.task not in REGISTRY.tasks:
            self._endings.append(Ending(grant.id, grant.epoch, "unknown", "", ""))
            return
        job = Job(grant, next(self._pool.numbers))
        self._jobs[grant.id] = job
        self._launch(job)

    def _launch(self, job: Job) -> None:
        if self._jobs.get(job.grant.id) is job:
            job.waiting = False
            self._pool.jobs[job.number] = job
            job.task = asyncio.get_running_loop().create_task(self._execute(job))

    async def _execute(self, job: Job) -> None:
        grant = job.grant
        definition = REGISTRY.tasks[grant.task]
        how = _on_loop if definition.is_async else invoke_sync
        execution = RunExecution(self._trigger, definition, grant, how)
        current_job.set(job)
        context.current_execution.set(execution)
        try:
            result = await self._trace(job, execution)
            if result is not None:
                execution.conclude(*result[:2])
        except asyncio.CancelledError:
            self._release(job, self._stopped(job))
        except BaseException as problem:
            if execution.ending is None:
                execution.fail(problem)
            logger.exception(
                "run %s ended outside of its task", grant.id, extra={"run_id": grant.id}
            )
            self._release(job, execution.ending)
        else:
            self._release(job, execution.ending)
            if result is not None:
                job.request.on_success(result)
                return
        if job.request is not None:
            task_ready(job.request)

    def _stopped(self, job: Job) -> Ending | None:
        """Return how an attempt ended that was stopped from outside."""
        if self._jobs.get(job.grant.id) is not job:
            return None  # its new owner decides about the run
        if self._closing or (job.request is not None and job.request.cancelled):
            self._close()
            return None  # the session's end gives the run back
        policy = effective(
            REGISTRY.tasks[job.grant.task].retry,
            self._trigger.settings.default_retry,
            job.grant.max_attempts,
        )
        return lost(job.grant, policy, job.grant.attempt, "the attempt was terminated")

    async def _trace(self, job: Job, execution: RunExecution) -> Any:
        grant = job.grant
        task = self._worker.app.tasks[grant.task]
        if grant.task not in self._followed:
            self._followed.add(grant.task)
            follow_job(task)
        try:
            payload = decode(grant.payload, grant.payload_type)
        except ValueError as problem:
            execution.fail(problem)
            return None
        request = job.request = make_request(self._worker, self._events, task, grant, payload)
        request.on_accepted(job.number, time.monotonic())
        if self._worker.max_concurrency:
            self._worker.hub.call_soon(scale, self._worker)
        arguments = (task, grant.id, (payload,), request.request_dict)
        if execution.definition.is_async:
            return await run_in_greenlet(trace, *arguments)
        inside = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._pool.threads, inside.run, trace, *arguments
        )

    def _release(self, job: Job, ending: Ending | None) -> None:
        self._pool.jobs.pop(job.number, None)
        ours = self._jobs.get(job.grant.id) is job
        if ours and (ending is None or not stays(ending)):
            del self._jobs[job.grant.id]
        if ending is not None:
            self._endings.append(ending)
        self._wake.set()

    async def _replace_session(self) -> None:
        """Stop what was taken over from us, and go on as a new session."""
        self._lost = False
        for job in list(self._jobs.values()):
            job.cancel()
        self._jobs.clear()
        self._endings.clear()
        while not self._closing:
            try:
                await asyncio.to_thread(self._session.replace)
                break
            except StoreError as problem:
                log_delay(problem, 0)
                await asyncio.sleep(0.5)
        self._hungry = True

    async def _read_mailbox(self) -> None:
        reader = self._trigger.store.async_blocking_reader()
        try:
            while True:
                mailbox = keys.key(self._trigger.scope, "mailbox", self._session.id)
                try:
                    message = await reader.pop(mailbox, LOOK_EVERY)
                except StoreError:
                    await asyncio.sleep(0.3)
                    continue
                if message is not None and message.startswith(b"run "):
                    self._hand(message)
                elif message == b"stop":
                    self._emptied.set()
                elif message == b"timer":
                    self._services.poke("promoter")
                else:
                    self._look()
                    # First the runs, then the next message.
                    await asyncio.sleep(0)
        finally:
            await reader.close()


def _on_loop(execution: RunExecution) -> Any:
    return await_in_greenlet(invoke_async(execution))
