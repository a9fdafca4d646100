"""Entries of `beat_schedule` that RedBeat cannot store: kept in memory, as Celery's own beat does.

RedBeat stores crontab, interval and rrule as JSON. A solar schedule, a schedule class of the
project's own, a `nowfun`, a function among the arguments would be lost or refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from celery.beat import ScheduleEntry
from celery.schedules import crontab, maybe_schedule, schedule
from redbeat.decoder import RedBeatJSONEncoder
from redbeat.schedules import rrule

_STORED_AS_THEY_ARE = (crontab, schedule, rrule)


def is_storable(entry: Mapping[str, Any]) -> bool:
    """Tell whether RedBeat gives the entry back as it was."""
    given: Any = entry.get("schedule")
    when: Any = maybe_schedule(given, entry.get("relative", False))
    if type(when) not in _STORED_AS_THEY_ARE or when.nowfun is not None:
        return False
    try:
        json.dumps(
            [when, entry.get("args"), entry.get("kwargs"), entry.get("options")],
            cls=RedBeatJSONEncoder,
        )
    except TypeError:
        return False
    return True


class MemoryEntries:
    """Such entries of one beat. They begin anew with its process."""

    def __init__(self) -> None:
        self._entries: dict[str, Any] = {}

    def put(self, name: str, entry: Mapping[str, Any], app: Any) -> None:
        """Take an entry over."""
        self._entries[name] = ScheduleEntry(**{**entry, "name": name, "app": app})

    def tick(
        self, send: Callable[[Any], bool] | None, failed: Callable[[str], None]
    ) -> float | None:
        """Send what is due and return the seconds until the next is; None: there is none.

        *send* says whether it could; what could not be sent stays due. Without it, as long as
        another beat sends, occurrences only pass. *failed* is told the name of an entry whose next
        time cannot be found, in the exception's handler.
        """
        soonest: float | None = None
        for name, entry in list(self._entries.items()):
            try:
                is_due, seconds = entry.is_due()
            except Exception:
                failed(name)
                continue
            if is_due and (send is None or send(entry)):
                self._entries[name] = next(entry)
            if seconds is not None:
                soonest = seconds if soonest is None else min(soonest, seconds)
        return soonest
