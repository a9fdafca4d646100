"""`install_as_trigger`: makes `from trigger import task` work."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.errors import ConfigurationError
from trigger_celery.sdk import instrumentation

PACKAGE = "trigger_celery"


class _TriggerModule(ModuleType):
    """`trigger`: every public name of trigger_celery."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(sys.modules[PACKAGE], name)

    def __dir__(self) -> list[str]:
        return sorted(sys.modules[PACKAGE].__all__)


class _OldModule(_TriggerModule):
    """`trigger.v3`, from which earlier versions imported: the same names, with a warning."""

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        warn_of_old_form(
            f"from {self.__name__} import {name} is the form of earlier versions: write "
            f"from trigger import {name}"
        )
        return found


def install_as_trigger() -> None:
    """Make `from trigger import task, logger, …` import from trigger_celery in this process.

    So do `trigger.instrumentation`, and `trigger.v3`, whose names warn. Idempotent. Raises
    ConfigurationError when another distribution owns the name `trigger`.
    """
    present = sys.modules.get("trigger")
    if isinstance(present, _TriggerModule):
        return
    if present is not None or _is_taken():
        raise ConfigurationError(
            "another package or module named `trigger` can be imported here; import from "
            "trigger_celery instead (the names are the same)"
        )
    module = _TriggerModule("trigger", "The names of trigger_celery.")
    module.__all__ = list(sys.modules[PACKAGE].__all__)  # type: ignore[attr-defined]
    module.__path__ = []
    sys.modules["trigger"] = module
    below = {"instrumentation": instrumentation, "v3": _OldModule("trigger.v3")}
    for name, submodule in below.items():
        setattr(module, name, submodule)
        sys.modules[f"trigger.{name}"] = submodule


def _is_taken() -> bool:
    """A folder `trigger` without an `__init__.py` holds the project's tasks and is no package."""
    found = importlib.util.find_spec("trigger")
    return found is not None and found.origin is not None
