"""A backend for Django's tasks: what they enqueue are runs.

A Django task is a task of ours whose id is its module path, with the queue and the priority that
Django gives it. Made for either of two packages that are nearly the same: `django.tasks`, and
`django_tasks` for older versions of Django.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.core import checks
from django.db import transaction
from django.utils import timezone

from trigger_celery.bridge.registry import REGISTRY, Queue, TaskDefinition
from trigger_celery.contrib.django.on_commit import trigger_on_commit
from trigger_celery.contrib.django.running import define
from trigger_celery.contrib.django.task_class import make_task_class, more_options
from trigger_celery.contrib.django.task_results import LEVEL, Results
from trigger_celery.errors import DefinitionError, InputError, RunNotFoundError, closest
from trigger_celery.model.run import Run
from trigger_celery.model.task_options import check_task_id
from trigger_celery.sdk import runs, triggering
from trigger_celery.sdk.handle import RunHandle
from trigger_celery.sdk.task import queue as declare_queue
from trigger_celery.store.op import Op

OPTIONS = (
    "retry", "max_duration", "ttl", "machine", "worker_queue", "queues", "enqueue_on_commit",
)  # fmt: skip
_TASK_OPTIONS = OPTIONS[:5]


class RunsOfTasks:
    """What enqueues Django's tasks as runs, on top of either package's base class."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    package: ClassVar[str]
    invalid: ClassVar[type[Exception]]
    does_not_exist: ClassVar[type[Exception]]
    # Django makes a backend object for each thread: what was declared is known to all of them.
    everybody: ClassVar[dict[str, Results]]
    declared: ClassVar[dict[str, tuple[TaskDefinition, Any]]]
    tasks: ClassVar[dict[str, Any]]

    alias: str
    queues: set[str]

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        _base(self).__init__(alias, params)
        given = params.get("OPTIONS", {})
        self._problems = _unfit(given, self.queues)
        self.options: dict[str, Any] = given if isinstance(given, dict) else {}
        results = Results(self.package, type(self), alias, self.tasks)
        self._results = self.everybody.setdefault(alias, results)
        if not self._problems:
            _declare_queues(self.queues, self.options.get("queues", {}))

    def validate_task(self, task: Any) -> None:
        """Refuse a task that cannot be executed, and declare it. Raises InvalidTask."""
        _base(self).validate_task(task)
        try:
            check_task_id(task.module_path)
            more_options(task)
            self._declare(task)
        except (DefinitionError, InputError) as problem:
            raise self.invalid(str(problem)) from problem

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Trigger the run of a task and return its result, READY."""
        result = self._result(task, args, kwargs)
        if not self.options.get("enqueue_on_commit"):
            handle = self._trigger(result).sync()
            if handle.is_cached:
                return self._found(result, runs.retrieve(handle.id).sync())
            return self._results.enqueued(result, handle.id)
        committing = trigger_on_commit(self._trigger(result))
        if committing.is_cached:  # there was no transaction
            return self._found(result, runs.retrieve(committing.id).sync())
        self._results.enqueued(result, committing.id)
        if not committing.is_created and "idempotency_key" in more_options(task):
            transaction.on_commit(lambda: self._results.rename(result, committing.id))
        return result

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """The same, without blocking the event loop; at once, as it knows of no transaction."""
        result = self._result(task, args, kwargs)
        handle = await self._trigger(result)
        if handle.is_cached:
            return self._found(result, await runs.retrieve(handle.id))
        return await sync_to_async(self._results.enqueued)(result, handle.id)

    def get_result(self, result_id: str) -> Any:
        """Return the result as it is now. Raises TaskResultDoesNotExist."""
        try:
            return self._results.of(runs.retrieve(result_id).sync())
        except (RunNotFoundError, LookupError) as problem:
            raise self.does_not_exist(result_id) from problem

    async def aget_result(self, result_id: str) -> Any:
        """The same, without blocking the event loop."""
        try:
            return self._results.of(await runs.retrieve(result_id))
        except (RunNotFoundError, LookupError) as problem:
            raise self.does_not_exist(result_id) from problem

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Return what is wrong with the backend's settings."""
        return [
            *_base(self).check(**kwargs),
            *(
                checks.Error(f"TASKS[{self.alias!r}]: {problem}", id="trigger_celery.E010")
                for problem in self._problems
            ),
        ]

    def _result(self, task: Any, args: Any, kwargs: Any) -> Any:
        self.validate_task(task)
        return self._results.new(task, args, kwargs)

    def _found(self, result: Any, run: Run) -> Any:
        """Return the result of the run that has the key of this one already."""
        try:
            return self._results.of(run)
        except LookupError:  # somebody triggered it by its id, in our words or by another backend
            return self._results.rename(result, run.id)

    def _trigger(self, result: Any) -> Op[RunHandle]:
        definition, options = self._declare(result.task), _trigger_options(result.task)
        payload = {"args": result.args, "kwargs": result.kwargs, "backend": self.alias}
        return triggering.trigger(definition, definition.id, payload, options)

    def _declare(self, task: Any) -> TaskDefinition:
        path = str(task.module_path)
        options = {name: self.options[name] for name in _TASK_OPTIONS if name in self.options}
        if getattr(task, "retry", None) is not None:
            options["retry"] = task.retry
        known, given = self.declared.get(path, (None, None))
        if known is None or given != options or REGISTRY.tasks.get(path) is not known:
            known = define(task, self._results, options)
            REGISTRY.add_task(known)
            self.declared[path] = known, options
            self.tasks[path] = task
        return known


