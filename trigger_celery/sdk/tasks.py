"""`tasks`: trigger by id, from a process that need not import the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.bridge.request import build_run
from trigger_celery.engine.triggering import create_watched_run
from trigger_celery.model.run import Run
from trigger_celery.model.task_options import check_task_id
from trigger_celery.sdk import triggering
from trigger_celery.sdk.batch_items import BatchItem
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.triggering import patience
from trigger_celery.store.op import Op


def trigger(task_id: str, payload: Any = None, **options: Any) -> Op[RunHandle]:
    """Make a run of the task with this id. Options are those of `Task.trigger`.

    The payload is sent as it is: a schema is checked in the worker, where a bad payload fails
    the run without a retry. An id that no worker knows is accepted; the run waits for one.
    """
    return triggering.trigger(_definition(task_id), task_id, payload, options)


def batch_trigger(task_id: str, items: Sequence[BatchItem | Mapping[str, Any]]) -> Op[BatchHandle]:
    """Make a run of the task for each of up to 1,000 items, in one pipeline."""
    return triggering.batch_trigger(_definition(task_id), task_id, items)


def trigger_and_poll(
    task_id: str,
    payload: Any = None,
    *,
    timeout: str | float | timedelta | None = None,
    **options: Any,
) -> Op[Run]:
    """Make a run and wait until it is final; returns the run, whatever its outcome.

    Blocks its caller: not for a web view. Raises PollTimeoutError after *timeout*; the
    run goes on. None waits for ever.
    """
    bound = context.current()
    run = build_run(bound, _definition(task_id), task_id, payload, options)
    retention = bound.settings.run_retention
    return bound.op(
        create_watched_run(bound.scope, run, retention, patience(timeout)), "tasks.trigger_and_poll"
    )


def _definition(task_id: str) -> TaskDefinition | None:
    """Return what is known here of an id, without its schema: by id nothing is validated."""
    check_task_id(task_id)
    definition = triggering.known(task_id)
    if definition is None or definition.schema is None:
        return definition
    return replace(definition, schema=None)
