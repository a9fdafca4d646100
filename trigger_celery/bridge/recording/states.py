"""What a recorded task says by `update_state` shows as the metadata of its run."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from trigger_celery.bridge.recording.fact_sender import FactSender, execution_key
from trigger_celery.bridge.recording.values import RecordedValues
from trigger_celery.model.metadata import size_of
from trigger_celery.model.packet import JSON, SUPER_JSON, dump_json
from trigger_celery.model.task_options import MAX_METADATA_BYTES

logger = logging.getLogger("trigger_celery.recording")

_NAME = "update_state"
GIVEN = ("task_id", "state", "meta")
"""What `update_state` takes, in its order."""


class RecordedStates:
    """Listens to `update_state` of the tasks that this process executes.

    Celery has no signal for it. So the task object gets an `update_state` that calls the task's own
    and then notes what was said; `give_back` takes it away.
    """

    def __init__(self, sender: FactSender) -> None:
        self._sender = sender
        self._values = RecordedValues(())
        self._watched: dict[str, tuple[Any, Any]] = {}
        self._told: set[str] = set()

    def configure(self, values: RecordedValues) -> None:
        """Mask with these."""
        self._values = values

    def watch(self, task: Any) -> None:
        """Listen to a task from now on. Safe to call again."""
        known = self._watched.get(task.name)
        if known is not None and known[0] is task:
            return
        self._watched[task.name] = task, vars(task).get(_NAME)
        task.update_state = self._listening(task, task.update_state)

    def give_back(self) -> None:
        """Let all tasks be as they were."""
        for task, before in self._watched.values():
            if before is None:
                vars(task).pop(_NAME, None)
            else:
                setattr(task, _NAME, before)
        self._watched.clear()

    def _listening(self, task: Any, said: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(said)
        def update_state(*args: Any, **kwargs: Any) -> Any:
            answer = said(*args, **kwargs)
            try:
                self._note(task, **{**dict(zip(GIVEN, args, strict=False)), **kwargs})
            except Exception:
                logger.debug("a state cannot be recorded", exc_info=True)
            return answer

        return update_state

    def _note(
        self, task: Any, task_id: Any = None, state: Any = None, meta: Any = None, **_: Any
    ) -> None:
        execution = self._sender.open.get(
            execution_key(task_id or task.request.id, vars(task.request))
        )
        if execution is None or execution.said:
            return
        text = state_document(self._values, state, meta)
        if text is not None and size_of(text) <= MAX_METADATA_BYTES:
            self._sender.show(execution, text)
        elif task.name not in self._told:
            self._told.add(task.name)
            logger.warning(
                "what task %s says by update_state is not shown as metadata: it is larger than 256 KB",
                task.name,
                extra={"action": "metadata_refused", "run_id": execution.fact.run_id, "count": 1},
            )


def state_document(values: RecordedValues, state: Any, meta: Any) -> str | None:
    """Return what was said by `update_state` as a JSON document: meta, and the state beside it."""
    shown = dict(meta) if isinstance(meta, Mapping) else {} if meta is None else {"meta": meta}
    if state is not None:
        shown.setdefault("state", state)
    packet = values.value(shown)
    if packet.type == JSON:
        return packet.data
    # Dates and their like are shown as JSON has them; of what is too large only a text was left.
    return dump_json(json.loads(packet.data)["json"]) if packet.type == SUPER_JSON else None
