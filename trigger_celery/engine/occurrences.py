"""Which occurrences of a due schedule fire, and the payloads of their runs. No store, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from trigger_celery.model.cron import Cron, parse_cron
from trigger_celery.model.packet import SUPER_JSON, Packet, dump_json
from trigger_celery.model.schedule import UPCOMING, CatchUp

MISSED_AFTER_MS = 60_000
"""An occurrence is missed when it is later than this, or than a quarter of the time to the next one."""
MOST_AT_ONCE = 100
"""So many runs of one schedule are made in one step; what is left is due again at once."""


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule that is due, as it was read. Moments are in ms.

    `nominal` is the occurrence that is due; it and the `generation` are what a firing is for.
    """

    id: str
    task: str
    cron: str
    timezone: str
    type: str
    external_id: str | None
    generation: str
    nominal: int
    last: int | None
    run_count: int
    catch_up: CatchUp
    catch_up_limit: int


@dataclass(frozen=True, slots=True)
class Firing:
    """What is to happen with a due schedule: the occurrences to fire, oldest first, and the next.

    `missed` are the first and the last occurrence that are passed over, if any are.
    """

    schedule: DueSchedule
    nominals: tuple[int, ...]
    following: int
    missed: tuple[int, int] | None = None


def plan(due: DueSchedule, now: int) -> Firing:
    """Return what fires at *now* (ms): one occurrence, or after an outage what `catch_up` says.

    Raises InvalidCronError for a schedule whose record is broken.
    """
    cron = parse_cron(due.cron, due.timezone)
    following = cron.next_after(due.nominal)
    if following > now:
        if due.catch_up == "none" and _is_missed(due.nominal, following, now):
            return Firing(due, (), following, (due.nominal, due.nominal))
        return Firing(due, (due.nominal,), following)
    if due.catch_up == "all":
        return _fire_all(due, cron, now)
    latest = cron.latest_until(now, due.nominal) or following
    following = cron.next_after(latest)
    if due.catch_up == "none" and _is_missed(latest, following, now):
        return Firing(due, (), following, (due.nominal, latest))
    before = cron.latest_until(latest - 1, due.nominal) or due.nominal
    return Firing(due, (latest,), following, (due.nominal, before))


def _is_missed(nominal: int, following: int, now: int) -> bool:
    return now - nominal > min(MISSED_AFTER_MS, (following - nominal) // 4)


def _fire_all(due: DueSchedule, cron: Cron, now: int) -> Firing:
    most = due.catch_up_limit
    found = [due.nominal, *cron.between(due.nominal, now, most)]
    missed = None
    if len(found) > most:
        found = _latest(cron, now, due.nominal, most)
        if found[0] > due.nominal:
            before = cron.latest_until(found[0] - 1, due.nominal) or due.nominal
            missed = (due.nominal, before)
    fired = tuple(found[:MOST_AT_ONCE])
    return Firing(due, fired, cron.next_after(fired[-1]), missed)


def _latest(cron: Cron, now: int, first: int, most: int) -> list[int]:
    """Return the latest occurrences up to *now*, from *first* on, oldest first."""
    found: list[int] = []
    until = now
    while len(found) < most:
        latest = cron.latest_until(until, first)
        if latest is None:
            found.append(first)
            break
        found.append(latest)
        until = latest - 1
    return found[::-1]


def _text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=4096)
def _upcoming(pattern: str, timezone: str, nominal: int) -> str:
    """Return the JSON list of the occurrences after one; many schedules share it."""
    return dump_json(
        [_text(at) for at in parse_cron(pattern, timezone).upcoming(nominal, UPCOMING)]
    )


_DATES = ",".join(f'"{name}":["Date"]' for name in (
    "timestamp", *(f"upcoming.{index}" for index in range(UPCOMING)),
))  # fmt: skip


def payloads(firing: Firing) -> Sequence[Packet]:
    """Return the payloads of the runs of a firing: what `encode` makes of a SchedulePayload."""
    due = firing.schedule
    who = (
        f'{{"json":{{"schedule_id":"{due.id}","type":"{due.type}","timezone":"{due.timezone}",'
        f'"external_id":{dump_json(due.external_id)},"timestamp":"'
    )
    packets = []
    last = due.last
    for nominal in firing.nominals:
        before, dates = ("null", _DATES)
        if last is not None:
            before, dates = f'"{_text(last)}"', f'"last_timestamp":["Date"],{_DATES}'
        upcoming = _upcoming(due.cron, due.timezone, nominal)
        text = (
            f'{who}{_text(nominal)}","last_timestamp":{before},"upcoming":{upcoming}}},'
            f'"meta":{{"values":{{{dates}}}}}}}'
        )
        packets.append(Packet(text, SUPER_JSON))
        last = nominal
    return packets
