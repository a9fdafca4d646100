"""The backend for `django_tasks`, whatever Django has itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trigger_celery.contrib.django.task_backend import make_backend

if TYPE_CHECKING:
    TriggerBackend: Any
    TriggerTask: Any
else:
    TriggerBackend = make_backend("django_tasks", __name__)
    TriggerTask = TriggerBackend.task_class

__all__ = ["TriggerBackend", "TriggerTask"]
