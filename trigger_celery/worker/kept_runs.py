"""The runs that an asyncio worker has in memory, those that wait among them, and news of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from trigger_celery.engine.attempts import Ending
from trigger_celery.engine.sessions import Owned
from trigger_celery.engine.waiting import evict_runs
from trigger_celery.errors import RunEvictedError, RunLeaseLostError, StoreError
from trigger_celery.store.store import Store
from trigger_celery.worker.audit import Audit
from trigger_celery.worker.early_cancels import EarlyCancels
from trigger_celery.worker.job import Job
from trigger_celery.worker.parking import RunParking
from trigger_celery.worker.recording import log_delay
from trigger_celery.worker.stopping import cancel_attempt


class KeptRuns:
    """All of it on the event loop's thread, but for what says otherwise.

    *look* is called when there may be room for other runs.
    """

    def __init__(
        self, store: Store, loop: asyncio.AbstractEventLoop, look: Callable[[], None]
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self.waiting: set[str] = set()
        """Those that hold no slot of the pool."""
        self._store = store
        self._loop = loop
        self._look = look
        self._audit = Audit()
        self._aside: set[asyncio.Task[None]] = set()
        self.early_cancels = EarlyCancels()

    def __len__(self) -> int:
        """How many slots of the pool they hold."""
        return len(self.jobs) - len(self.waiting)

    def told(self, word: str, run_id: str, detail: str) -> None:
        """News of a run: a wait is over, or it was cancelled."""
        job = self.jobs.get(run_id)
        if word == "cancel":
            self._cancel(job, run_id, detail)
        elif job is not None and job.execution is not None:
            job.execution.parking.told(word, detail)

    def _cancel(self, job: Job | None, run_id: str, epoch: str) -> None:
        if job is None:
            self.early_cancels.add(run_id, epoch)
        elif job.grant.epoch == epoch:
            self.forget(job)
            self._do(cancel_attempt(job))

    def expects(self, parking: RunParking) -> None:
        """Do nothing: the session's mailbox is read all the time."""

    def parked(self, parking: RunParking) -> None:
        """Free the pool's slot of a run that waits, or take it again. From any thread."""
        run_id = parking.durable.run_id
        job = self.jobs.get(run_id)
        if job is None:
            return
        if job.active is not None:
            clock = job.active.pause if parking.parked else job.active.go_on
            self._loop.call_soon_threadsafe(clock)
        if parking.in_thread:
            return
        if parking.parked:
            self.waiting.add(run_id)
            self._loop.call_soon_threadsafe(self._look)
        else:
            self.waiting.discard(run_id)

    def forget(self, job: Job) -> None:
        """The run is not here any more."""
        if self.jobs.get(job.grant.id) is job:
            del self.jobs[job.grant.id]
            self.waiting.discard(job.grant.id)

    def drop(self, run_id: str, reason: RunLeaseLostError) -> None:
        """Stop the run because it is not this worker's any more."""
        job = self.jobs.get(run_id)
        if job is not None:
            self.forget(job)
            job.give_up(reason)
            self._look()

    def drop_all(self, why: str) -> None:
        """Stop every run: they are somebody else's."""
        for run_id in list(self.jobs):
            self.drop(run_id, RunLeaseLostError(f"run {run_id} {why}"))

    def stop_all(self, why: str) -> None:
        """Stop every run; each is here until its code has ended."""
        for job in list(self.jobs.values()):
            job.give_up(RunLeaseLostError(f"run {job.grant.id} {why}"))

    def put_right(self, owned: dict[str, Owned], endings: list[Ending]) -> None:
        """Do what news would have made this worker do that were lost; adds to *endings*."""
        known = {run_id: (job.grant.epoch, job.parked) for run_id, job in self.jobs.items()}
        known |= {ending.run_id: (ending.epoch, False) for ending in endings}
        findings = self._audit.compare(owned, known)
        endings += findings.give_back
        for run_id in findings.go_on:
            self.told("resume", run_id, "-")
        for run_id in findings.gone:
            self.drop(run_id, RunLeaseLostError(f"run {run_id} is not this worker's any more"))
        if findings.give_up:
            self._do(self._give_up(findings.give_up))
        self._look()

    async def hand_over(self) -> None:
        """This worker ends: any other may go on with the runs that wait here."""
        jobs = [self.jobs[run_id] for run_id in self.waiting]
        await self._give_up([(job.grant.id, job.grant.epoch) for job in jobs])

    async def _give_up(self, runs: list[tuple[str, str]]) -> None:
        """Give up the memory of waiting runs; those that are here end here."""
        try:
            answers = await self._store.run_async(evict_runs(self._store.scope, runs))
        except StoreError as problem:
            log_delay(problem, 0)
            await asyncio.sleep(0.5)
            return
        for (run_id, _), answer in zip(runs, answers, strict=True):
            job = self.jobs.get(run_id)
            if answer != "granted":
                self.drop(run_id, RunEvictedError(f"run {run_id} waits without its process"))
            elif job is not None and job.execution is not None:
                job.execution.parking.look_again()

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine, context=Context())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
