"""News of runs that are executed in a pool of processes or threads: cancels, and what was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trigger_celery.engine.attempts import Ending
from trigger_celery.engine.sessions import Owned
from trigger_celery.engine.waiting import evict_runs
from trigger_celery.store.store import Store
from trigger_celery.worker.audit import Audit
from trigger_celery.worker.early_cancels import EarlyCancels
from trigger_celery.worker.holding import cancel_here, cancel_in
from trigger_celery.worker.job import Job


class PoolNews:
    """Acts on the *jobs* of a consumer; *end* takes an ending, *drop* forgets a job."""

    def __init__(
        self,
        store: Store,
        worker: Any,
        jobs: dict[str, Job],
        end: Callable[[Ending], None],
        drop: Callable[[Job], None],
    ) -> None:
        self._store = store
        self._worker = worker
        self._jobs = jobs
        self._end = end
        self._drop = drop
        self._audit = Audit()
        self.early_cancels = EarlyCancels()

    def cancel(self, run_id: str, epoch: str) -> None:
        """The run was cancelled: tell its code, wherever it is executed."""
        job = self._jobs.get(run_id)
        if job is None:
            self.early_cancels.add(run_id, epoch)
            return
        if job.grant.epoch != epoch or cancel_here(run_id, epoch):
            return
        if job.waiting or not job.accepted:
            self._drop(job)
            return
        cancel_in(self._worker.pool, job, lambda: self._jobs.get(run_id) is job)

    def put_right(self, owned: dict[str, Owned]) -> None:
        """Do what news would have made this worker do that were lost."""
        known = {run_id: (job.grant.epoch, False) for run_id, job in list(self._jobs.items())}
        findings = self._audit.compare(owned, known)
        for ending in findings.give_back:
            self._end(ending)
        if findings.give_up:
            self._store.run_blocking(evict_runs(self._store.scope, findings.give_up))
        for run_id in findings.gone:
            self.cancel(run_id, known[run_id][0])
