"""Executes attempts on the event loop, through Celery's tracer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from functools import partial
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.run_log import end_log, send_log
from trigger_celery.engine.attempts import Ending
from trigger_celery.errors import RunLeaseLostError
from trigger_celery.model.packet import decode
from trigger_celery.worker.celery_internals import current_job, follow_job, scale, trace
from trigger_celery.worker.executor import RunExecution, invoke_async, invoke_sync
from trigger_celery.worker.job import Job
from trigger_celery.worker.log_capture import capture_logs
from trigger_celery.worker.parking import Keeper, RunParking
from trigger_celery.worker.pool import TaskPool
from trigger_celery.worker.request import EventSender, make_request
from trigger_celery.worker.run_data import (
    has_data,
    has_more,
    may_have_large_output,
    put_output_away,
    read_more,
    store_data,
)
from trigger_celery.worker.stopping import ActiveTime, stop_for_duration
from trigger_celery.worker.trampoline import await_in_greenlet, run_in_greenlet

logger = logging.getLogger("trigger_celery.worker")


class LoopAttempts:
    """Executes the attempts of one worker with an asyncio pool."""

    def __init__(self, trigger: TriggerCelery, worker: Any, keeper: Keeper) -> None:
        self._trigger = trigger
        self._worker = worker
        self._pool: TaskPool = worker.pool
        self._keeper = keeper
        self._events = EventSender(worker)
        self._followed: set[str] = set()

    async def execute(self, job: Job) -> Any:
        """Execute one attempt and return what Celery's request shall be told, if anything.

        The outcome is the execution's ending; none when the run was taken away or given up.
        Raises CancelledError when the attempt was stopped from outside.
        """
        execution = self._prepare(job)
        capture_logs(self._trigger)
        current_job.set(job)
        context.current_execution.set(execution)
        context.current_scope.set(execution.durable.root)
        execution.durable.root.task = asyncio.current_task()
        try:
            if has_more(job.grant):
                more = read_more(execution.durable, self._trigger, job.grant)
                await self._trigger.store.run_async(more)
            result = await self._trace(job, execution)
            if result is not None:
                execution.conclude(*result[:2])
            await execution.parking.regain()
            if has_data(execution.durable):
                await self._trigger.store.run_async(store_data(execution.durable))
            ending = execution.ending
            if ending is not None and may_have_large_output(ending):
                await self._trigger.store.run_async(put_output_away(self._trigger.scope, ending))
            if execution.log is not None:
                await end_log(execution)
        except (asyncio.CancelledError, RunLeaseLostError):
            raise
        except BaseException as problem:
            if execution.ending is None:
                execution.fail(problem)
            logger.exception(
                "run %s ended outside of its task", job.grant.id, extra={"run_id": job.grant.id}
            )
            return None
        finally:
            execution.durable.close()
            if execution.log is not None:
                send_log(execution)
            if job.active is not None:
                job.active.pause()
        return result

    def _prepare(self, job: Job) -> RunExecution:
        definition = REGISTRY.tasks[job.grant.task]
        how = _on_loop if definition.is_async else invoke_sync
        execution = job.execution = RunExecution(self._trigger, definition, job.grant, how)
        execution.parking = execution.durable.parking = RunParking(
            execution.durable,
            self._trigger.store,
            self._keeper,
            loop=self._pool.loop,
            in_thread=not definition.is_async,
            hold_seconds=self._trigger.settings.wait_hold,
            hooks=execution.wait_hooks,
        )
        job.active = None
        if execution.max_duration is not None:
            over = partial(stop_for_duration, job)
            job.active = ActiveTime(self._pool.loop, execution.max_duration, over)
        return execution

    async def _trace(self, job: Job, execution: RunExecution) -> Any:
        grant = job.grant
        task = self._worker.app.tasks[grant.task]
        if grant.task not in self._followed:
            self._followed.add(grant.task)
            follow_job(task)
        try:
            payload = decode(grant.payload, grant.payload_type)
            request = make_request(self._worker, self._events, task, grant, payload)
        except ValueError as problem:
            execution.fail(problem)
            return None
        job.request = request
        request.on_accepted(job.number, time.monotonic())
        if self._worker.max_concurrency:
            self._worker.hub.call_soon(scale, self._worker)
        told = request.request_dict
        arguments = (task, told["args"], told["kwargs"], told)
        if execution.definition.is_async:
            return await run_in_greenlet(trace, *arguments)
        inside = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._pool.threads, inside.run, trace, *arguments
        )


def ending_of(job: Job) -> Ending | None:
    """Return how the attempt ended, if that is for this worker to record."""
    execution = job.execution
    if execution is None or execution.canceled:
        return None
    return execution.ending


def _on_loop(execution: RunExecution) -> Any:
    return await_in_greenlet(invoke_async(execution))
