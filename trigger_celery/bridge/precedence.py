"""Which value counts when several places give one: trigger > task > settings > built-in default.

None is "not given" everywhere. Values are not merged: the first one given is the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from trigger_celery.bridge.context import environment_type
from trigger_celery.model.retry import Retry, effective

if TYPE_CHECKING:
    from trigger_celery.bridge.registry import TaskDefinition
    from trigger_celery.settings import Settings

T = TypeVar("T")


def first(*given: T | None) -> T | None:
    """Return the first that is not None."""
    return next((value for value in given if value is not None), None)


def queue_of(given: str | None, task: TaskDefinition | None) -> str:
    """Return the queue's name; empty when it is not known here: that which workers declared."""
    return first(given, None if task is None else task.queue.name) or ""


def ttl_of(given: int | None, task: TaskDefinition | None, settings: Settings) -> int:
    """Return the TTL in ms; 0 is none, which each place may say."""
    return first(given, None if task is None else task.ttl, settings.ttl) or 0


def machine_of(given: str | None, task: TaskDefinition | None, settings: Settings) -> str:
    """Return the machine preset; empty when nobody names one."""
    return first(given, None if task is None else task.machine, settings.machine) or ""


def preset_of(given: str | None, task: TaskDefinition | None) -> str:
    """Return the machine preset that decides which workers take a run; empty: any of them do."""
    return first(given, None if task is None else task.machine) or ""


def max_duration_of(given_ms: int | None, task: TaskDefinition, settings: Settings) -> float | None:
    """Return the seconds of active time an attempt may take; None for no limit."""
    given = None if given_ms is None else given_ms / 1000
    return first(given, task.max_duration, settings.max_duration)


def retries(settings: Settings) -> bool:
    """Whether anything is tried again in this environment."""
    return settings.retry_in_dev or environment_type(settings.env) != "DEVELOPMENT"


def retry_of(given_attempts: int | None, task: TaskDefinition, settings: Settings) -> Retry | None:
    """Return the retry policy, with the trigger's number of attempts; None for no retries."""
    if not retries(settings):
        return None
    return effective(task.retry, settings.default_retry, given_attempts)
