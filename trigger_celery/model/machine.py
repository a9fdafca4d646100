"""Machine presets: their names, what they stand for, and which runs out of memory later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from trigger_celery.errors import InvalidOptionError, closest

Machine = Literal[
    "micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x"
]  # fmt: skip
"""The names of machine presets."""

MACHINES: Final[tuple[str, ...]] = get_args(Machine)

DEFAULT_MACHINE: Final = "small-1x"
"""The preset of runs that name none, where the settings name none."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset stands for: virtual CPUs, and memory in GB."""

    cpu: float
    memory: float


PRESETS: Final[Mapping[str, Preset]] = {
    "micro": Preset(0.25, 0.25),
    "small-1x": Preset(0.5, 0.5),
    "small-2x": Preset(1, 1),
    "medium-1x": Preset(1, 2),
    "medium-2x": Preset(2, 4),
    "large-1x": Preset(4, 8),
    "large-2x": Preset(8, 16),
}


def has_more_memory(machine: str, than: str) -> bool:
    """Tell whether a preset has more memory than another; both are known."""
    return PRESETS[machine].memory > PRESETS[than].memory


def check_machine(value: object) -> str:
    """Return the name of a machine preset; `{"preset": name}` is the same. Raises InvalidOptionError."""
    if isinstance(value, Mapping) and set(value) == {"preset"}:
        value = value["preset"]
    if isinstance(value, str) and value in MACHINES:
        return str(value)
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    raise InvalidOptionError(
        f"machine={shown} is no preset.{closest(str(value), MACHINES)} "
        f"Presets: {', '.join(MACHINES)}."
    )
