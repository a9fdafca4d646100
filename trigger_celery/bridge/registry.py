"""Task and queue definitions by id: what `@task` and `queue()` declared in this process."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from trigger_celery.bridge.hooks import BoundHook
from trigger_celery.bridge.schema import Schema
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.errors import DefinitionError, DuplicateTaskIdError
from trigger_celery.model.retry import Retry
from trigger_celery.model.schedule import DeclaredCron


@dataclass(frozen=True, slots=True)
class Queue:
    """A declared queue. The limit bounds how many of its runs execute at once; None: no limit.

    Every concurrency key has the whole limit to itself; `total_concurrency_limit` bounds the sum.
    Rates bound how many start in a time: of the whole queue, and of each key. `size_limit` bounds
    how many wait; None is the setting `queue_size_limit`.
    """

    name: str
    concurrency_limit: int | None = None
    total_concurrency_limit: int | None = None
    rate_limit: str | None = None
    rate_limit_per_key: str | None = None
    size_limit: int | None = None


class PlainTask(Protocol):
    """A Celery task that was taken over."""

    def arguments(self, payload: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the task is called with in a run of this payload."""
        ...

    def called(self, task_id: str, number: int, payload: Any) -> AbstractContextManager[None]:
        """Show the task the request of an attempt, where no worker does."""
        ...


QUEUE_OPTIONS = (
    "concurrency_limit", "total_concurrency_limit", "rate_limit", "rate_limit_per_key", "size_limit",
)  # fmt: skip
"""What a queue may be declared with besides its name."""


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """All that `@task` was told, and what its function asks for."""

    id: str
    function: Callable[..., Any]
    is_async: bool
    takes_payload: bool
    takes_ctx: bool
    queue: Queue
    retry: Retry | None
    schema: Schema | None
    max_duration: float | None
    worker_queue: str | None
    description: str | None
    file_path: str
    line: int
    declares_queue: bool = True
    """False when the task only names a queue that is declared elsewhere."""
    takes_signal: bool = False
    takes_init: bool = False
    hooks: Mapping[str, BoundHook] = field(default_factory=dict)
    """Its own hooks by name."""
    ttl: int | None = None
    """In ms; 0 is none, whatever the settings say."""
    machine: str | None = None
    plain: PlainTask | None = None
    """The Celery task whose calls it takes over; None for a task of ours."""
    scheduled: bool = False
    """Whether schedules may be made for it."""
    cron: DeclaredCron | None = None
    """The schedule that it declares itself."""

    @property
    def place(self) -> str:
        """Where the function is written, for messages."""
        return f"{self.file_path}:{self.line} ({self.function.__qualname__})"

    def call_directly(self, payload: Any) -> Any:
        """Call the function without a run: the payload validated as in a run, `ctx` is None."""
        if self.schema is not None:
            payload = self.schema.parse(payload, self.id)
        return self.call(payload, None, RunSignal())

    def call(self, payload: Any, ctx: Any, signal: RunSignal, init: Any = None) -> Any:
        """Call the function with what it asks for; a coroutine for async functions."""
        named: dict[str, Any] = {}
        if self.takes_ctx:
            named["ctx"] = ctx
        if self.takes_signal:
            named["signal"] = signal
        if self.takes_init:
            named["init"] = {} if init is None else init
        return self.function(payload, **named) if self.takes_payload else self.function(**named)


def inspect_function(function: Callable[..., Any], task_id: str) -> dict[str, bool]:
    """Return whether the function takes payload, ctx, signal and init. Raises DefinitionError.

    The first positional parameter is the payload, whatever its name; the others go by name.
    """
    payload = False
    named = {"ctx": False, "signal": False, "init": False}
    parameters = list(inspect.signature(function).parameters.values())
    for position, parameter in enumerate(parameters):
        kind = parameter.kind
        if parameter.name in named and kind is not parameter.POSITIONAL_ONLY:
            named[parameter.name] = True
        elif position == 0 and kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        ):
            payload = True
        elif parameter.default is parameter.empty and kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise DefinitionError(
                f"task {task_id!r}: parameter {parameter.name!r} of "
                f"{function.__qualname__} is nothing a run can pass. A task takes one payload "
                "and, by name, `ctx`, `signal` and `init`: def my_task(payload, ctx). Put further "
                "values into the payload."
            )
    return {"payload": payload, **named}


