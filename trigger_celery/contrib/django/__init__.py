"""Django: `INSTALLED_APPS += ["trigger_celery.contrib.django"]`.

Binds the project's Celery app with the settings of `TRIGGER_CELERY`, closes old connections of the
database around runs, and adds `manage.py trigger …` and checks. `trigger_on_commit` triggers when
the transaction is committed. The backend for `django.tasks` is `.backend.TriggerBackend`.
"""

from trigger_celery.contrib.django.on_commit import (
    BatchCommitHandle,
    CommitHandle,
    trigger_on_commit,
)

__all__ = ["BatchCommitHandle", "CommitHandle", "trigger_on_commit"]
