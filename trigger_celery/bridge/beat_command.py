"""Starts Celery's own beat command in this process, with our scheduler unless the app names one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from celery.bin.base import CLIContext
from celery.bin.beat import beat as beat_command

if TYPE_CHECKING:
    from celery import Celery


def run_beat(app: Celery, arguments: Sequence[str], *, quiet: bool, no_color: bool) -> None:
    """Run `celery beat` with these arguments until it ends."""
    beat_command.main(
        args=list(arguments),
        prog_name="trigger-celery beat",
        obj=CLIContext(app=app, no_color=no_color, workdir=None, quiet=quiet),
        standalone_mode=False,
    )
