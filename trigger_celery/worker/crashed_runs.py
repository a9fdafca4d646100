"""Tells `on_failure` and `on_complete` of runs whose process died for good.

The worker that finds a run CRASHED tells them: the one whose pool process died, or the one that
swept up after a dead worker. At most once, and only if that worker has the task. The run is final
by then, and nothing of the attempt is there: no middleware, no init, no locals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.engine import querying
from trigger_celery.engine.admission import options_of
from trigger_celery.engine.attempts import Grant
from trigger_celery.errors import RunFailedError, RunNotFoundError, StoreError
from trigger_celery.model.attempt_outcome import AttemptOutcome
from trigger_celery.model.packet import encode
from trigger_celery.model.run import Run
from trigger_celery.worker.executor import RunExecution
from trigger_celery.worker.grounds import BESIDE
from trigger_celery.worker.parking import RunParking

logger = logging.getLogger("trigger_celery.worker")


class CrashedRuns:
    """The crashed runs that one worker finds. Their hooks are called on its event loop."""

    def __init__(
        self, trigger: TriggerCelery, loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        self._trigger = trigger
        self._loop = loop

    def tell(self, run_id: str) -> None:
        """The run is CRASHED. May be called from any thread; does not wait for the hooks."""
        if REGISTRY.hooks or any(one.hooks for one in list(REGISTRY.tasks.values())):
            asyncio.run_coroutine_threadsafe(self._tell(run_id), self._loop())

    async def _tell(self, run_id: str) -> None:
        store = self._trigger.store
        try:
            run = await store.run_async(querying.read_run(store.scope, run_id))
        except (StoreError, RunNotFoundError) as problem:
            logger.warning(
                "the hooks of run %s, which crashed, are not called: %s",
                run_id,
                problem,
                extra={"action": "crash_untold", "run_id": run_id},
            )
            return
        definition = REGISTRY.tasks.get(run.task_identifier)
        if definition is None:
            return
        execution = self._execution(run, definition)
        error = RunFailedError(run.error.message if run.error is not None else f"{run_id} crashed")
        await execution.tell_hooks("on_failure", BESIDE, error=error)
        outcome = AttemptOutcome(False, error=error)
        await execution.tell_hooks("on_complete", BESIDE, result=outcome)
        await BESIDE.finish(execution)

    def _execution(self, run: Run, definition: TaskDefinition) -> RunExecution:
        packet = encode(run.payload, error=ValueError, too_large=ValueError, what="payload")
        created, started = run.created_at, run.started_at
        grant = Grant(
            id=run.id,
            epoch="",
            attempt=run.attempt_count,
            executing=False,
            task=definition.id,
            queue=run.queue or "",
            concurrency_key=run.concurrency_key or "",
            created_ms=round(created.timestamp() * 1000) if created is not None else 0,
            queued_ms=0,
            priority_ms=round(run.priority * 1000),
            max_attempts=run.max_attempts,
            tags=tuple(run.tags),
            payload_type=packet.type,
            payload=packet.data,
            parent_id=run.parent_id,
            root_id=run.root_id,
            depth=run.depth,
            batch_id=run.batch_id,
            started_ms=None if started is None else round(started.timestamp() * 1000),
            options=options_of(run),
        )
        execution = RunExecution(self._trigger, definition, grant, lambda _: None)
        execution.parking = RunParking(
            execution.durable, self._trigger.store, _Nobody(), loop=self._loop()
        )
        return execution


class _Nobody:
    """Keeps nothing: the run is over."""

    def expects(self, parking: RunParking) -> None:
        """Do nothing: a run that is over does not wait."""

    def parked(self, parking: RunParking) -> None:
        """Do nothing."""
