"""What is known of a whole project once every file has been read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from trigger_celery.cli.migration.constants import UNKNOWN

_KINDS: Final = {
    "redis": "redis", "rediss": "redis", "redis+socket": "redis", "sentinel": "redis",
    "valkey": "redis", "valkeys": "redis", "sqs": "sqs", "amqp": "amqp", "amqps": "amqp",
    "pyamqp": "amqp", "librabbitmq": "amqp", "confluentkafka": "other", "memory": "other",
    "filesystem": "other", "gcpubsub": "other",
}  # fmt: skip
_VISIBILITY: Final = {"redis": 3600.0, "sqs": 1800.0}
LONG_SECONDS: Final = 60
"""A task with a time limit beyond it counts as long."""


def broker_kind(url: object) -> str | None:
    """Return redis, sqs, amqp or other for a broker's URL; None: not known."""
    if isinstance(url, list):
        url = url[0] if url else None
    if not isinstance(url, str):
        return None
    scheme = re.match(r"([a-z+]+):", url)
    return _KINDS.get(scheme[1]) if scheme else None


@dataclass(slots=True)
class Facts:
    """The project: its tasks, its settings, its broker."""

    tasks: set[str] = field(default_factory=set)
    """The names of the functions that are tasks."""
    task_count: int = 0
    ignoring: set[str] = field(default_factory=set)
    """Tasks that ignore their result."""
    keeping: set[str] = field(default_factory=set)
    """Tasks that keep it, whatever the settings say."""
    settings: dict[str, list[Any]] = field(default_factory=dict)
    """Settings by today's names; every value that is given somewhere."""
    brokers: set[str] = field(default_factory=set)
    has_long_tasks: bool = False
    pushes_flask_context: bool = False

    def add_setting(self, name: str, value: Any) -> None:
        """Note a value of a setting."""
        self.settings.setdefault(name, []).append(value)
        if name in ("broker_url", "broker_read_url", "broker_write_url"):
            kind = broker_kind(value)
            if kind is not None:
                self.brokers.add(kind)

    def merge(self, other: Facts) -> None:
        """Add what another file says."""
        self.tasks |= other.tasks
        self.task_count += other.task_count
        self.ignoring |= other.ignoring
        self.keeping |= other.keeping
        self.brokers |= other.brokers
        self.has_long_tasks |= other.has_long_tasks
        self.pushes_flask_context |= other.pushes_flask_context
        for name, values in other.settings.items():
            self.settings.setdefault(name, []).extend(values)

    def is_set(self, name: str) -> bool | None:
        """Whether a setting is true somewhere; None: that is not in the text."""
        values = self.settings.get(name, ())
        if any(value is not UNKNOWN and value for value in values):
            return True
        return None if any(value is UNKNOWN for value in values) else False

    @property
    def visibility_timeout(self) -> float | None:
        """Seconds after which the broker delivers a message again; 0: it never does; None: not known."""
        given = [
            options.get("visibility_timeout", UNKNOWN)
            for options in self.settings.get("broker_transport_options", ())
            if isinstance(options, dict) and "visibility_timeout" in options
        ]
        if not self.brokers:
            return None
        kinds = [kind for kind in self.brokers if kind in _VISIBILITY]
        if not kinds:
            return 0.0
        numbers = [float(one) for one in given if isinstance(one, int | float)]
        if given:
            return min(numbers, default=None)
        return min(_VISIBILITY[kind] for kind in kinds)

    def ignores_result(self, task: str) -> bool | None:
        """Whether a task ignores its result; None: not known."""
        if task in self.ignoring or task in self.keeping:
            return task in self.ignoring
        if task not in self.tasks:
            return None
        return self.is_set("task_ignore_result")
