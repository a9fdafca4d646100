"""Starts Celery's own worker command in this process, with our pool."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from celery import Celery, signals
from celery.bin.base import CLIContext
from celery.bin.worker import worker as worker_command

from trigger_celery.bridge.worker_options import add_worker_options

ASYNCIO_POOL = "trigger_celery.worker.pool:TaskPool"
POOLS = ("asyncio", "prefork", "threads", "solo")
DEFAULT_CONCURRENCY = 100
_CELERY_DEFAULT = "prefork"


def choose_pool(app: Celery, pool: str | None) -> str:
    """Set the app's pool and return its name: *pool*, else the configured one, else asyncio.

    The asyncio pool takes 100 runs at once unless something else is configured.
    """
    configured = app.conf.get("worker_pool") or _CELERY_DEFAULT
    if pool is None:
        pool = configured if configured != _CELERY_DEFAULT else "asyncio"
    app.conf.worker_pool = ASYNCIO_POOL if pool == "asyncio" else pool
    if app.conf.worker_pool == ASYNCIO_POOL and not app.conf.get("worker_concurrency"):
        app.conf.worker_concurrency = DEFAULT_CONCURRENCY
    return "asyncio" if app.conf.worker_pool == ASYNCIO_POOL else pool


def run_worker(app: Celery, arguments: Sequence[str], *, quiet: bool, no_color: bool) -> None:
    """Run `celery worker` with these arguments until it ends."""
    add_worker_options(app)
    worker_command.params.extend(app.user_options.get("worker", ()))
    worker_command.main(
        args=list(arguments),
        prog_name="trigger-celery worker",
        obj=CLIContext(app=app, no_color=no_color, workdir=None, quiet=quiet),
        standalone_mode=False,
    )


def when_ready(call: Callable[[], None]) -> None:
    """Call *call* once the worker of this process is ready."""

    def ready(**_: Any) -> None:
        call()

    signals.worker_ready.connect(ready, weak=False)


def leave_output_alone(app: Celery) -> None:
    """Let `print` in tasks print instead of log, and keep Celery's own remarks from stdout."""
    app.conf.worker_redirect_stdouts = False
    # Celery says "warm shutdown" there; print goes to sys.stdout.
    sys.__stdout__ = Path(os.devnull).open("w")  # type: ignore[misc] # noqa: SIM115 - for good
