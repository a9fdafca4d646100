"""Checks what a task is declared with, and turns a function into a definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trigger_celery.bridge.celery_words import TASK_WORDS, meant
from trigger_celery.bridge.hooks import NAMES, RENAMED, BoundHook, bind_hook, current_name
from trigger_celery.bridge.old_forms import machine_name
from trigger_celery.bridge.queue_option import make_queue, unknown_option, warn_of_old_form
from trigger_celery.bridge.registry import QUEUE_OPTIONS, Queue, TaskDefinition, inspect_function
from trigger_celery.bridge.schema import Schema
from trigger_celery.errors import DefinitionError, UnknownTaskOptionError
from trigger_celery.model import task_options as check
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.retry import Retry
from trigger_celery.model.schedule_options import EVERY, INTERVALS
from trigger_celery.model.trigger_options import check_ttl

T = TypeVar("T")
MIN_DURATION = check.MIN_DURATION_MS / 1000

_OPTIONS = (
    "id", "retry", "queue", "max_duration", "ttl", "machine", "description", "worker_queue",
    *NAMES,
)  # fmt: skip

_FURTHER = {"schema_task": ("schema",), "scheduled_task": ("cron", "catch_up", "catch_up_limit")}


def require_id(function: object, what: str, task_id: str) -> None:
    """Refuse a decorator without an id. Raises DefinitionError."""
    if function is None and task_id != "":
        return
    example = getattr(function, "__name__", "my_task").replace("_", "-")
    raise DefinitionError(f'@{what} needs an id: write @{what}(id="{example}")')


def refuse_unknown(unknown: Mapping[str, Any], what: str, task_id: str) -> None:
    """Refuse options that there are not. Raises UnknownTaskOptionError with the closest."""
    options = (*_OPTIONS, *_FURTHER.get(what, ()))
    for word in unknown:
        if word in NAMES or word in RENAMED:
            continue
        if word == "schema":
            hint = " Use schema_task for that."
        elif word in INTERVALS and what == "scheduled_task":
            hint = f" It takes a cron: {EVERY}."
        else:
            hint = meant(word, options, TASK_WORDS)
        raise UnknownTaskOptionError(
            f"{what}(id={task_id!r}) has no option {word!r}.{hint} Options: {', '.join(options)}."
        )


@dataclass(frozen=True, slots=True)
class Declared:
    """What a task is declared with, checked; its function is still to come."""

    id: str
    queue: Queue
    declares_queue: bool
    retry: Retry | None
    schema: Schema | None
    max_duration: float | None
    worker_queue: str | None
    description: str | None
    hooks: Mapping[str, BoundHook]
    ttl: int | None = None
    machine: str | None = None

    def define(self, function: Any) -> TaskDefinition:
        """Return the definition of the task with this function. Raises DefinitionError."""
        where = f"task(id={self.id!r})"
        if not callable(function) or inspect.isclass(function):
            raise DefinitionError(f"@{where} stands above {function!r}, which is not a function")
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise DefinitionError(
                f"@{where}: {function.__qualname__} is a generator; a task returns one value"
            )
        takes = inspect_function(function, self.id)
        code = inspect.unwrap(function).__code__
        doc = str(inspect.getdoc(function) or "").split("\n", 1)[0]
        return TaskDefinition(
            id=self.id,
            function=function,
            is_async=inspect.iscoroutinefunction(function),
            takes_payload=takes["payload"],
            takes_ctx=takes["ctx"],
            queue=self.queue,
            retry=self.retry,
            schema=self.schema,
            max_duration=self.max_duration,
            worker_queue=self.worker_queue,
            description=self.description or doc or None,
            file_path=code.co_filename,
            line=code.co_firstlineno,
            declares_queue=self.declares_queue,
            takes_signal=takes["signal"],
            takes_init=takes["init"],
            hooks=self.hooks,
            ttl=self.ttl,
            machine=self.machine,
        )


def declared(
    task_id: str,
    *,
    retry: Retry | Mapping[str, Any] | None,
    queue: Queue | Mapping[str, Any] | str | None,
    max_duration: float | str | None,
    description: str | None,
    worker_queue: str | None,
    schema: Schema | None,
    hooks: Mapping[str, Any],
    ttl: int | str | None,
    machine: str | Mapping[str, str] | None,
) -> Declared:
    """Check what a task is declared with. Raises DefinitionError."""
    check.check_task_id(task_id)
    where = f"task(id={task_id!r})"
    its_queue, declares_queue = _queue(queue, task_id, where)
    return Declared(
        id=task_id,
        queue=its_queue,
        declares_queue=declares_queue,
        retry=Retry.of(retry, where=where),
        schema=schema,
        max_duration=_duration(max_duration, where),
        worker_queue=worker_queue,
        description=description,
        hooks=_hooks(hooks, where),
        ttl=_checked(check_ttl, ttl, where),
        machine=_checked(machine_name, machine, where),
    )


def _checked(check: Callable[[Any], T], value: Any, where: str) -> T | None:
    try:
        return None if value is None else check(value)
    except ValueError as problem:
        raise DefinitionError(f"{where}: {problem}") from None


def _hooks(given: Mapping[str, Any], where: str) -> dict[str, BoundHook]:
    bound: dict[str, BoundHook] = {}
    for name, hook in given.items():
        if hook is None:
            continue
        today = current_name(name, where)
        if today in bound:
            raise DefinitionError(f"{where}: {name} is {today}, which is given as well")
        bound[today] = bind_hook(today, hook, where)
    return bound


def _duration(value: float | str | None, where: str) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_duration(value, name="max_duration") / 1000
    except ValueError as problem:
        raise DefinitionError(f"{where}: {problem}") from None
    if seconds < MIN_DURATION:
        raise DefinitionError(
            f"{where}: max_duration={value!r} is under the minimum of {MIN_DURATION:g} seconds"
        )
    return seconds


def _queue(
    given: Queue | Mapping[str, Any] | str | None, task_id: str, where: str
) -> tuple[Queue, bool]:
    """Return the queue of a task, and whether that declares it: a bare name does not."""
    if given is None:
        return Queue(f"task/{task_id}"), True
    if isinstance(given, Queue):
        return given, True
    if isinstance(given, str):
        return Queue(check.check_queue_name(given)), False
    if isinstance(given, Mapping):
        for word in given:
            if word not in ("name", *QUEUE_OPTIONS):
                raise UnknownTaskOptionError(f"{where}: queue has {unknown_option(word)}")
        if (name := given.get("name")) is None:
            return make_queue(f"task/{task_id}", given), True
        found = make_queue(name, given), len(given) > 1
        warn_of_old_form(where, given)
        return found
    raise DefinitionError(
        f"{where}: queue={given!r} is not a queue. Write queue=queue(name='shopify', "
        "concurrency_limit=4), or queue={'concurrency_limit': 4} for the task's own queue."
    )
