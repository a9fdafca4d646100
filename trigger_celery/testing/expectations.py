"""What tests expect of runs, compared with what there is, and the text when it differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from typing import Any, Final

from trigger_celery.errors import InputError, UnknownOptionError, closest
from trigger_celery.model.duration import format_duration, parse_delay
from trigger_celery.model.packet import decode, encode
from trigger_celery.model.run import Run
from trigger_celery.model.task_options import check_tags
from trigger_celery.model.trigger_options import check_ttl, key_parts

_SHOWN = 10
_UNSET: Any = object()


def stored(value: Any) -> Any:
    """Return a value as it comes back from the store; one that does not fit (`mock.ANY`) as it is."""
    try:
        packet = encode(value)
    except InputError:
        return value
    return decode(packet.data, packet.type)


def _fits(expected: Any, found: Any) -> bool:
    if callable(expected) and not isinstance(expected, type):
        return bool(expected(found))
    return bool(stored(expected) == found or expected == found)


def _delay_fits(expected: Any, run: Run) -> bool:
    due = parse_delay(expected)
    if run.delayed_until is None or run.created_at is None:
        return False
    if due.at_ms is not None:
        return abs(run.delayed_until.timestamp() * 1000 - due.at_ms) < 1
    planned = (run.delayed_until - run.created_at).total_seconds() * 1000
    return abs(planned - (due.after_ms or 0)) < 50


def _name(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value.get("name")
    return getattr(value, "name", value)


def _key(value: Any) -> str:
    return str(getattr(value, "text", None) or "-".join(key_parts(value)))


OPTIONS: Final[dict[str, Callable[[Any, Run], bool]]] = {
    "batch_id": lambda value, run: run.batch_id == value,
    "concurrency_key": lambda value, run: run.concurrency_key == value,
    "delay": _delay_fits,
    "idempotency_key": lambda value, run: run.idempotency_key == _key(value),
    "machine": lambda value, run: run.machine == _name(value),
    "max_attempts": lambda value, run: run.max_attempts == value,
    "metadata": lambda value, run: run.metadata == value,
    "parent": lambda value, run: run.parent_id == (value if value is None else str(getattr(value, "id", value))),
    "priority": lambda value, run: run.priority == float(value),
    "queue": lambda value, run: run.queue == _name(value),
    "tags": lambda value, run: set(check_tags(value)) <= set(run.tags),
    "test": lambda value, run: run.is_test is value,
    "ttl": lambda value, run: run.ttl == format_duration(check_ttl(value)),
    "version": lambda value, run: run.version == value,
}  # fmt: skip
"""What can be expected of a run besides its payload. Tags: it has these, and may have others."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A run that a test expects."""

    task: str
    payload: Any = _UNSET
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.options:
            if name not in OPTIONS:
                raise UnknownOptionError(
                    f"assert_triggered cannot compare {name!r}.{closest(name, OPTIONS)} It compares "
                    f"payload, times, {', '.join(OPTIONS)}."
                )

    @property
    def has_payload(self) -> bool:
        """Whether the payload is part of it."""
        return self.payload is not _UNSET

    def differences(self, run: Run) -> list[str]:
        """Return what of it the run does not have, by name; empty: it is the one."""
        wrong = [name for name, value in self.options.items() if not OPTIONS[name](value, run)]
        if self.has_payload and not _fits(self.payload, run.payload):
            wrong.insert(0, "payload")
        return wrong

    def __str__(self) -> str:
        told = [f"{name}={value!r}" for name, value in self.options.items()]
        if self.has_payload:
            told.insert(0, f"payload={self.payload!r}")
        return f"{self.task!r}" + (f" with {', '.join(told)}" if told else "")


def unset() -> Any:
    """Return what stands for a payload that is not part of the expectation."""
    return _UNSET


def described(runs: Sequence[Run], *, payload: bool = True) -> str:
    """Return runs, a line each."""
    lines = []
    for run in runs[:_SHOWN]:
        shown = f" payload={run.payload!r:.300}" if payload else ""
        lines.append(f"  - {run.id} {run.task_identifier!r} {run.status}{shown}")
    if len(runs) > _SHOWN:
        lines.append(f"  … and {len(runs) - _SHOWN:,} more")
    return "\n".join(lines)


def nearest(expected: Expectation, runs: Sequence[Run]) -> str:
    """Say of the run of the task that comes nearest how it differs."""
    own = [run for run in runs if run.task_identifier == expected.task]
    if not own:
        return ""
    run = min(own, key=lambda one: len(expected.differences(one)))
    lines = [f"The nearest is {run.id}:"]
    for name in expected.differences(run):
        wanted = expected.payload if name == "payload" else expected.options[name]
        if name == "payload" and not callable(wanted):
            lines.append(_payload_difference(wanted, run.payload))
        else:
            lines.append(f"  {name}: expected {wanted!r}, found {_found(name, run)!r}")
    return "\n".join(lines)


def _found(name: str, run: Run) -> Any:
    renamed = {"parent": "parent_id", "test": "is_test", "delay": "delayed_until"}
    return getattr(run, renamed.get(name, name))


def _payload_difference(expected: Any, found: Any) -> str:
    before, after = (_lines(stored(value)) for value in (expected, found))
    if len(before) == len(after) == 1:
        return f"  payload: expected {expected!r}, found {found!r}"
    diff = unified_diff(before, after, "expected", "found", lineterm="")
    return "\n".join(f"  {line}" for line in diff)


def _lines(value: Any) -> list[str]:
    return json.dumps(
        value, indent=2, sort_keys=True, default=repr, ensure_ascii=False
    ).splitlines()
