"""`locals`: values that belong to one run, for instance from middleware to the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from trigger_celery.bridge.context import current_execution
from trigger_celery.errors import InvalidOptionError, OutsideRunError, StateError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Local(Generic[T]):
    """The key of a local, made by `locals.create`. Two with one id are the same."""

    id: str


def create(id: Any) -> Local[Any]:
    """Return the key of a local; `db: Local[Database] = locals.create("db")` gives it a type."""
    if not isinstance(id, str) or not id:
        raise InvalidOptionError(f"locals.create({id!r:.60}): an id is text, for example 'db'")
    return Local(id)


def set(key: Local[T], value: T) -> T:
    """Keep a value for the rest of this attempt, and return it. Raises OutsideRunError."""
    execution = current_execution.get()
    if execution is None:
        raise OutsideRunError(
            f"locals.set({key.id!r}, …) can only be called in a run: in a task, its middleware or "
            "hooks"
        )
    execution.belongings.values[key.id] = value
    return value


def get(key: Local[T]) -> T | None:
    """Return the value that this attempt keeps, or None, as outside of a run."""
    execution = current_execution.get()
    return None if execution is None else execution.belongings.values.get(key.id)


def get_or_throw(key: Local[T]) -> T:
    """Return the value that this attempt keeps. Raises StateError when nothing was set."""
    execution = current_execution.get()
    if execution is None or key.id not in execution.belongings.values:
        where = "outside of a run" if execution is None else "in this run"
        raise StateError(
            f"local {key.id!r} is not set {where}: set it in middleware or in init with "
            "locals.set(key, value)"
        )
    return cast("T", execution.belongings.values[key.id])
