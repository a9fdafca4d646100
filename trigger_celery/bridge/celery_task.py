"""The Celery task of a definition: `.delay()` and `.apply_async()` create runs.

Everything of Celery's private surface that the client side touches is in this module.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured, QueueNotFound

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_words import TRIGGER_WORDS, meant
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.request import OPTIONS, build_run
from trigger_celery.bridge.result import RunBackend, RunResult
from trigger_celery.bridge.tracing import send, sent_flow
from trigger_celery.engine.triggering import NOWHERE, NewRun, Triggered, create_run
from trigger_celery.errors import InvalidOptionError, UnknownOptionError
from trigger_celery.store.op import Flow

if TYPE_CHECKING:
    from celery import Celery

    from trigger_celery.bridge.binding import TriggerCelery

_TIMES = {"countdown", "eta"}


class TaskRegistrar:
    """Registers definitions as tasks of one Celery app, once the app is finalized."""

    def __init__(self, app: Celery) -> None:
        self._app: Any = app
        self._waiting: dict[str, TaskDefinition] = {}
        self._task_class: type | None = None
        app.on_after_finalize.connect(self._register_waiting, weak=False)

    def register(self, definition: TaskDefinition) -> None:
        """Register the definition under its id; a later one with the same id replaces it."""
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
        self._app._task_from_fun(
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


def _shim(definition: TaskDefinition) -> Any:
    """Return the sync function that Celery's tracer calls: it hands over to the attempt."""

    def run(*args: Any, **kwargs: Any) -> Any:
        execution = context.current_execution.get()
        if execution is not None:
            return execution.invoke()
        return _outside_an_attempt(definition, args, kwargs)

    run.__name__ = definition.function.__name__
    run.__qualname__ = definition.function.__qualname__
    run.__module__ = definition.function.__module__
    run.__doc__ = definition.function.__doc__
    run.__signature__ = inspect.signature(definition.function)  # type: ignore[attr-defined]
    return run


def _outside_an_attempt(
    definition: TaskDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """A call in eager mode runs here; a message of a foreign producer becomes a run."""
    trigger = context.current()
    payload = payload_of(definition.id, args, kwargs)
    request = trigger.app.tasks[definition.id].request
    if request.called_directly or request.is_eager:
        value = definition.call_directly(payload)
        return asyncio.run(value) if definition.is_async and request.is_eager else value
    run = build_run(trigger, definition, definition.id, payload, {})
    return trigger.store.run_blocking(_made(trigger, run)).id


def _made(trigger: TriggerCelery, run: NewRun) -> Flow[Triggered]:
    """Return the flow that makes a run of nobody's."""
    sent = send(trigger, NOWHERE, "", (run,))
    origin = NOWHERE if sent is None else sent.origin
    flow = create_run(trigger.scope, run, trigger.settings.run_retention, origin)
    return sent_flow(sent, flow)


def payload_of(task_id: str, args: Any, kwargs: Any) -> Any:
    """Return the one payload of a Celery call. Raises InvalidOptionError for more than one."""
    args, kwargs = tuple(args or ()), dict(kwargs or {})
    if len(args) + len(kwargs) > 1 or (kwargs and set(kwargs) != {"payload"}):
        raise InvalidOptionError(
            f"task {task_id!r} takes one payload: .delay(payload) or "
            f".apply_async((payload,)). Got {_counted(args, kwargs)}: put them into one dict"
        )
    return args[0] if args else kwargs.get("payload")


def _counted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    named = f"the keywords {', '.join(kwargs)}" if kwargs else ""
    positional = f"{len(args)} values" if args else ""
    return " and ".join(filter(None, (positional, named)))


def _task_class(app: Celery) -> type:
    """Return the task class of this app's runs, on top of the app's own class."""
    parent: Any = app.Task

    class RunTask(parent):  # type: ignore[misc]
        """A Celery task whose calls create runs."""

        abstract = True

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            """Create a run and return Celery's AsyncResult with the run's id."""
            if self.app.conf.task_always_eager:
                return self.apply(args, kwargs)
            trigger = context.current()
            run = build_run(
                trigger,
                REGISTRY.tasks[self.name],
                self.name,
                payload_of(self.name, args, kwargs),
                _options(options),
            )
            made = trigger.store.run_blocking(_made(trigger, run))
            return self.AsyncResult(made.id)

        def delay(self, *args: Any, **kwargs: Any) -> Any:
            """Create a run of the payload; the same as `apply_async((payload,))`."""
            return self.apply_async(args, kwargs)

        def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:  # noqa: N802 - Celery's name
            """Return the result of a run; it reads the run's record."""
            return RunResult(
                task_id, backend=RunBackend(self.app), task_name=self.name, app=self.app
            )

    return RunTask


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Return trigger options for those of apply_async. None means not given."""
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in OPTIONS and name not in _TIMES:
            raise UnknownOptionError(
                f"apply_async of a @task has no option {name!r}."
                f"{meant(name, [*OPTIONS, *_TIMES], TRIGGER_WORDS)} It takes countdown, eta and the trigger "
                f"options: {', '.join(OPTIONS)}."
            )
    times = [name for name in ("countdown", "eta", "delay") if name in options]
    if len(times) > 1:
        raise InvalidOptionError(f"give one of {', '.join(times)}, not all")
    for name in _TIMES & set(times):
        options["delay"] = options.pop(name)
    return options


def routed_queue(app: Celery, task_id: str) -> str:
    """Return the Celery queue that `task_routes` gives a task, or the default queue."""
    try:
        routed = app.amqp.router.route({}, task_id)
    except (QueueNotFound, ImproperlyConfigured):
        routed = {}
    queue = routed.get("queue")
    name = getattr(queue, "name", queue) or app.conf.task_default_queue
    return str(name)
