"""The run consumer of Celery's own pools (prefork, threads, solo, gevent): pulls runs in a thread.

Runs are handed to the pool on the worker's hub, which owns it. The pool's process or thread
returns how the attempt ended (`child.py`), and one call records that and takes what is next.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.time_limits import is_over_hard_limit
from trigger_celery.engine import attempts, keys
from trigger_celery.engine.attempts import Ending, Exchange, Grant
from trigger_celery.engine.sessions import Owned
from trigger_celery.errors import StoreError
from trigger_celery.model.ids import op_id
from trigger_celery.model.packet import decode
from trigger_celery.store.op import ask
from trigger_celery.worker.celery_internals import (
    WorkerLostError,
    active_requests,
    cause,
    dropped,
    keep_once_sent,
    most_at_once,
    scale,
    shutting_down_cold,
    task_ready,
    was_ended,
)
from trigger_celery.worker.child import Outcome, run_in_pool
from trigger_celery.worker.daemon_threads import call_later
from trigger_celery.worker.job import Job, back, next_attempt, stays
from trigger_celery.worker.loop_consumer import MAX_TAKE
from trigger_celery.worker.mail import LOOK_EVERY, SERVICES, WORK, news_in
from trigger_celery.worker.memory import KernelKills, process_died
from trigger_celery.worker.pool_news import PoolNews
from trigger_celery.worker.recording import log_delay, log_refusal
from trigger_celery.worker.request import EventSender, make_request
from trigger_celery.worker.session import ServiceRunner, WorkerSession
from trigger_celery.worker.time_limits import soft_limit

logger = logging.getLogger("trigger_celery.worker")

UNSUBMITTED_FOR = 5.0
"""Seconds after which a run that the hub did not hand to the pool goes back to its queue."""
PLAIN_LOOK = 0.05
"""Seconds between looks while tasks of Celery's fill the pool: nobody tells us that one has ended."""
COLD_PATIENCE = 5.0
"""Seconds for which a cold shutdown tries to record what has ended."""


