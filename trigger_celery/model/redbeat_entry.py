"""How RedBeat's own tools read a schedule: the JSON of `definition` and `meta` of its entry.

Its stock decoder knows crontab and interval. A pattern is written as a crontab if Celery means the
same by it, and as the interval to the next occurrence otherwise. Celery reads a crontab in the time
zone of the app, so this is for looking; what fires is our own evaluator.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

from trigger_celery.model.cron import Cron
from trigger_celery.model.cron_grammar import expanded

_NAMES: Final = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_PLAIN: Final = re.compile(r"[0-9*,/-]+").fullmatch


def definition(
    *, schedule: str, task: str, cron: Cron, external_id: str | None, active: bool, after_ms: int
) -> str:
    """Return the JSON of the entry's `definition`. An interval is the one after *after_ms*."""
    payload = {"schedule_id": schedule, "timezone": cron.timezone, "external_id": external_id}
    return json.dumps(
        {
            "name": schedule,
            "task": task,
            "args": [payload],
            "kwargs": {},
            "options": {},
            "schedule": _crontab(cron) or _interval(cron, after_ms),
            "enabled": active,
        }
    )


def meta(last_ms: int, count: int) -> str:
    """Return the JSON of the entry's `meta`: when it fired last, and how often."""
    at = datetime.fromtimestamp(last_ms / 1000, UTC)
    return (
        f'{{"last_run_at": {{"__type__": "datetime", "year": {at.year}, "month": {at.month}, '
        f'"day": {at.day}, "hour": {at.hour}, "minute": {at.minute}, "second": {at.second}, '
        f'"microsecond": {at.microsecond}, "timezone": "UTC"}}, "total_run_count": {count}}}'
    )


def _crontab(cron: Cron) -> dict[str, Any] | None:
    parts = dict(zip(_NAMES, expanded(cron.pattern).split(), strict=True))
    if not all(map(_PLAIN, parts.values())):
        return None  # names, L, # and ?
    if re.search(r"(?<!\d)\d+/", " ".join(parts.values())):
        return None  # 5/15: from 5 on; Celery takes 5 only
    if parts["day_of_month"] != "*" and parts["day_of_week"] != "*":
        return None  # either of them, to Celery both
    if "7" in parts["day_of_week"]:
        return None  # Sunday is 0 to Celery
    return {"__type__": "crontab", **parts}


def _interval(cron: Cron, after_ms: int) -> dict[str, Any]:
    first, second = cron.upcoming(after_ms, 2)
    return {"__type__": "interval", "every": (second - first) / 1000, "relative": False}
