"""10,000 schedules due in the same minute, and a beat with nothing to do among 100,000."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from redbeat import RedBeatSchedulerEntry
from redbeat.schedulers import get_redis

from bench.rig import wait_until
from bench.rows import Benchmark, Row, Sample
from trigger_celery.engine import keys
from trigger_celery.engine.schedules import Found, Wanted, put_call
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.ids import schedule_id, token
from trigger_celery.store.op import Flow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rig import Rig

SCHEDULES = 10_000
IDLE = 100_000
WATCHED = 10.0
"""Seconds for which the idle beat is watched."""
AHEAD_MS = 3000
MINUTE_MS = 60_000
PIECE = 500
OURS = "trigger_celery.scheduler:TriggerScheduler"
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kolkata",
    "Australia/Sydney", "America/Sao_Paulo", "Africa/Lagos", "Asia/Shanghai",
)  # fmt: skip

FIRE = (
    Row(
        "fired",
        "10,000 schedules due in one minute, all runs made",
        "s",
        most=3,
        absolute=True,
        against="RedBeat, all messages sent",
    ),
)
IDLES = (
    Row(
        "cpu",
        "idle beat, 100,000 schedules, half of them paused, of a core",
        "%",
        most=2,
        absolute=True,
    ),
)


def _patterns(moment: datetime) -> Iterator[Wanted]:
    """Yield without end what tenants in many zones may have chosen, all of it due at *moment*."""
    number = 0
    while True:
        for zone in ZONES:
            at = moment.astimezone(ZoneInfo(zone))
            weekday = at.isoweekday() % 7
            for pattern in (
                f"{at.minute} {at.hour} * * *",
                f"{at.minute} {at.hour} * * {weekday}",
                f"{at.minute} {at.hour} {at.day} * *",
                f"{at.minute} {at.hour}-23 * * *",
                f"{at.minute} * * * *",
            ):
                number += 1
                yield Wanted("noop", parse_cron(pattern, zone), deduplication_key=f"k{number}")


def _store(rig: Rig, wanted: Iterator[Wanted], count: int, now: int, *, half: bool = False) -> None:
    def flow() -> Flow[None]:
        for start in range(0, count, PIECE):
            yield [
                put_call(
                    rig.trigger.scope,
                    Found(now, schedule_id(), {}),
                    next(wanted),
                    active=not half or number % 2 == 0,
                )
                for number in range(start, min(start + PIECE, count))
            ]

    rig.trigger.store.run_blocking(flow())


def _now(rig: Rig) -> int:
    seconds, micros = rig.client.time()
    return seconds * 1000 + micros // 1000 + int(rig.client.get(_clock(rig)) or 0)


def _clock(rig: Rig) -> str:
    return keys.key(rig.trigger.scope, "clock")


def _go_to(rig: Rig, ms: int) -> None:
    """Move the test clock."""
    rig.client.incrby(_clock(rig), ms - _now(rig))


def _next_minute(rig: Rig) -> int:
    return (_now(rig) // MINUTE_MS + 1) * MINUTE_MS


def _wait_for_beat(rig: Rig) -> None:
    wait_until(lambda: rig.client.exists(keys.key(rig.trigger.scope, "beat")))


def _ours(rig: Rig, count: int) -> float:
    rig.reset()
    _go_to(rig, _next_minute(rig))
    due = _next_minute(rig)
    moment = datetime.fromtimestamp(due / 1000, UTC)
    _store(rig, _patterns(moment), count, _now(rig))
    index = keys.key(rig.trigger.scope, "index_task", token("noop"))
    with rig.beat("bench.apps.ours", OURS) as beat:
        _wait_for_beat(rig)
        _go_to(rig, due - AHEAD_MS)
        beat.until(lambda: rig.client.zcard(index) >= count)
        last: Any = rig.client.zrange(index, -1, -1, withscores=True)
    return (last[0][1] - due) / 1000


def _redbeat(rig: Rig, count: int) -> float:
    rig.reset()
    app = rig.plain.app
    due_at = "redbeat::schedule"
    with get_redis(app).pipeline(transaction=False) as pipe:
        for number in range(count):
            entry = RedBeatSchedulerEntry(f"e{number}", "noop", 3600, args=[{"i": number}], app=app)
            entry.last_run_at = datetime.now(UTC) - timedelta(hours=2)
            entry.save()
            pipe.zadd(due_at, {entry.key: 2_000_000_000})
        pipe.execute()
    with rig.beat("bench.apps.plain", "redbeat.RedBeatScheduler", "--max-interval", "1") as beat:
        wait_until(lambda: rig.client.exists("redbeat::lock"))
        moment = int(time.time()) + AHEAD_MS // 1000
        rig.client.zadd(due_at, {f"redbeat:e{number}": moment for number in range(count)})
        beat.until(lambda: rig.client.llen("plain") >= count)
        return time.time() - moment


def fire(rig: Rig) -> dict[str, Sample]:
    count = rig.count(SCHEDULES)
    return {"fired": Sample(_ours(rig, count), _redbeat(rig, count))}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(rig: Rig) -> dict[str, Sample]:
    rig.reset()
    never = (
        Wanted("noop", parse_cron("0 0 1 1 *", zone), deduplication_key=f"k{number}")
        for number, zone in enumerate(ZONES * (IDLE // len(ZONES)))
    )
    _store(rig, never, rig.count(IDLE), _now(rig), half=True)
    with rig.beat("bench.apps.ours", OURS) as beat:
        _wait_for_beat(rig)
        began, before = time.monotonic(), _cpu_seconds(beat.process.pid)
        wait_until(lambda: time.monotonic() - began >= WATCHED)
        used = _cpu_seconds(beat.process.pid) - before
        return {"cpu": Sample(used / (time.monotonic() - began) * 100)}


FIRED = Benchmark("schedules", FIRE, fire, most_repeats=2)
IDLING = Benchmark("idle-beat", IDLES, idle, most_repeats=1)
