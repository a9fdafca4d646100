"""Options that a bound app adds to `celery worker`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.machine import check_machine

if TYPE_CHECKING:
    from celery import Celery

MACHINES_HELP = "Machine presets to take runs of, parted by commas, such as large-1x,medium-2x."


def add_worker_options(app: Celery) -> None:
    """Let Celery's worker command take our options, once. Only where that command is loaded.

    Its modules take long to import, and no process needs them that does not come from them.
    """
    options = app.user_options["worker"]
    if "celery.bin.worker" in sys.modules and not any(map(_is_ours, options)):
        options.add(_machines_option())


def remove_worker_options(app: Celery) -> None:
    """Take our options back."""
    options = app.user_options["worker"]
    options -= set(filter(_is_ours, options))


def _is_ours(option: Any) -> bool:
    return bool(option.name == "machines")


def _machines_option() -> Any:
    from celery.bin.base import CeleryOption, CommaSeparatedList

    class Machines(CommaSeparatedList):
        """Names of machine presets."""

        name = "presets"

        def convert(self, value: Any, param: Any, ctx: Any) -> Any:
            try:
                names = [check_machine(name.strip()) for name in super().convert(value, param, ctx)]
            except InvalidOptionError as problem:
                self.fail(str(problem), param, ctx)
            return tuple(dict.fromkeys(names))

    return CeleryOption(
        ("--machines",), type=Machines(), help_group="Trigger Options", help=MACHINES_HELP
    )
