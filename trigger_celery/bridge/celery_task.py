"""The Celery task of a definition: `.delay()` and `.apply_async()` create runs.

Everything of Celery's private surface that the client side touches is in this module.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, current_task, group
from celery.exceptions import Ignore, ImproperlyConfigured, QueueNotFound

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_calls import payload_of
from trigger_celery.bridge.celery_side import CANVAS
from trigger_celery.bridge.listening import listen
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.result import RunBackend, RunResult
from trigger_celery.errors import StoreError

logger = logging.getLogger("trigger_celery.calls")

AGAIN_AFTER = 10
"""Seconds after which a message comes again of which no run could be made."""


class TaskRegistrar:
    """Registers definitions as tasks of one Celery app, once the app is finalized."""

    def __init__(self, app: Celery) -> None:
        self._app: Any = app
        self._waiting: dict[str, TaskDefinition] = {}
        self._task_class: type | None = None
        listen(app.on_after_finalize, self._register_waiting)

    def register(self, definition: TaskDefinition) -> None:
        """Register the definition under its id; a later one with the same id replaces it."""
        if definition.plain is not None:
            return  # the app has it
        if self._app.finalized:
            self._make(definition)
        else:
            self._waiting[definition.id] = definition

    def _register_waiting(self, **_: Any) -> None:
        for definition in list(self._waiting.values()):
            self._make(definition)
        self._waiting.clear()

    def _make(self, definition: TaskDefinition) -> None:
        if self._task_class is None:
            # As late as this: Flask and Django put their own Task class on the app first.
            self._task_class = _task_class(self._app)
        self._app.tasks.pop(definition.id, None)
        made = self._app._task_from_fun(
            _shim(definition),
            name=definition.id,
            base=self._task_class,
            ignore_result=True,
            acks_late=False,
            reject_on_worker_lost=False,
            max_retries=None,
            rate_limit=None,
            typing=False,
        )
        # By which Celery decides how an errback is called: a task of ours gets the failed task's id.
        made.__header__ = _one_payload


def _one_payload(payload: Any = None) -> None:
    """Stand for what every task of ours takes."""


def _shim(definition: TaskDefinition) -> Any:
    """Return the sync function that Celery's tracer calls: it hands over to the attempt."""

    def run(*args: Any, **kwargs: Any) -> Any:
        execution = context.current_execution.get()
        if execution is not None and execution.begins(definition):
            with canvas_shown(execution):
                return execution.invoke()
        return _outside_an_attempt(definition, args, kwargs)

    run.__name__ = definition.function.__name__
    run.__qualname__ = definition.function.__qualname__
    run.__module__ = definition.function.__module__
    run.__doc__ = definition.function.__doc__
    run.__signature__ = inspect.signature(definition.function)  # type: ignore[attr-defined]
    return run


@contextmanager
def canvas_shown(execution: context.Execution) -> Iterator[None]:
    """Let `self.request` show what goes on from the run, while its function is executed.

    Not longer: Celery's tracer would go on with it, before the outcome of the run is known.
    """
    side = execution.side
    if not side:
        yield
        return
    request = current_task.request
    shown: dict[str, Any] = {name: side[name] for name in CANVAS if name in side}
    request.update(shown)
    try:
        yield
    finally:
        request.update(dict.fromkeys(shown))


def _outside_an_attempt(
    definition: TaskDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A call in eager mode runs here; a message of a foreign producer becomes a run."""
    trigger = context.current()
    request = trigger.app.tasks[definition.id].request
    if request.called_directly or request.is_eager:
        value = definition.call_directly(payload_of(definition.id, args, kwargs))
        return asyncio.run(value) if definition.is_async and request.is_eager else value
    options = {name: value for name, value in request.as_execution_options().items() if value}
    options = {"ignore_result": request.ignore_result, "parent_id": "", **options}
    try:
        trigger.calls.call(definition, args, kwargs, options, warn=False)
    except StoreError as problem:
        # The message is the only trace of the call: it goes back to the broker.
        trigger.calls.send_plain(
            definition.id, args, kwargs, **{**options, "countdown": AGAIN_AFTER}
        )
        logger.warning(
            "the message %s of task %s is sent again, because no run could be made: %s",
            request.id,
            definition.id,
            problem,
            extra={"action": "adoption_delayed", "task_id": request.id},
        )
    raise Ignore("a run was made of the message")


def _task_class(app: Celery) -> type:
    """Return the task class of this app's runs, on top of the app's own class."""
    parent: Any = app.Task

    class RunTask(parent):  # type: ignore[misc]
        """A Celery task whose calls create runs."""

        abstract = True

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            """Create a run and return Celery's AsyncResult of it."""
            if self.app.conf.task_always_eager:
                return self.apply(args, kwargs, **options)
            return context.current().calls.call(REGISTRY.tasks[self.name], args, kwargs, options)

        def delay(self, *args: Any, **kwargs: Any) -> Any:
            """Create a run of the payload; the same as `apply_async((payload,))`."""
            return self.apply_async(args, kwargs)

        def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:  # noqa: N802 - Celery's name
            """Return the result of a run; it reads the run's record."""
            return RunResult(
                task_id,
                **{
                    "backend": RunBackend(self.app),
                    "task_name": self.name,
                    "app": self.app,
                    **kwargs,
                },
            )

        def map(self, it: Any) -> Any:
            """Return a group with one run an item: they obey their queue, and its result is a list."""
            return self.starmap((item,) for item in it)

        def starmap(self, it: Any) -> Any:
            """Return a group with one run an item, which is `(payload,)`."""
            return group([self.si(*item) for item in it], app=self.app)

        def chunks(self, it: Any, n: int) -> Any:
            """Return a group with a list for every *n* items, each `(payload,)`."""
            items = list(it)
            parts = (items[start : start + n] for start in range(0, len(items), n))
            together = self.app.tasks["celery.accumulate"].s(index=0)
            return group([self.starmap(part) | together for part in parts], app=self.app)

    return RunTask


def registered(app: Any, name: str) -> Any:
    """Return the app's task of that name, or None. Does not finalize the app, as `app.tasks` would.

    A registry of somebody's own may have no `get`.
    """
    try:
        return app._tasks[name]
    except KeyError:
        return None


def routed_queue(app: Celery, task_id: str) -> str:
    """Return the Celery queue that `task_routes` gives a task, or the default queue."""
    try:
        routed = app.amqp.router.route({}, task_id)
    except (QueueNotFound, ImproperlyConfigured):
        routed = {}
    queue = routed.get("queue")
    name = getattr(queue, "name", queue) or app.conf.task_default_queue
    return str(name)
