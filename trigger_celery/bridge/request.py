"""From a trigger call to runs: options merged and checked, payload validated and encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.engine.triggering import NewRun, Placement
from trigger_celery.errors import UnknownOptionError, closest
from trigger_celery.model import task_options as check
from trigger_celery.model.duration import parse_delay
from trigger_celery.model.ids import run_id
from trigger_celery.model.packet import encode

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

OPTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "delay": parse_delay,
    "priority": check.check_priority,
    "queue": check.check_queue_name,
    "concurrency_key": check.check_concurrency_key,
    "max_attempts": check.check_max_attempts,
    "tags": check.check_tags,
    "metadata": check.check_metadata,
    "max_duration": check.check_max_duration,
}
"""Trigger options and what checks them."""


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in the form the engine stores. None means not given.

    Raises UnknownOptionError, or the error of the option's own check.
    """
    checked: dict[str, Any] = {}
    for name, value in options.items():
        parse = OPTIONS.get(name)
        if parse is None:
            raise UnknownOptionError(
                f"trigger has no option {name!r}.{closest(name, OPTIONS)} "
                f"Options: {', '.join(OPTIONS)}."
            )
        if value is not None:
            checked[name] = parse(getattr(value, "name", value) if name == "queue" else value)
    return checked


def build_run(
    trigger: TriggerCelery,
    definition: TaskDefinition | None,
    task_id: str,
    payload: Any,
    options: Mapping[str, Any],
) -> NewRun:
    """Return the run to create; nothing is stored yet.

    Without a *definition* the payload is not validated, and queue and worker queue are those
    that workers declared for the id.
    """
    if definition is not None and definition.schema is not None:
        payload = definition.schema.dump(definition.schema.parse(payload, task_id))
    packet = encode(payload)
    place = trigger.placement(definition, task_id)
    if not options:
        return NewRun(run_id(), place, packet)
    checked = check_options(options)
    queue = checked.get("queue")
    place = Placement(
        task=task_id,
        declared=place.declared,
        worker_queue=place.worker_queue,
        queue=place.queue if queue is None else queue,
        concurrency_key=checked.get("concurrency_key", "") or "",
        max_attempts=checked.get("max_attempts"),
        max_duration_ms=checked.get("max_duration"),
    )
    return NewRun(
        run_id(),
        place,
        packet,
        delay=checked.get("delay"),
        priority_ms=checked.get("priority", 0),
        tags=checked.get("tags", ()),
        metadata=checked.get("metadata", ""),
    )
