"""Django in the process of the tests: two databases, our app without a Celery app, tasks."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import django
from django.conf import settings

from trigger_celery.bridge.surroundings import SURROUNDINGS

FOLDER = Path(tempfile.mkdtemp(prefix="trigger-django-"))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def _database(name: str) -> dict[str, object]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / f"{name}.sqlite3"}


settings.configure(
    USE_TZ=True,
    TIME_ZONE="UTC",  # Django makes it the zone of the whole process
    INSTALLED_APPS=["trigger_celery.contrib.django"],
    DATABASES={"default": _database("default"), "other": _database("other")},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    TASKS={
        "default": {
            "BACKEND": "trigger_celery.contrib.django.backend.TriggerBackend",
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"queues": {"mail": {"concurrency_limit": 2}}},
        },
        "committed": {
            "BACKEND": "trigger_celery.contrib.django.backend.TriggerBackend",
            "OPTIONS": {"enqueue_on_commit": True},
        },
        "backport": {"BACKEND": "trigger_celery.contrib.django.backport.TriggerBackend"},
    },
)
_before = list(SURROUNDINGS)
django.setup()
SURROUNDINGS[:] = _before  # tests of other things know nothing of Django