def _base(backend: RunsOfTasks) -> Any:
    """Return the methods of the package's own base class."""
    return super(RunsOfTasks, backend)


def make_backend(package: str, module: str) -> type:
    """Return the backend class for `django.tasks` or `django_tasks`, to be found in *module*."""
    parent = import_module(f"{package}.backends.base").BaseTaskBackend
    exceptions = import_module(f"{package}.exceptions")
    about = {
        "__doc__": "Enqueues Django's tasks as runs.",
        "__module__": module,
        "package": package,
        "task_class": make_task_class(import_module(f"{package}.base").Task, module),
        "invalid": getattr(exceptions, "InvalidTask", None) or exceptions.InvalidTaskError,
        "does_not_exist": exceptions.TaskResultDoesNotExist,
        "everybody": {},
        "declared": {},
        "tasks": {},
    }
    return type("TriggerBackend", (RunsOfTasks, parent), about)


def _trigger_options(task: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"queue": task.queue_name, **more_options(task)}
    if task.priority:
        options["priority"] = task.priority * LEVEL
    if task.run_after is not None:
        at = task.run_after
        zone = timezone.get_default_timezone()
        options["delay"] = timezone.make_aware(at, zone) if timezone.is_naive(at) else at
    return options


def _unfit(options: Any, queues: Any) -> list[str]:
    """Return what is wrong with OPTIONS."""
    if not isinstance(options, dict):
        return [f"OPTIONS is {options!r:.60}, and should be a dict"]
    problems = [
        f"OPTIONS has no {name!r}.{closest(str(name), OPTIONS)} It takes {', '.join(OPTIONS)}."
        for name in options
        if name not in OPTIONS
    ]
    limits = options.get("queues", {})
    if not isinstance(limits, dict):
        return [*problems, f'OPTIONS["queues"] is {limits!r:.60}, and should be a dict']
    problems += [
        f'OPTIONS["queues"] has {name!r}, which is not in QUEUES.{closest(str(name), queues)}'
        for name in limits
        if name not in queues
    ]
    return problems


def _declare_queues(names: Any, limits: dict[str, Any]) -> None:
    """Let workers know the queues, with the options that the settings give them."""
    for name in sorted(names):
        if name not in REGISTRY.queues:
            if name in limits:
                declare_queue(name=name, **limits[name])
            else:
                REGISTRY.add_queue(Queue(name))
