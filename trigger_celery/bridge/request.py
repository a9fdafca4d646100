"""From a trigger call to runs: options merged and checked, payload validated and encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from trigger_celery.bridge import precedence
from trigger_celery.bridge.celery_words import TRIGGER_WORDS, meant
from trigger_celery.bridge.durable import Durable, current_durable
from trigger_celery.bridge.old_forms import machine_name
from trigger_celery.bridge.queue_option import queue_of_trigger
from trigger_celery.bridge.registry import TaskDefinition
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.triggering import NewRun, Placement
from trigger_celery.errors import UnknownOptionError
from trigger_celery.model import task_options as check
from trigger_celery.model import trigger_options as labels
from trigger_celery.model.duration import Delay, parse_delay
from trigger_celery.model.idempotency import DEFAULT_TTL_MS, IdempotencyKey, scoped_key
from trigger_celery.model.ids import run_id
from trigger_celery.model.packet import Packet, encode

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery


def check_key(key: object) -> IdempotencyKey:
    """Return a trigger's idempotency key. Bare text counts in the run; outside of one, everywhere.

    Raises InvalidOptionError.
    """
    if isinstance(key, IdempotencyKey):
        return key
    parts = labels.key_parts(key)
    durable = current_durable()
    if durable is None:
        return scoped_key(parts, "global")
    return scoped_key(parts, "run", durable.run_id)


OPTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "delay": parse_delay,
    "priority": check.check_priority,
    "queue": queue_of_trigger,
    "concurrency_key": check.check_concurrency_key,
    "max_attempts": check.check_max_attempts,
    "tags": check.check_tags,
    "metadata": check.check_metadata,
    "max_duration": check.check_max_duration,
    "ttl": labels.check_ttl,
    "idempotency_key": check_key,
    "idempotency_key_ttl": lambda ttl: check.check_idempotency_ttl(ttl, DEFAULT_TTL_MS),
    "debounce": labels.check_debounce,
    "machine": machine_name,
    "version": labels.check_version,
    "test": labels.check_test,
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
            hint = meant(name, OPTIONS, TRIGGER_WORDS) or (
                f" If it belongs to the payload, which is one value, write trigger({{{name!r}: …}})."
            )
            raise UnknownOptionError(
                f"trigger has no option {name!r}.{hint} Options: {', '.join(OPTIONS)}."
            )
        if value is not None:
            checked[name] = parse(value)
    if "idempotency_key_ttl" in checked and "idempotency_key" not in checked:
        check.check_idempotency_ttl(options["idempotency_key_ttl"], DEFAULT_TTL_MS, None)
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
    that workers declared for the id. A payload may be encoded already.
    """
    if definition is not None and definition.schema is not None:
        payload = definition.schema.dump(definition.schema.parse(payload, task_id))
    packet = payload if type(payload) is Packet else encode(payload)
    place = trigger.placement(definition, task_id)
    durable = current_durable()
    extras = _inherited(place, durable)
    if not options:
        return NewRun(run_id(), place, packet, extras=extras)
    checked = check_options(options)
    queue, queue_limit = checked.get("queue", (None, None))
    extras = _extras(trigger, definition, checked, durable) or extras
    place = Placement(
        task=task_id,
        declared=place.declared,
        worker_queue=place.worker_queue,
        queue=precedence.queue_of(queue, definition),
        concurrency_key=checked.get("concurrency_key", "") or "",
        max_attempts=checked.get("max_attempts"),
        max_duration_ms=checked.get("max_duration"),
        preset=precedence.preset_of(checked.get("machine"), definition),
        size_limit=place.size_limit,
        queue_limit=queue_limit,
    )
    return NewRun(
        run_id(),
        place,
        packet,
        delay=_delay(checked),
        priority_ms=checked.get("priority", 0),
        tags=checked.get("tags", ()),
        metadata=checked.get("metadata", ""),
        extras=extras,
    )


def _delay(checked: Mapping[str, Any]) -> Delay | None:
    """Return when the run starts: a debounced one at first after the time that pushes it."""
    delay: Delay | None = checked.get("delay")
    debounce = checked.get("debounce")
    return Delay(debounce.delay_ms, None) if delay is None and debounce is not None else delay


def _inherited(place: Placement, durable: Durable | None) -> Extras | None:
    """Return what a run gets that is triggered without options. Children of tests are tests."""
    test = durable is not None and durable.test
    if not (place.ttl_ms or place.machine or test):
        return None
    return Extras(place.ttl_ms, place.machine, test=test)


_EXTRAS: Final = frozenset({"idempotency_key", "ttl", "debounce", "machine", "version", "test"})


def _extras(
    trigger: TriggerCelery,
    definition: TaskDefinition | None,
    checked: Mapping[str, Any],
    durable: Durable | None,
) -> Extras | None:
    if not _EXTRAS & checked.keys():
        return None
    settings = trigger.settings
    return Extras(
        ttl_ms=precedence.ttl_of(checked.get("ttl"), definition, settings),
        machine=precedence.machine_of(checked.get("machine"), definition, settings),
        version=checked.get("version", ""),
        test=checked.get("test", durable is not None and durable.test),
        key=checked.get("idempotency_key"),
        key_ttl_ms=checked.get("idempotency_key_ttl", DEFAULT_TTL_MS),
        debounce=checked.get("debounce"),
        own=frozenset(checked),
    )
