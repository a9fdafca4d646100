"""Options that Celery has and `@task` and `trigger` do not: what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from trigger_celery.errors import closest

_RETRY: Final = "retry={'max_attempts': 5, 'min_timeout_in_ms': 1000}; the first attempt counts"
_KEPT: Final = "nothing: a run is recorded in any case, and taken over when its worker dies"
_NEXT: Final = "the trigger of what follows into the task, or into on_success and on_failure"

TASK_WORDS: Final[Mapping[str, str]] = {
    "acks_late": _KEPT,
    "autoretry_for": _RETRY,
    "bind": "a parameter called ctx, which knows the run: def my_task(payload, ctx)",
    "concurrency_limit": "queue={'concurrency_limit': 4}, or queue=queue(name=…, concurrency_limit=4)",
    "default_retry_delay": _RETRY,
    "expires": "ttl='10m'",
    "ignore_result": _KEPT,
    "max_retries": _RETRY,
    "name": "id",
    "rate_limit": "queue=queue(name=…, rate_limit='100/m')",
    "reject_on_worker_lost": _KEPT,
    "retry_backoff": _RETRY,
    "retry_backoff_max": _RETRY,
    "retry_jitter": _RETRY,
    "retry_kwargs": _RETRY,
    "soft_time_limit": "max_duration='10m'",
    "time_limit": "max_duration='10m'",
    "track_started": _KEPT,
}
"""Options of `@app.task`."""

TRIGGER_WORDS: Final[Mapping[str, str]] = {
    "args": "the payload, one value: trigger({'order': 4711})",
    "countdown": "delay=30",
    "eta": "delay=, which takes a datetime as well",
    "expires": "ttl='10m'",
    "kwargs": "the payload, one value: trigger({'order': 4711})",
    "link": _NEXT,
    "link_error": _NEXT,
    "max_retries": "max_attempts=; the first attempt counts",
    "rate_limit": "queue=, with a queue(name=…, rate_limit='100/m')",
    "retry": "max_attempts=; the rest of the policy is the task's",
    "soft_time_limit": "max_duration='10m'",
    "task_id": "idempotency_key=; the id of a run is made by the trigger",
    "time_limit": "max_duration='10m'",
}
"""Options of `apply_async`."""


def meant(word: str, options: Iterable[str], words: Mapping[str, str]) -> str:
    """Return ` Write x instead.` for an option of Celery, else ` Did you mean 'x'?` or nothing."""
    instead = words.get(word)
    return closest(word, options) if instead is None else f" Write {instead}."
