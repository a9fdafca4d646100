"""What may be said of a Celery task that is taken over: limits, keys and times of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from trigger_celery.bridge.queue_option import make_queue, unknown_option
from trigger_celery.bridge.registry import QUEUE_OPTIONS, Queue
from trigger_celery.errors import DefinitionError, InputError, UnknownTaskOptionError, closest
from trigger_celery.model import task_options as check
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.machine import check_machine
from trigger_celery.model.retry import Retry
from trigger_celery.model.trigger_options import check_ttl

CALL_OPTIONS: Final = (
    "concurrency_key",
    "idempotency_key",
    "idempotency_key_ttl",
    "priority",
    "tags",
)
"""Options of each call: values, or functions of the call's arguments."""

OPTIONS: Final = ("queue", "worker_queue", "ttl", "max_duration", "machine", *CALL_OPTIONS)

LOSSES: Final = Retry(max_attempts=250, min_timeout_in_ms=1000, factor=1, randomize=False)
"""For tasks with `acks_late`: an attempt whose worker died is followed by another."""

ONCE: Final = Retry(max_attempts=1)


@dataclass(frozen=True, slots=True)
class TakenOptions:
    """The options of one task, checked."""

    queue: Any = None
    worker_queue: str | None = None
    ttl: int | None = None
    max_duration: float | None = None
    machine: str | None = None
    calls: Mapping[str, Any] | None = None
    """`CALL_OPTIONS` that are given."""

    def with_own(self, where: str, given: Mapping[str, Any]) -> TakenOptions:
        """Return these with others before them. Raises DefinitionError."""
        for word in given:
            if word not in OPTIONS:
                raise UnknownTaskOptionError(
                    f"{where}: there is no option {word!r} for a Celery task that is taken over."
                    f"{closest(str(word), OPTIONS)} Options: {', '.join(OPTIONS)}."
                )
        try:
            return replace(self, **_checked(self, given))
        except InputError as problem:
            raise DefinitionError(f"{where}: {problem}") from None

    def for_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the trigger options of a call with these arguments."""
        return {
            name: value(*args, **kwargs) if callable(value) else value
            for name, value in (self.calls or {}).items()
        }

    def queue_of(self, task: Any) -> tuple[Queue, bool]:
        """Return the run queue of the task, and whether that declares it."""
        given, own = self.queue, f"task/{task.name}"
        if isinstance(given, Queue):
            return given, True
        if isinstance(given, str):
            return Queue(check.check_queue_name(given)), False
        limits = dict(given or {})
        name = limits.pop("name", own)
        for word in limits:
            if word not in QUEUE_OPTIONS:
                raise UnknownTaskOptionError(
                    f"task {task.name!r}: queue has {unknown_option(word)}"
                )
        rate = getattr(task, "rate_limit", None)
        if rate is not None and name == own:
            limits.setdefault("rate_limit", rate)
        return make_queue(name, limits), True

    def retry_of(self, task: Any) -> Retry:
        """Return what follows when an attempt's worker dies. Failures follow Celery's rules."""
        return LOSSES if task.acks_late else ONCE


def _checked(before: TakenOptions, given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("queue", "worker_queue"):
        if given.get(name) is not None:
            values[name] = given[name]
    if given.get("ttl") is not None:
        values["ttl"] = check_ttl(given["ttl"])
    if given.get("max_duration") is not None:
        values["max_duration"] = parse_duration(given["max_duration"], name="max_duration") / 1000
    if given.get("machine") is not None:
        values["machine"] = check_machine(given["machine"])
    calls = {name: given[name] for name in CALL_OPTIONS if given.get(name) is not None}
    if calls:
        values["calls"] = {**(before.calls or {}), **calls}
    return values
