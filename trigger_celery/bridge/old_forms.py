"""Warns of what was written differently in earlier versions, at the line of the user's code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from trigger_celery.model.machine import check_machine

_PACKAGE = str(Path(__file__).parents[1])


def warn_of_old_form(message: str, category: type[Warning] = DeprecationWarning) -> None:
    """Warn, of a place that is outside of this library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def machine_name(given: object) -> str:
    """Return the name of a machine preset; `{"preset": name}` warns. Raises InvalidOptionError."""
    name = check_machine(given)
    if isinstance(given, Mapping):
        warn_of_old_form(
            f"machine={dict(given)!r} is the form of earlier versions: write machine={name!r}"
        )
    return name
