"""The sign of life of beats, and how much there is to do for one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from trigger_celery.engine import keys
from trigger_celery.store.op import Flow, command

SIGN_TTL: Final = 60.0
"""Seconds that a sign of life is kept at the least."""


@dataclass(frozen=True, slots=True)
class BeatState:
    """The beat that ticked last."""

    host: str
    pid: int
    seconds_ago: float


def note_beat(scope: str, host: str, pid: int, interval: float) -> Flow[None]:
    """Say that a beat ticks, and will within *interval* seconds at most."""
    ttl = round(max(SIGN_TTL, 3 * interval) * 1000)
    sign = json.dumps({"host": host, "pid": pid, "ttl": ttl})
    yield command("SET", keys.key(scope, "beat"), sign, "PX", ttl)


def read_beat(scope: str) -> Flow[BeatState | None]:
    """Return the beat that ticked last; None: none has for a minute."""
    key = keys.key(scope, "beat")
    sign: bytes | None
    sign, left = yield [command("GET", key), command("PTTL", key)]
    if sign is None:
        return None
    said: dict[str, Any] = json.loads(sign)
    return BeatState(said["host"], said["pid"], max(0.0, (said["ttl"] - int(left)) / 1000))


@dataclass(frozen=True, slots=True)
class WaitingSchedules:
    """How many schedules are active, and when the first is due."""

    count: int
    next_at: datetime | None


def read_waiting(scope: str) -> Flow[WaitingSchedules]:
    """Return how many schedules wait for their time."""
    key = keys.key(scope, "redbeat_due")
    count, first = yield [command("ZCARD", key), command("ZRANGE", key, 0, 0, "WITHSCORES")]
    at = datetime.fromtimestamp(float(first[1]), UTC) if first else None
    return WaitingSchedules(int(count), at)