class Registry:
    """Definitions of one process, kept from import on; apps are bound to them later."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskDefinition] = {}
        self.queues: dict[str, Queue] = {}
        self.config: dict[str, Any] = {}
        self.hooks: dict[str, dict[object, BoundHook]] = {}
        """Those of all tasks, by what they are known by; no name without any."""
        self._listeners: list[Callable[[TaskDefinition], None]] = []

    def add_task(self, definition: TaskDefinition) -> None:
        """Register a task. Raises DuplicateTaskIdError when another function has its id."""
        known = self.tasks.get(definition.id)
        if known is not None and not _same_function(known, definition):
            raise DuplicateTaskIdError(
                f"task id {definition.id!r} is defined twice:\n"
                f"  - {known.place}\n  - {definition.place}\n"
                "Ids are unique within a project: rename one of them."
            )
        self.tasks[definition.id] = definition
        if definition.declares_queue:
            self.add_queue(definition.queue)
        for listener in list(self._listeners):
            listener(definition)

    def add_queue(self, declared: Queue) -> Queue:
        """Register a queue and return the one that counts: the first declaration of a name."""
        known = self.queues.setdefault(declared.name, declared)
        differ = [
            f"{option}={getattr(declared, option)} (before: {getattr(known, option)})"
            for option in QUEUE_OPTIONS
            if getattr(declared, option) != getattr(known, option)
        ]
        if differ:
            warnings.warn(
                f"queue {declared.name!r} is declared again with {', '.join(differ)}: the first counts. "
                "Declare it once and import it.",
                stacklevel=4,
            )
        return known

    def add_hook(self, name: str, key: object, hook: BoundHook) -> None:
        """Register a hook of all tasks; one with the same key is replaced, at its place."""
        self.hooks.setdefault(name, {})[key] = hook

    def configure_hooks(self, hooks: Mapping[str, BoundHook]) -> None:
        """Register the hooks of the project's configuration: before all others, in place of the last."""
        for name in {*self.hooks, *hooks}:
            others = self.hooks.pop(name, {})
            others.pop(_CONFIGURED, None)
            first: dict[object, BoundHook] = {_CONFIGURED: hooks[name]} if name in hooks else {}
            if first or others:
                self.hooks[name] = first | others

    def hooks_of(self, definition: TaskDefinition, name: str) -> list[BoundHook]:
        """Return the hooks of a name that a task's runs call: those of all tasks, then its own."""
        own = definition.hooks.get(name)
        everybody = self.hooks.get(name)
        return [*(everybody.values() if everybody else ()), *((own,) if own is not None else ())]

    def on_task(self, listener: Callable[[TaskDefinition], None]) -> None:
        """Call *listener* for every task, those known already and those still to come."""
        self._listeners.append(listener)
        for definition in list(self.tasks.values()):
            listener(definition)

    def off_task(self, listener: Callable[[TaskDefinition], None]) -> None:
        """Stop calling *listener*."""
        self._listeners.remove(listener)

    def clear(self) -> None:
        """Forget every definition; for tests and reloads."""
        self.tasks.clear()
        self.queues.clear()
        self.config.clear()
        self.hooks.clear()


_CONFIGURED = "the configuration's"


def _same_function(one: TaskDefinition, other: TaskDefinition) -> bool:
    # A reloaded module defines the same function at the same place once more.
    return (one.file_path, one.function.__qualname__) == (
        other.file_path,
        other.function.__qualname__,
    )


REGISTRY = Registry()
"""The definitions of this process."""
