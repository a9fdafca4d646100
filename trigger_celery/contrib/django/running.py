"""What a worker executes for a run of a Django task."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from celery import current_task

from trigger_celery.bridge.context import Context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.errors import DefinitionError
from trigger_celery.model.attempt_outcome import AttemptOutcome
from trigger_celery.sdk import runs
from trigger_celery.sdk.declaring import declared
from trigger_celery.sdk.metadata import metadata

if TYPE_CHECKING:
    from trigger_celery.contrib.django.task_results import Results

UNKNOWN = "unknown"
"""The worker of an attempt that died before it could say its name."""

WORKERS = "worker_ids"
"""Where the metadata of a run has the names of the workers that executed it."""


def define(task: Any, results: Results, options: Mapping[str, Any]) -> TaskDefinition:
    """Return the definition of a Django task. Raises DefinitionError."""
    is_async = inspect.iscoroutinefunction(task.func)
    function = (_async_function if is_async else _function)(task, results)
    function.__name__ = task.func.__name__
    function.__qualname__ = task.func.__qualname__
    function.__doc__ = task.func.__doc__
    checked = declared(
        task.module_path,
        retry=options.get("retry"),
        queue=task.queue_name,
        max_duration=options.get("max_duration"),
        description=None,
        worker_queue=options.get("worker_queue"),
        schema=None,
        hooks={"on_complete": (_async_tell if is_async else _tell)(task, results)},
        ttl=options.get("ttl"),
        machine=options.get("machine"),
    )
    code = inspect.unwrap(task.func).__code__
    return replace(checked.define(function), file_path=code.co_filename, line=code.co_firstlineno)


def _function(task: Any, results: Results) -> Callable[..., Any]:
    def run(payload: Any, ctx: Context) -> Any:
        args, kwargs = arguments(task, payload)
        name = _begin()
        before = runs.retrieve(ctx.run.id).sync() if ctx.attempt.number > 1 else None
        result = results.running(task, payload, ctx, before, name)
        if not replaying():
            results.tell_started(result)
        given = (results.context(result),) if task.takes_context else ()
        return results.normal(task.func(*given, *args, **kwargs))

    return run


def _async_function(task: Any, results: Results) -> Callable[..., Any]:
    async def run(payload: Any, ctx: Context) -> Any:
        args, kwargs = arguments(task, payload)
        name = _begin()
        before = await runs.retrieve(ctx.run.id) if ctx.attempt.number > 1 else None
        result = results.running(task, payload, ctx, before, name)
        if not replaying():
            await sync_to_async(results.tell_started)(result)
        given = (results.context(result),) if task.takes_context else ()
        return results.normal(await task.func(*given, *args, **kwargs))

    return run


def _tell(task: Any, results: Results) -> Callable[..., Any]:
    def tell_ended(payload: Any, ctx: Context, result: AttemptOutcome) -> None:
        run = runs.retrieve(ctx.run.id).sync()
        results.tell_ended(task, payload, run, result, worker_name())

    return tell_ended


def _async_tell(task: Any, results: Results) -> Callable[..., Any]:
    async def tell_ended(payload: Any, ctx: Context, result: AttemptOutcome) -> None:
        run = await runs.retrieve(ctx.run.id)
        given = task, payload, run, result, worker_name()
        await sync_to_async(results.tell_ended)(*given)

    return tell_ended


def _begin() -> str:
    """Note who executes this attempt."""
    name = worker_name()
    metadata.append(WORKERS, name)
    return name


def replaying() -> bool:
    """Whether this attempt has begun before, and goes on after a wait."""
    durable = current_durable()
    return durable is not None and durable.replaying


def worker_name() -> str:
    """Return the name of the worker that executes this code."""
    request = getattr(current_task, "request", None)  # none in a hook of a run that crashed
    return str(getattr(request, "hostname", None) or UNKNOWN)


def arguments(task: Any, payload: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what the function is called with; somebody may have triggered it by its id."""
    if isinstance(payload, dict) and set(payload) <= {"args", "kwargs", "backend"}:
        return list(payload.get("args") or ()), dict(payload.get("kwargs") or {})
    raise DefinitionError(
        f"the Django task {task.module_path} takes a payload {{'args': […], 'kwargs': {{…}}}}, "
        f"not {payload!r:.80}. Enqueue it: .enqueue(…)"
    )
