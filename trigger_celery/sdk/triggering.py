"""What every way of triggering shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.request import build_run
from trigger_celery.engine.triggering import create_run, create_runs
from trigger_celery.errors import InputError
from trigger_celery.model.duration import parse_duration
from trigger_celery.sdk.batch_items import at_index, batch_items
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.store.op import Flow, Op


def trigger(
    definition: TaskDefinition | None, task_id: str, payload: Any, options: Mapping[str, Any]
) -> Op[RunHandle]:
    """Return the operation that makes one run; bad input raises now."""
    bound = context.current()
    run = build_run(bound, definition, task_id, payload, options)

    def flow() -> Flow[RunHandle]:
        yield from create_run(bound.scope, run, bound.settings.run_retention)
        return RunHandle(run.id, task_id)

    return bound.op(flow(), "trigger")


def batch_trigger(
    definition: TaskDefinition | None, task_id: str, items: Sequence[Any]
) -> Op[BatchHandle]:
    """Return the operation that makes a run per item; bad input raises now, naming the item."""
    bound = context.current()
    runs = []
    for index, item in enumerate(batch_items(items)):
        try:
            runs.append(build_run(bound, definition, task_id, item.payload, item.options))
        except InputError as problem:
            raise at_index(problem, index) from problem

    def flow() -> Flow[BatchHandle]:
        yield from create_runs(bound.scope, runs, bound.settings.run_retention)
        return BatchHandle(tuple(RunHandle(run.id, task_id) for run in runs))

    return bound.op(flow(), "batch_trigger")


def patience(timeout: str | float | timedelta | None) -> float | None:
    """Return a timeout in seconds; None waits for ever. Raises InvalidDurationError."""
    return None if timeout is None else parse_duration(timeout, name="timeout") / 1000


def known(task_id: str) -> TaskDefinition | None:
    """Return the definition, if this process has it."""
    return REGISTRY.tasks.get(task_id)