class ThreadConsumer:
    """Pulls runs for a pool of processes or threads."""

    def __init__(
        self, trigger: TriggerCelery, worker: Any, session: WorkerSession, services: ServiceRunner
    ) -> None:
        self._trigger = trigger
        self._worker = worker
        self._session = session
        self._services = services
        self._events = EventSender(worker)
        self._retention = trigger.settings.run_retention
        self._jobs: dict[str, Job] = {}
        self._news: SimpleQueue[Ending | None] = SimpleQueue()
        self._endings: list[Ending] = []
        self._numbers = 0
        self._hungry = True
        self._closing = False
        self._stopped = False
        self._deadline = math.inf
        self._lost = False
        self._pool_news = PoolNews(trigger.store, worker, self._jobs, self._news.put, self._drop)
        self._kernel_kills = KernelKills()
        self._main: threading.Thread | None = None
        self._reader = trigger.store.blocking_reader()

    def start(self) -> None:
        """Begin to pull runs."""
        self._session.load = lambda: (len(self._jobs), max(0, self._free()))
        self._session.on_lost = self._lose
        self._session.on_audit = self._put_right
        self._main = threading.Thread(target=self._pull, name="trigger-consumer", daemon=True)
        self._main.start()
        threading.Thread(target=self._read_mailbox, name="trigger-mailbox", daemon=True).start()

    def close(self) -> None:
        """Take no more runs. Safe in a signal handler, so it takes no lock."""
        self._closing = True

    def drain(self, grace: float | None) -> None:
        """Take no more runs. The pool waits for those under way when it stops."""
        self._closing = True
        self._news.put(None)
        if grace:
            call_later(grace, self._stop_attempts)

    def _stop_attempts(self) -> None:
        """The grace time is over: the session's end gives back what still runs."""
        for job in list(self._jobs.values()):
            if job.accepted:
                with suppress(NotImplementedError):  # threads cannot be stopped from outside
                    job.request.cancel(self._worker.pool, "KILL")

    def finish(self) -> None:
        """The pool has stopped: wait until what came last is recorded.

        Gives up after two leases: by then the runs have been taken over.
        """
        patience = 2 * self._trigger.settings.worker_lease
        if shutting_down_cold():
            patience = COLD_PATIENCE
        self._deadline = time.monotonic() + patience
        self._stopped = True
        self._news.put(None)
        if self._main is not None:
            self._main.join(patience)

    def _put_back(self, job: Job) -> None:
        """Give back a run whose next attempt has not begun."""
        self._drop(job)
        self._news.put(back(job.grant))

    def _drop(self, job: Job) -> None:
        if self._jobs.get(job.grant.id) is job:
            del self._jobs[job.grant.id]
            self._hungry = True

    def _lose(self, session: str) -> None:
        self._lost = self._lost or session == self._session.id
        self._news.put(None)

    def _free(self) -> int:
        jobs = list(self._jobs.values())
        plain = len(active_requests) - sum(job.request in active_requests for job in jobs)
        return most_at_once(self._worker) - len(jobs) - plain

    def _pull(self) -> None:
        """A fault of ours must not leave a worker that looks alive and takes no runs."""
        while not self._stopped or (self._unrecorded() and time.monotonic() < self._deadline):
            try:
                self._step()
            except Exception:
                logger.exception("the run consumer failed", extra={"action": "consumer_failed"})
                time.sleep(1.0)

    def _unrecorded(self) -> bool:
        return bool(self._endings) or not self._news.empty()

    def _step(self) -> None:
        if self._lost:
            self._replace_session()
        self._put_back_idle()
        self._read_news(0.0)
        want = 0 if self._closing else max(0, min(MAX_TAKE, self._free()))
        if self._endings or (want and self._hungry):
            self._exchange(want)
        elif not self._stopped:
            self._read_news(PLAIN_LOOK if self._waits_for_plain() else LOOK_EVERY)

    def _waits_for_plain(self) -> bool:
        return self._hungry and not self._closing and len(self._jobs) < most_at_once(self._worker)

    def _read_news(self, patience: float) -> None:
        """Collect what has ended, waiting for the first; None is only a wake-up."""
        with suppress(Empty):
            ending = self._news.get(timeout=patience)
            while True:
                if ending is not None:
                    self._endings.append(ending)
                ending = self._news.get_nowait()

    def _put_back_idle(self) -> None:
        """Give back what will not begin here: what the pool forgot, and at the end all that waits."""
        for job in list(self._jobs.values()):
            if job.waiting:
                if self._closing:
                    self._put_back(job)
            elif not job.accepted:
                late = time.monotonic() - job.since > UNSUBMITTED_FOR
                if (job.result is None and late) or dropped(job.result):
                    self._put_back(job)

    def _exchange(self, want: int) -> None:
        endings, self._endings = self._endings, []
        if want:
            self._hungry = False
        session = self._session.id
        try:
            exchange = self._call(session, want, endings)
        except Exception:
            self._endings[:0] = endings
            raise
        if exchange is None:
            return
        for ending, answer in zip(endings, exchange.answers, strict=True):
            self._settle(ending, answer)
        if exchange.runs is None:
            self._lost = self._lost or session == self._session.id
            return
        if want and len(exchange.runs) == want:
            self._hungry = True
        for grant in exchange.runs:
            self._begin(grant)

    def _call(self, session: str, want: int, endings: list[Ending]) -> Exchange | None:
        """Make the call, again and again while the server is away, always as the same call."""
        call = attempts.dequeue(
            self._trigger.scope, op_id(), session, self._session.serves, want, endings, self._retention,
            start=True,
        )  # fmt: skip
        while True:
            try:
                exchange: Exchange = self._trigger.store.run_blocking(ask(call))
                return exchange
            except StoreError as problem:
                log_delay(problem, len(endings))
                if (self._closing and not endings) or time.monotonic() > self._deadline:
                    return None
                time.sleep(0.5)

    def _begin(self, grant: Grant) -> None:
        if grant.task not in REGISTRY.tasks:
            self._news.put(Ending(grant.id, grant.epoch, "unknown", "", ""))
            return
        if grant in self._pool_news.early_cancels:
            return
        if self._closing:
            self._news.put(back(grant))
            return
        if grant.options:
            self._session.look_at(grant)
        self._numbers += 1
        job = Job(grant, self._numbers)
        self._jobs[grant.id] = job
        self._on_hub(self._submit, job)

    def _on_hub(self, function: Any, *args: Any) -> None:
        hub = getattr(self._worker, "hub", None)
        if hub is None:
            function(*args)
        else:
            hub.call_soon(function, *args)

    def _submit(self, job: Job) -> None:
        """Hand one attempt to the pool; on the hub's thread."""
        if self._jobs.get(job.grant.id) is not job:
            return
        try:
            self._apply(job)
        except Exception:
            # Nothing of it may reach the hub. A pool that was closed refuses.
            logger.exception(
                "run %s could not be handed to the pool",
                job.grant.id,
                extra={"action": "apply_failed", "run_id": job.grant.id},
            )
            self._put_back(job)

    def _apply(self, job: Job) -> None:
        grant = job.grant
        task = self._worker.app.tasks[grant.task]
        try:
            payload = decode(grant.payload, grant.payload_type)
            request = make_request(self._worker, self._events, task, grant, payload)
        except ValueError:
            # The attempt decodes it again, or fetches it, and may fail for it.
            payload = {} if REGISTRY.tasks[grant.task].plain is not None else None
            request = make_request(self._worker, self._events, task, grant, payload)
        job.request = request
        request.request_dict["hostname"] = self._worker.hostname

        def accepted(pid: int, at: float) -> None:
            job.accepted, job.pid = True, pid
            request.on_accepted(pid, at)

        job.result = self._worker.pool.apply_async(
            run_in_pool,
            args=(grant, request.request_dict, soft_limit(self._worker, task)),
            accept_callback=accepted,
            timeout_callback=request.on_timeout,
            callback=lambda outcome: self._ended(job, outcome),
            error_callback=lambda problem: self._broke(job, problem),
            soft_timeout=task.soft_time_limit,
            timeout=task.time_limit,
            correlation_id=grant.id,
        )
        keep_once_sent(job.result)
        scale(self._worker)

    def _ended(self, job: Job, outcome: Outcome | Any) -> None:
        if was_ended(outcome):
            outcome = WorkerLostError("its greenlet was told to end")
        if not isinstance(outcome, tuple):
            self._broke(job, outcome)
            return
        failed, value, seconds, ending = outcome
        if ending is None:  # the run was cancelled, or waits without its process
            self._drop(job)
            self._news.put(None)
            task_ready(job.request)
            return
        self._release(job, ending)
        job.request.on_success((failed, value, seconds))

    def _release(self, job: Job, ending: Ending) -> None:
        """The slot is free as soon as the ending waits: one call records it and takes a run."""
        ending.has_data = job.grant.has_data
        if not stays(ending):
            self._drop(job)
        self._news.put(ending)

    def _later(self, seconds: float, job: Job) -> None:
        """Start the next attempt in place after its delay; the process is free meanwhile."""
        if self._jobs.get(job.grant.id) is not job:
            return
        if self._closing:
            self._put_back(job)
            return
        job.waiting, job.accepted, job.result = True, False, None
        call_later(seconds, self._resume, job)

    def _resume(self, job: Job) -> None:
        job.since, job.waiting = time.monotonic(), False
        self._on_hub(self._submit, job)

    def _broke(self, job: Job, problem: Any) -> None:
        """The pool's process died, or was killed for its time limit: record that for it."""
        if (self._closing and not is_over_hard_limit(cause(problem))) or job.request.cancelled:
            # The session's end gives the run back.
            self._closing = True
            self._drop(job)
            self._news.put(None)
        elif not job.accepted:
            self._put_back(job)
        else:
            ending = process_died(self._trigger, job.grant, problem, self._kernel_kills)
            self._release(job, ending)
        job.request.on_failure(problem)

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
        if answer == "ok":
            next_attempt(job.grant, ending)
            self._later(int(ending.detail) / 1000, job)
        else:
            self._drop(job)

    def _put_right(self, session: str, owned: dict[str, Owned]) -> None:
        """Compare with the store what is here; on the lease's thread."""
        self._kernel_kills.look()
        if session == self._session.id and not self._closing:
            self._pool_news.put_right(owned)

    def _replace_session(self) -> None:
        """Go on as a new session; what the old one started cannot be recorded any more."""
        self._lost = False
        self._jobs.clear()
        while not self._closing:
            try:
                self._session.replace()
                break
            except StoreError as problem:
                log_delay(problem, 0)
                time.sleep(0.5)
        self._hungry = True

    def _read_mailbox(self) -> None:
        while not self._stopped:
            mailbox = keys.key(self._trigger.scope, "mailbox", self._session.id)
            try:
                message = self._reader.pop(mailbox, LOOK_EVERY)
            except Exception:
                time.sleep(0.3)  # whatever it was: without wake-ups, looking now and then is left
                continue
            if message in SERVICES:
                self._services.poke(SERVICES[message])
            elif message is None or message == WORK:
                self._hungry = True
                self._news.put(None)
            elif (news := news_in(message)) and news[0] == "cancel":
                self._pool_news.cancel(*news[1:])
        self._reader.close()
