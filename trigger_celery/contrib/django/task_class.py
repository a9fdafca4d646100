"""Django's `Task` with the options of a run that Django does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trigger_celery.bridge.request import check_options
from trigger_celery.model.retry import Retry

KEPT = ("concurrency_key", "tags", "idempotency_key")
"""What a run tells of how it was enqueued."""

MORE = ("max_duration", *KEPT)
"""What `using` takes beside Django's own; `retry` belongs to the task for good."""


def make_task_class(parent: Any, module: str) -> Any:
    """Return the task class for either package's own, to be found in *module*."""

    @dataclass(frozen=True, slots=True, kw_only=True)
    class TriggerTask(parent):  # type: ignore[misc]
        """A Django task with more options, for the decorator and, except `retry`, for `using`."""

        retry: Retry | Mapping[str, Any] | None = field(default=None, hash=False)
        max_duration: float | str | None = None
        concurrency_key: str | None = None
        tags: str | Sequence[str] = ()
        idempotency_key: str | Sequence[str] | None = None

        def __post_init__(self) -> None:
            # A task is hashed: it holds no lists.
            for name in ("tags", "idempotency_key"):
                given = getattr(self, name)
                if isinstance(given, list):
                    object.__setattr__(self, name, tuple(given))
            if isinstance(self.tags, str):
                object.__setattr__(self, "tags", (self.tags,))
            parent.__post_init__(self)

        def using(self, **options: Any) -> Any:
            """Return the task with other options for what is enqueued of it."""
            if "retry" in options:
                raise TypeError(
                    "retry cannot be given to using(): all runs of a task have its policy. Give it "
                    'to the decorator, @task(retry=…), or to all tasks by OPTIONS["retry"].'
                )
            more = {name: options.pop(name) for name in MORE if name in options}
            return parent.using(replace(self, **more) if more else self, **options)

    TriggerTask.__module__ = module
    TriggerTask.__qualname__ = "TriggerTask"
    return TriggerTask


def more_options(task: Any) -> dict[str, Any]:
    """Return those of our options that a task has, checked. Raises InputError."""
    found = {name: given for name in MORE if (given := getattr(task, name, None)) not in (None, ())}
    check_options(found)
    return found
