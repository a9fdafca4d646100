"""Processes of prefork that are spawned: the bound app takes the place of Celery's copy of it.

A process that is forked has the worker's app. One that is spawned gets a copy, of the configuration
only, and imports the modules of the tasks, which make the app once more and bind it. Celery executes
with the copy: its calls would make no runs, and nobody would record its tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import current_app, signals
from celery.app import base as celery_base
from celery.app import trace as celery_trace

from trigger_celery.bridge.listening import leave, listen

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery


class SpawnedProcess:
    """Sees to it in this process, for one binding."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger

    def connect(self) -> None:
        """Wait for this process to be one that is spawned."""
        listen(signals.worker_process_init, self._begins)

    def disconnect(self) -> None:
        """Leave it as it is."""
        leave(signals.worker_process_init, self._begins)

    def _begins(self, **_: Any) -> None:
        app: Any = self._trigger.app
        proxy: Any = current_app
        base: Any = celery_base
        copy = proxy._get_current_object()
        if not base.USING_EXECV or copy is app or copy.main != app.main:
            return
        trace: Any = celery_trace
        _, _, hostname = trace._localized
        trace.setup_worker_optimizations(app, hostname)
        for name, task in app.tasks.items():
            task.__trace__ = trace.build_tracer(name, task, app.loader, hostname, app=app)
