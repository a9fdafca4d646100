"""Django's tasks, or those of the package for older versions: what the tests are about."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

NAME = "django.tasks" if find_spec("django.tasks") else "django_tasks"

_tasks: Any = import_module(NAME)
_base: Any = import_module(f"{NAME}.base")
_exceptions: Any = import_module(f"{NAME}.exceptions")
_signals: Any = import_module(f"{NAME}.signals")

task, task_backends = _tasks.task, _tasks.task_backends
Task, TaskError, TaskResultStatus = _base.Task, _base.TaskError, _base.TaskResultStatus
InvalidTask = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError
TaskResultDoesNotExist = _exceptions.TaskResultDoesNotExist
TaskResultMismatch = _exceptions.TaskResultMismatch
task_enqueued, task_started = _signals.task_enqueued, _signals.task_started
task_finished = _signals.task_finished
