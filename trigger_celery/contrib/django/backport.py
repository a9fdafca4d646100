"""The backend for `django_tasks`, whatever Django has itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trigger_celery.contrib.django.task_backend import make_backend

if TYPE_CHECKING:
    TriggerBackend: Any
else:
    TriggerBackend = make_backend("django_tasks")

__all__ = ["TriggerBackend"]
