"""Celery's settings by the names of all its versions and of Django, under the one of today."""

from __future__ import annotations

from typing import Final

_OLD: Final = {
    "celery_always_eager": "task_always_eager",
    "celery_acks_late": "task_acks_late",
    "celery_ignore_result": "task_ignore_result",
    "celery_annotations": "task_annotations",
    "celery_default_rate_limit": "task_default_rate_limit",
    "celeryd_prefetch_multiplier": "worker_prefetch_multiplier",
    "celeryd_task_time_limit": "task_time_limit",
    "celeryd_task_soft_time_limit": "task_soft_time_limit",
    "celerybeat_schedule": "beat_schedule",
    "broker_url": "broker_url",
    "broker_transport_options": "broker_transport_options",
}

KNOWN: Final = frozenset(
    {
        *_OLD.values(),
        "accept_content",
        "broker_read_url",
        "broker_write_url",
        "event_serializer",
        "result_accept_content",
        "result_serializer",
        "task_reject_on_worker_lost",
        "task_serializer",
    }
)
"""The settings that rules look at."""


def setting(name: str) -> str | None:
    """Return the setting that a name stands for, or None when it is none that matters here."""
    lower = name.lower()
    if lower in _OLD:
        return _OLD[lower]
    plain = lower.removeprefix("celery_")
    return plain if plain in KNOWN else None
