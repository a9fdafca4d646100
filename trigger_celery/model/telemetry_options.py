"""What a project wants of OpenTelemetry: on, off, or what to send where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trigger_celery.errors import closest

_NAMES: Final = ("instrumentations", "exporters", "log_exporters", "metric_exporters")
_WORDS: Final = {"1": True, "true": True, "yes": True, "on": True} | {
    "0": False, "false": False, "no": False, "off": False, "": None, "auto": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class TelemetryOptions:
    """`enabled` None: when the process has a provider of OpenTelemetry's SDK."""

    enabled: bool | None = None
    instrumentations: tuple[Any, ...] = ()
    exporters: tuple[Any, ...] = ()
    log_exporters: tuple[Any, ...] = ()
    metric_exporters: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return {None: "auto", True: "on", False: "off"}[self.enabled]


def check_telemetry(value: object) -> TelemetryOptions:
    """Return the options of the setting `telemetry`. Raises ValueError."""
    if isinstance(value, TelemetryOptions):
        return value
    if value is None or isinstance(value, bool):
        return TelemetryOptions(value)
    if isinstance(value, str) and value.strip().lower() in _WORDS:
        return TelemetryOptions(_WORDS[value.strip().lower()])
    if not isinstance(value, Mapping):
        raise ValueError(f"expects true, false, auto or a dict with {', '.join(_NAMES)}")
    given: dict[str, tuple[Any, ...]] = {}
    for name, items in value.items():
        if name not in _NAMES:
            raise ValueError(
                f"no option {name!r}.{closest(str(name), _NAMES)} Options: {', '.join(_NAMES)}"
            )
        if isinstance(items, str) or not isinstance(items, Sequence):
            raise ValueError(f"{name} expects a list, not {items!r:.60}")
        given[str(name)] = tuple(items)
    exports = any(given.get(name) for name in _NAMES[1:])
    return TelemetryOptions(True if exports else None, **given)
