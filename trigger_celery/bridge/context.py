"""The ambient state: which app is bound, and which run the current code belongs to.

The only module with context variables on the client side.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.errors import NotBoundError
from trigger_celery.model.machine import PRESETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trigger_celery.bridge.belongings import Belongings
    from trigger_celery.bridge.binding import TriggerCelery
    from trigger_celery.bridge.durable import Scope
    from trigger_celery.bridge.recording.sending_again import Replayed
    from trigger_celery.bridge.registry import TaskDefinition
    from trigger_celery.bridge.taking_over.taken_over import Attempt


EnvironmentType = Literal["PRODUCTION", "STAGING", "DEVELOPMENT", "PREVIEW"]

_TYPES: dict[str, EnvironmentType] = {
    "dev": "DEVELOPMENT",
    "local": "DEVELOPMENT",
    "stag": "STAGING",
    "stg": "STAGING",
    "preview": "PREVIEW",
}


def environment_type(name: str) -> EnvironmentType:
    """Return what kind of environment has this name."""
    lower = name.lower()
    return next((kind for start, kind in _TYPES.items() if lower.startswith(start)), "PRODUCTION")


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
    `idempotency_key` is the text that the trigger gave, the parts of a list joined by `-`.
    `started_at` is when its first attempt began.
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
    is_test: bool = False
    idempotency_key: str | None = None
    idempotency_key_scope: str | None = None
    version: str | None = None
    ttl: str | None = None
    machine: str | None = None
    replayed_from: str | None = None
    schedule_id: str | None = None
    started_at: datetime | None = None

    @property
    def is_replay(self) -> bool:
        """True when the run repeats another: `replayed_from`."""
        return self.replayed_from is not None


@dataclass(frozen=True, slots=True)
class QueueContext:
    """The queue of the run. Its id is its name."""

    name: str

    @property
    def id(self) -> str:
        """The same as `name`."""
        return self.name


@dataclass(frozen=True, slots=True)
class EnvironmentContext:
    """The environment: its short name, and what kind it is."""

    slug: str

    @property
    def type(self) -> EnvironmentType:
        """DEVELOPMENT, STAGING or PREVIEW when the name begins like them, else PRODUCTION."""
        return environment_type(self.slug)


@dataclass(frozen=True, slots=True)
class ProjectContext:
    """The project the environment belongs to."""

    ref: str


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The batch that the run was triggered with."""

    id: str


@dataclass(frozen=True, slots=True)
class MachineContext:
    """The machine preset of the run, and what it stands for."""

    name: str

    @property
    def cpu(self) -> float:
        """Virtual CPUs."""
        return PRESETS[self.name].cpu

    @property
    def memory(self) -> float:
        """Memory in GB."""
        return PRESETS[self.name].memory

    @property
    def preset(self) -> str:
        """Deprecated: `name`."""
        warn_of_old_form("ctx.machine.preset is now called ctx.machine.name")
        return self.name


@dataclass(frozen=True, slots=True)
class Context:
    """What a task gets as `ctx`. Frozen when the attempt starts."""

    task: TaskContext
    attempt: AttemptContext
    run: RunContext
    queue: QueueContext
    environment: EnvironmentContext
    project: ProjectContext

    @property
    def batch(self) -> BatchContext | None:
        """The run's batch, or None."""
        return BatchContext(self.run.batch_id) if self.run.batch_id else None

    @property
    def machine(self) -> MachineContext | None:
        """The run's machine preset, or None."""
        return MachineContext(self.run.machine) if self.run.machine else None


class OpenSpan(Protocol):
    """The span that code is in."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


class Execution(Protocol):
    """One attempt under way, as the task's shim sees it."""

    @property
    def ctx(self) -> Context:
        """The context of the run."""
        ...

    @property
    def belongings(self) -> Belongings:
        """What the code of the run keeps with it."""
        ...

    @property
    def side(self) -> dict[str, Any]:
        """What Celery says of the run; empty for nothing."""
        ...

    def begins(self, definition: TaskDefinition) -> bool:
        """Whether this is the attempt's own call of the task, and not one that its code makes."""
        ...

    def invoke(self) -> Any:
        """Run the task's function for this attempt and return its value."""
        ...

    def keep(self, work: Any) -> None:
        """Let the attempt wait for *work* at its end."""
        ...


current_scope: ContextVar[Scope | None] = ContextVar("trigger_scope", default=None)
"""The position counter of the current asyncio task of a run; see `durable.py`."""

current_execution: ContextVar[Execution | None] = ContextVar("trigger_execution", default=None)

current_call: ContextVar[Attempt | None] = ContextVar("trigger_call", default=None)
"""The call of a Celery task that was taken over; see `taking_over/taken_over.py`."""

current_span: ContextVar[OpenSpan | None] = ContextVar("trigger_span", default=None)

sending: ContextVar[tuple[TriggerCelery, Mapping[str, Any]] | None] = ContextVar(
    "trigger_sending", default=None
)
"""The binding whose app sends a message, and its options: Celery's signals of publishing do not tell."""

replaying: ContextVar[Replayed | None] = ContextVar("trigger_replaying", default=None)
"""The call that repeats a recorded run; see `recording/sending_again.py`."""

named_ids: ContextVar[Iterator[str] | None] = ContextVar("trigger_named_ids", default=None)
"""The task ids of what follows a final run; see `task_ids.py`."""

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
