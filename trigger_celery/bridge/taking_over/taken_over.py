"""Takes over Celery tasks as they are: their calls move into the run queue, their code stays.

A task is taken over when its name fits a pattern of the setting `manage`, or when it says so itself
with `@app.task(trigger=True)` or `trigger={…}`. Its body, its class and its signature stay; what
changes is `run`, which hands over to the attempt when it is a run's, and what `send_task` does.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from celery.backends.base import DisabledBackend
from celery.exceptions import Retry as CeleryRetry

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_calls import Call, CeleryCalls
from trigger_celery.bridge.celery_options import LIMITS, TIMES, sort_options
from trigger_celery.bridge.celery_task import canvas_shown, registered
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.result import KeptResult, result_of_run
from trigger_celery.bridge.routing import queue_of
from trigger_celery.bridge.taking_over.arguments import arguments_of, is_exact, pack
from trigger_celery.bridge.taking_over.options import TakenOptions
from trigger_celery.bridge.taking_over.results import (
    eta_of,
    expect_reply,
    expiry_of,
    inherited_priority,
)
from trigger_celery.bridge.taking_over.states import showing_states
from trigger_celery.bridge.task_ids import new_task_id
from trigger_celery.engine.continuing import change_call
from trigger_celery.errors import (
    PayloadNotSerializableError,
    PayloadTooLargeError,
)
from trigger_celery.model.task_options import check_task_id

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.calls")

PRIORITY_STEP: Final = 60.0
"""Seconds of head start that one of Celery's priorities makes."""

_HIGH_FIRST: Final = ("amqp", "amqps", "pyamqp", "librabbitmq", "qpid")
_ROUTES: Final = ("queue", "exchange", "routing_key")
_OF_TASK: Final = ("expires", "ignore_result", "priority", *LIMITS)


@dataclass(slots=True)
class Attempt:
    """The call of a task that an attempt makes."""

    task_id: str
    retries: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    asked: CeleryRetry | None = None
    """`self.retry` was called."""


