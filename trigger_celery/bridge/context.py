"""The ambient state: which app is bound, and which run the current code belongs to.

The only module with context variables on the client side.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from trigger_celery.errors import NotBoundError

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery
    from trigger_celery.bridge.durable import Scope


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The task: its id and the file that defines it."""

    id: str
    file_path: str


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """The attempt: its number from 1 and when it started."""

    number: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class RunContext:
    """The run, as it was when the attempt started. `priority` and `max_duration` are in seconds.

    `parent_id` is the run that triggered it, `root_id` the first of the tree, itself included.
    """

    id: str
    tags: tuple[str, ...]
    created_at: datetime
    max_attempts: int
    priority: float
    concurrency_key: str | None
    parent_id: str | None = None
    root_id: str | None = None
    depth: int = 0
    batch_id: str | None = None
    max_duration: float | None = None


@dataclass(frozen=True, slots=True)
class QueueContext:
    """The queue of the run."""

    name: str


@dataclass(frozen=True, slots=True)
class EnvironmentContext:
    """The environment: its short name."""

    slug: str


@dataclass(frozen=True, slots=True)
class ProjectContext:
    """The project the environment belongs to."""

    ref: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a task gets as `ctx`. Frozen when the attempt starts."""

    task: TaskContext
    attempt: AttemptContext
    run: RunContext
    queue: QueueContext
    environment: EnvironmentContext
    project: ProjectContext


class Execution(Protocol):
    """One attempt under way, as the task's shim sees it."""

    @property
    def ctx(self) -> Context:
        """The context of the run."""
        ...

    def invoke(self) -> Any:
        """Run the task's function for this attempt and return its value."""
        ...


current_scope: ContextVar[Scope | None] = ContextVar("trigger_scope", default=None)
"""The position counter of the current asyncio task of a run; see `durable.py`."""

current_execution: ContextVar[Execution | None] = ContextVar("trigger_execution", default=None)

_bound: list[TriggerCelery] = []
_lock = threading.Lock()


def bind(trigger: TriggerCelery) -> None:
    """Make *trigger* the one that the SDK uses."""
    with _lock:
        _bound.append(trigger)


def unbind(trigger: TriggerCelery) -> None:
    """Take *trigger* out again."""
    with _lock:
        if trigger in _bound:
            _bound.remove(trigger)


def bound() -> list[TriggerCelery]:
    """Return every binding of this process."""
    return list(_bound)


def current() -> TriggerCelery:
    """Return the one binding of this process. Raises NotBoundError for none or several."""
    if len(_bound) == 1:
        return _bound[0]
    if not _bound:
        raise NotBoundError(
            "no TriggerCelery is bound in this process. Add TriggerCelery(app) after your "
            "Celery(...) and import that module before triggering (in Django: in the package's "
            "__init__.py, as Celery's own guide does)."
        )
    names = ", ".join(repr(trigger.app.main) for trigger in _bound)
    raise NotBoundError(
        f"several TriggerCelery are bound (apps {names}): use one per process, or call "
        ".unbind() on the others."
    )


def current_context() -> Context | None:
    """Return the context of the run this code belongs to, or None outside a run."""
    execution = current_execution.get()
    return None if execution is None else execution.ctx
