"""Task and queue definitions by id: what `@task` and `queue()` declared in this process."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger_celery.bridge.hooks import Hook
from trigger_celery.bridge.schema import Schema
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.errors import DefinitionError, DuplicateTaskIdError
from trigger_celery.model.retry import Retry


@dataclass(frozen=True, slots=True)
class Queue:
    """A declared queue. The limit bounds how many of its runs execute at once; None: no limit.

    Every concurrency key has the whole limit to itself.
    """

    name: str
    concurrency_limit: int | None = None


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
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    """Its own hooks by name."""

    @property
    def place(self) -> str:
        """Where the function is written, for messages."""
        return f"{self.file_path}:{self.line} ({self.function.__qualname__})"

    def call_directly(self, payload: Any) -> Any:
        """Call the function without a run: the payload validated as in a run, `ctx` is None."""
        if self.schema is not None:
            payload = self.schema.parse(payload, self.id)
        return self.call(payload, None, RunSignal())

    def call(self, payload: Any, ctx: Any, signal: RunSignal) -> Any:
        """Call the function with what it asks for; a coroutine for async functions."""
        named: dict[str, Any] = {}
        if self.takes_ctx:
            named["ctx"] = ctx
        if self.takes_signal:
            named["signal"] = signal
        return self.function(payload, **named) if self.takes_payload else self.function(**named)


def inspect_function(function: Callable[..., Any], task_id: str) -> tuple[bool, bool, bool]:
    """Return whether the function takes a payload, a ctx and a signal. Raises DefinitionError.

    The first positional parameter is the payload, whatever its name; the others go by name.
    """
    payload = ctx = signal = False
    parameters = list(inspect.signature(function).parameters.values())
    for position, parameter in enumerate(parameters):
        kind = parameter.kind
        if parameter.name == "ctx" and kind is not parameter.POSITIONAL_ONLY:
            ctx = True
        elif parameter.name == "signal" and kind is not parameter.POSITIONAL_ONLY:
            signal = True
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
                "and, by name, `ctx` and `signal`: def my_task(payload, ctx). Put further values into the "
                "payload."
            )
    return payload, ctx, signal


class Registry:
    """Definitions of one process, kept from import on; apps are bound to them later."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskDefinition] = {}
        self.queues: dict[str, Queue] = {}
        self.config: dict[str, Any] = {}
        self.hooks: dict[str, list[Hook]] = {}
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
        if known.concurrency_limit != declared.concurrency_limit:
            warnings.warn(
                f"queue {declared.name!r} is declared with concurrency_limit="
                f"{declared.concurrency_limit} and, before, {known.concurrency_limit}: the first "
                "counts. Declare it once and import it.",
                stacklevel=4,
            )
        return known

    def hooks_of(self, definition: TaskDefinition, name: str) -> list[Hook]:
        """Return the hooks of a name that a task's runs call: those of all tasks, then its own."""
        own = definition.hooks.get(name)
        return [*self.hooks.get(name, ()), *((own,) if own is not None else ())]

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


def _same_function(one: TaskDefinition, other: TaskDefinition) -> bool:
    # A reloaded module defines the same function at the same place once more.
    return (one.file_path, one.function.__qualname__) == (
        other.file_path,
        other.function.__qualname__,
    )


REGISTRY = Registry()
"""The definitions of this process."""