class TakenTask:
    """One Celery task that was taken over."""

    def __init__(self, task: Any, options: TakenOptions) -> None:
        self.task = task
        self.options = options
        self._run = task.run
        self._before = {name: vars(task)[name] for name in _REPLACED if name in vars(task)}
        self.definition = self._define()

    def arguments(self, payload: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the task is called with. Raises InvalidOptionError."""
        return arguments_of(self.task.name, payload)

    def replace(self) -> None:
        """Let attempts of runs go through us."""
        task, definition = self.task, self.definition

        @functools.wraps(self._run)
        def run(*args: Any, **kwargs: Any) -> Any:
            execution = context.current_execution.get()
            if execution is None or not execution.begins(definition):
                return self._run(*args, **kwargs)
            request = task.request
            token = context.current_call.set(
                Attempt(request.id, request.retries or 0, args, kwargs)
            )
            try:
                with canvas_shown(execution):
                    return execution.invoke()
            finally:
                context.current_call.reset(token)

        task.run = run
        task.update_state = showing_states(task, definition)
        task.AsyncResult = functools.partial(_result, task)
        task.__trace__ = None  # made of the function that it was

    @contextmanager
    def called(self, task_id: str, number: int, payload: Any) -> Iterator[None]:
        """Show the task the request of an attempt, where no worker does: inline."""
        args, kwargs = self.arguments(payload)
        asked = {"id": task_id, "retries": number - 1, "called_directly": False}
        self.task.push_request(args=args, kwargs=kwargs, **asked)
        token = context.current_call.set(Attempt(task_id, number - 1, args, kwargs))
        try:
            yield
        finally:
            context.current_call.reset(token)
            self.task.pop_request()

    def give_back(self) -> None:
        """Let the task be as it was."""
        for name in _REPLACED:
            if name in self._before:
                setattr(self.task, name, self._before[name])
            else:
                vars(self.task).pop(name, None)

    def _call(self, payload: Any) -> Any:
        attempt = context.current_call.get()
        if attempt is None:  # without a run: `call_directly`
            args, kwargs = self.arguments(payload)
            return self.task(*args, **kwargs)
        value = self._run(*attempt.args, **attempt.kwargs)
        if attempt.asked is not None:
            raise attempt.asked
        return value

    def _define(self) -> TaskDefinition:
        task, options = self.task, self.options
        function = inspect.unwrap(getattr(task, "_orig_run", self._run))
        code = getattr(function, "__code__", None)
        doc = str(inspect.getdoc(function) or "").split("\n", 1)[0]
        queue, declares = options.queue_of(task)
        return TaskDefinition(
            id=check_task_id(task.name),
            function=_named(self._call, function),
            is_async=False,
            takes_payload=True,
            takes_ctx=False,
            queue=queue,
            retry=options.retry_of(task),
            schema=None,
            max_duration=options.max_duration,
            worker_queue=options.worker_queue or getattr(task, "queue", None),
            description=doc or None,
            file_path=getattr(code, "co_filename", ""),
            line=getattr(code, "co_firstlineno", 0),
            declares_queue=declares,
            ttl=options.ttl,
            machine=options.machine,
            plain=self,
        )


_REPLACED: Final = ("run", "AsyncResult", "update_state", "__trace__")


def _named(call: Any, function: Any) -> Any:
    """Return what calls the task, with the name that its code has."""

    def taken(payload: Any) -> Any:
        return call(payload)

    taken.__qualname__ = getattr(function, "__qualname__", "run")
    taken.__name__ = getattr(function, "__name__", "run")
    taken.__module__ = getattr(function, "__module__", __name__)
    return taken


def _result(task: Any, task_id: str, **kwargs: Any) -> Any:
    """Return the result of a call: what the app's backend has, or without one the run's record."""
    if isinstance(task.backend, DisabledBackend):
        return result_of_run(context.current(), task_id, task.name)
    given = {"backend": task.backend, "task_name": task.name, "app": task.app, **kwargs}
    return KeptResult(task_id, **given)


class TakenOver:
    """The Celery tasks of one app whose calls make runs."""

    def __init__(self, trigger: TriggerCelery, calls: CeleryCalls) -> None:
        self._trigger = trigger
        self._calls = calls
        self._tasks: dict[str, TakenTask] = {}
        self._fits: dict[str, TakenOptions | None] = {}

    def look(self) -> None:
        """Take over what is registered by now and fits. Safe to call again."""
        for name, task in list(self._trigger.app._tasks.items()):  # type: ignore[attr-defined]
            if name not in self._tasks:
                self._take(name, task)

    def give_back(self) -> None:
        """Let all of them be as they were."""
        for name, taken in self._tasks.items():
            taken.give_back()
            if REGISTRY.tasks.get(name) is taken.definition:
                del REGISTRY.tasks[name]
        self._tasks.clear()
        self._fits.clear()

    def forget(self) -> None:
        """The setting `manage` may have changed; what has been taken over stays so."""
        self._fits.clear()

    def takes(self, name: str) -> bool:
        """Whether calls of a task with this name make runs; the task need not be known here."""
        if name in self._tasks:
            return True
        task = registered(self._trigger.app, name)
        if task is not None:
            return self._take(name, task)
        return self._options_of(name) is not None

    def _take(self, name: str, task: Any) -> bool:
        options = self._options_of(name)
        said = getattr(task, "trigger", None)
        if said is False or name.startswith("celery."):
            return False
        if options is None and not (said is True or isinstance(said, Mapping)):
            return False
        known = REGISTRY.tasks.get(name)
        if known is not None and known.plain is None:
            return False  # a task of ours has the name
        own = said if isinstance(said, Mapping) else {}
        taken = TakenTask(task, (options or TakenOptions()).with_own(name, own))
        if known is not None:
            del REGISTRY.tasks[name]
        REGISTRY.add_task(taken.definition)
        taken.replace()
        self._tasks[name] = taken
        return True

    def _options_of(self, name: str) -> TakenOptions | None:
        if name not in self._fits:
            if len(self._fits) > 10_000:
                self._fits.clear()
            self._fits[name] = next(
                (
                    TakenOptions().with_own(f"manage[{pattern!r}]", options)
                    for pattern, options in self._trigger.managed.items()
                    if fnmatchcase(name, pattern) and not name.startswith("celery.")
                ),
                None,
            )
        return self._fits[name]

    # Calls

    def send(
        self,
        name: str,
        definition: TaskDefinition | None,
        args: Any,
        kwargs: Any,
        options: dict[str, Any],
    ) -> Any:
        """Make a run of a call, or note that the attempt under way asks for another."""
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        attempt, retries = context.current_call.get(), options.get("retries") or 0
        if attempt is not None and options.get("task_id") == attempt.task_id:
            if retries == attempt.retries + 1:
                return self._note_retry(name, attempt, args, kwargs, options)
        elif retries:
            # A message that came through the broker: its retries go the same way.
            return self._calls.send_plain(name, args, kwargs, **options)
        definition = definition or REGISTRY.tasks.get(name)
        try:
            return self._make(name, definition, args, kwargs, dict(options))
        except (PayloadNotSerializableError, PayloadTooLargeError) as unfit:
            logger.warning(
                "a call of task %s is sent through the broker, because a run cannot carry its "
                "arguments: %s",
                name,
                unfit,
                extra={"action": "call_not_taken_over", "task": name},
            )
            return self._calls.send(name, args, kwargs, **options)

    def _make(
        self,
        name: str,
        definition: TaskDefinition | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
    ) -> Any:
        app: Any = self._trigger.app
        taken = self._tasks.get(name)
        said = self._options_of(name) if taken is None else taken.options
        options["task_id"] = options.get("task_id") or new_task_id()
        worker_queue, is_given = self._worker_queue(name, args, kwargs, options)
        if taken is not None and options.get("task_type") is None:  # called by its name
            for own in _OF_TASK:
                options.setdefault(own, getattr(taken.task, own))
        priority = options.pop("priority", None)
        if priority is None:
            priority = inherited_priority(app, options)
        limits = [options.get(limit) for limit in LIMITS]
        if taken is not None:
            for limit in LIMITS:  # as before: the pool sees to those of the task
                if options.get(limit) == getattr(taken.task, limit):
                    options.pop(limit, None)
        given = (said or TakenOptions()).for_call(args, kwargs)
        given.update({key: value for key, value in options.items() if value is not None})
        if priority is not None and "priority" not in given:
            given["priority"] = self._head_start(priority)
        sorted_options = sort_options(name, given, warn=False)
        side = sorted_options.side
        if any(given.get(name) for name in TIMES):
            side["eta"] = eta_of(given)
        if given.get("expires") is not None:
            side["expires"] = expiry_of(given["expires"])
        if any(limits):
            side["timelimit"] = limits
        side["delivery_info"] = {
            "exchange": "", "routing_key": worker_queue, "priority": priority, "redelivered": False,
        }  # fmt: skip
        backend = app.backend if taken is None else taken.task.backend
        stored = not isinstance(backend, DisabledBackend)
        expect_reply(app, backend, side)
        exact = is_exact(None if taken is None else taken.task, app.conf, options)
        payload = pack(args, kwargs, exact=exact)
        call = Call(definition, name, payload, sorted_options, stored, worker_queue, is_given)
        made: KeptResult = self._calls.make(call)
        if stored and made.id == options["task_id"]:
            made = KeptResult(made.id, backend=backend, task_name=name, app=app)
        made.ignored = bool(side.get("ignore_result"))  # then `get()` does not wait
        return made

    def _worker_queue(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[str, bool]:
        """Return the Celery queue that the call would have gone to: its workers execute the run.

        And whether the caller says so, by options or routes: then it counts before what workers say.
        """
        app: Any = self._trigger.app
        asked = {key: options.pop(key, None) for key in _ROUTES}
        asked = {key: value for key, value in asked.items() if value is not None}
        taken = self._tasks.get(name)
        if not asked:
            said = self._options_of(name) if taken is None else taken.definition
            if said is not None and said.worker_queue:
                return said.worker_queue, taken is None
        task, router = None if taken is None else taken.task, app.amqp.router
        if asked:
            return queue_of(app, router.route(asked, name, args, kwargs, task)), True
        route = router.lookup_route(name, args, kwargs, {}, task)
        routed = router.expand_destination(route or app.conf.task_default_queue)
        return queue_of(app, routed), bool(route)

    def _head_start(self, priority: Any) -> float:
        """Return the seconds for one of Celery's priorities, whose sense is the broker's."""
        conf: Any = self._trigger.app.conf
        scheme = str(conf.broker_write_url or conf.broker_url or "").split(":", 1)[0]
        return float(priority) * (PRIORITY_STEP if scheme in _HIGH_FIRST else -PRIORITY_STEP)

    def _note_retry(
        self,
        name: str,
        attempt: Attempt,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        """The attempt ends with another one to come; its arguments may be others."""
        when = options.get("eta") or options.get("countdown")
        execution: Any = context.current_execution.get()
        if (args, kwargs) != (tuple(attempt.args), attempt.kwargs):
            packet = pack(args, kwargs)
            grant = execution.grant
            store, scope = self._trigger.store, self._trigger.scope
            if store.run_blocking(change_call(scope, grant.id, grant.epoch, payload=packet)):
                grant.payload, grant.payload_type = packet.data, packet.type
                grant.payload_apart, grant.changed = False, True
        attempt.asked = CeleryRetry(when=when)
        return self._tasks[name].task.AsyncResult(attempt.task_id)
