"""The backend for `django.tasks` (Django 6.0), or for its backport where Django has none.

```python
TASKS = {"default": {"BACKEND": "trigger_celery.contrib.django.backend.TriggerBackend"}}
```
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from trigger_celery.contrib.django.task_backend import make_backend

if TYPE_CHECKING:
    TriggerBackend: Any
    TriggerTask: Any
else:
    TriggerBackend = make_backend(
        "django.tasks" if find_spec("django.tasks") else "django_tasks", __name__
    )
    TriggerTask = TriggerBackend.task_class

__all__ = ["TriggerBackend", "TriggerTask"]
