"""A small project. SQLite, or PostgreSQL with DATABASE_URL=postgresql://user:password@host/name."""

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import django

FOLDER = Path(__file__).resolve().parent.parent


def database(url: str) -> dict:
    """Return Django's words for a database URL."""
    if not url:
        # A run may write while a view does: SQLite lets one wait for the other.
        options = {"timeout": 20}
        if django.VERSION >= (5, 1):
            options["transaction_mode"] = "IMMEDIATE"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("SQLITE_FILE", FOLDER / "db.sqlite3"),
            "OPTIONS": options,
        }
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


SECRET_KEY = os.environ.get("SECRET_KEY", "an-example-is-no-secret")
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {**database(os.environ.get("DATABASE_URL", "")), "ATOMIC_REQUESTS": True}}

INSTALLED_APPS = ["trigger_celery.contrib.django", "orders"]

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0")

# Where runs are stored: TRIGGER_REDIS_URL, or the broker, as this says nothing else.
TRIGGER_CELERY = {"project": "shop", "run_retention": "2d"}

# Django's own tasks become runs, too. Before Django 6.0 this is for the package django-tasks.
TASKS = {
    "default": {
        "BACKEND": "trigger_celery.contrib.django.backend.TriggerBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"queues": {"mail": {"concurrency_limit": 2}}, "retry": {"max_attempts": 2}},
    }
}
