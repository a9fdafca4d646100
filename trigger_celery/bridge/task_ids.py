"""Celery's ids of what the code of a run calls: the same when it is executed again.

Celery gives the parts of a chain, a group or a chord their ids before it calls them, so these cannot
come from the positions of the calls. They are numbered instead, for each task of the run by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from celery import canvas
from kombu.utils.uuid import uuid

from trigger_celery.bridge.context import current_scope, named_ids
from trigger_celery.model.ids import derived_uuid

_canvas: Any = canvas


def new_task_id() -> str:
    """Return a new task id; in the code of a run, one that a replay makes again."""
    scope = current_scope.get()
    if scope is not None and not scope.step:  # a step is not called again: nothing is counted in it
        return scope.durable.task_id_of(scope.next_id())
    named = named_ids.get()
    return uuid() if named is None else next(named)


@contextmanager
def ids_named(run_id: str, what: str) -> Iterator[None]:
    """Meanwhile, let the ids of what follows a run be made of its id: the same at a second try."""
    token = named_ids.set(derived_uuid(run_id, f"{what}:{number}") for number in count(1))
    try:
        yield
    finally:
        named_ids.reset(token)


def name_parts_of_canvas() -> None:
    """Let Celery ask us for the ids of the parts of a canvas. In a run only are they others."""
    _canvas.uuid = new_task_id


def leave_parts_of_canvas() -> None:
    """Let Celery make them itself again."""
    _canvas.uuid = uuid
