"""What a task that was taken over says by `update_state` shows as the metadata of its run."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge import context
from trigger_celery.bridge.live_metadata import metadata_of
from trigger_celery.bridge.recording.states import GIVEN, state_document
from trigger_celery.bridge.recording.values import RecordedValues

if TYPE_CHECKING:
    from trigger_celery.bridge.durable import Durable
    from trigger_celery.bridge.registry import TaskDefinition

logger = logging.getLogger("trigger_celery.calls")


def showing_states(task: Any, definition: TaskDefinition) -> Callable[..., Any]:
    """Return an `update_state` that calls the task's own, and then shows the same as metadata.

    Only what an attempt says of itself: of another task, and outside of runs, it is Celery's alone.
    """
    said = task.update_state

    @functools.wraps(said)
    def update_state(*args: Any, **kwargs: Any) -> Any:
        answer = said(*args, **kwargs)
        try:
            _show(task, definition, **{**dict(zip(GIVEN, args, strict=False)), **kwargs})
        except Exception:
            logger.debug("a state cannot be shown as metadata", exc_info=True)
        return answer

    return update_state


def _show(
    task: Any,
    definition: TaskDefinition,
    task_id: Any = None,
    state: Any = None,
    meta: Any = None,
    **_: Any,
) -> None:
    durable = _attempt_of(task, definition, task_id)
    if durable is None:
        return
    settings = context.current().settings
    text = state_document(RecordedValues((*settings.redact, *settings.mask)), state, meta)
    live, what = metadata_of(durable), "update_state(…)"
    if text is None:
        live.refuse(what)
    else:
        live.change(["replace", json.loads(text)], what)


def _attempt_of(task: Any, definition: TaskDefinition, task_id: Any) -> Durable | None:
    """Return the attempt under way, if it is of this task and speaks of itself."""
    execution: Any = context.current_execution.get()
    if execution is None or execution.definition is not definition:
        return None
    call = context.current_call.get()
    own = task.request.id if call is None else call.task_id
    durable: Durable | None = execution.durable if own == (task_id or task.request.id) else None
    return durable
