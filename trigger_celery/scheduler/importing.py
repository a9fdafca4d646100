"""What of `beat_schedule`, or of RedBeat's entries, can become schedules of ours, and why not the rest.

Only reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final

from celery.schedules import crontab, maybe_schedule, schedule, solar
from redbeat.schedulers import RedBeatSchedulerEntry, get_redis

from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.errors import InvalidCronError, closest
from trigger_celery.model.cron import Cron, parse_cron
from trigger_celery.model.cron_grammar import calendar
from trigger_celery.model.schedule import MAX_DEDUPLICATION_KEY
from trigger_celery.scheduler.entry import CronSchedule
from trigger_celery.scheduler.redbeat_side import bound_for_beat

PREFIX: Final = "import:"
"""With the name of the entry behind it, the deduplication key of what was imported."""
READ_AT_ONCE: Final = 500
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_HOUSEKEEPING: Final = "celery.backend_cleanup"


@dataclass(frozen=True, slots=True)
class _BeatEntry:
    """An entry of beat. `problem` says why it could not be read."""

    name: str
    task: str = ""
    schedule: Any = None
    has_arguments: bool = False
    options: tuple[str, ...] = ()
    enabled: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Carried:
    """An entry that becomes a schedule. `notes` say what is not quite as before."""

    name: str
    task: str
    cron: Cron
    active: bool
    notes: tuple[str, ...]

    @property
    def deduplication_key(self) -> str:
        """The key that makes importing it again change nothing."""
        return f"{PREFIX}{self.name}"


@dataclass(frozen=True, slots=True)
class Left:
    """An entry that stays where it is, and why."""

    name: str
    task: str
    schedule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `beat_schedule`, as it is shown: beat sends it as a message."""

    name: str
    task: str
    schedule: str
    options: tuple[str, ...]


class _NotCronError(Exception):
    """The schedule of an entry cannot be said in cron; the message is the reason."""


def sort_out(app: Any, *, from_redbeat: bool) -> tuple[list[Carried], list[Left]]:
    """Return what becomes of the entries of `beat_schedule`, or of those that RedBeat stores."""
    entries = _entries_of_redbeat(app) if from_redbeat else _entries_of_app(app)
    found = [_translate(entry, app) for entry in entries]
    return (
        [one for one in found if isinstance(one, Carried)],
        [one for one in found if isinstance(one, Left)],
    )


def entries_of(app: Any) -> list[Entry]:
    """Return what the app's `beat_schedule` says, with what `add_periodic_task` put there."""
    return [
        Entry(entry.name, entry.task, _text_of(entry.schedule), entry.options)
        for entry in _entries_of_app(app)
    ]


def _text_of(found: Any) -> str:
    if isinstance(found, crontab):
        fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        return " ".join(str(getattr(found, f"_orig_{field}")) for field in fields)
    if type(found) is schedule:
        interval: Any = found
        return f"every {interval.run_every.total_seconds():g} s"
    return repr(found).strip("<>")


def _entries_of_app(app: Any) -> Iterator[_BeatEntry]:
    """Yield the entries of `beat_schedule`, by name."""
    app.finalize()
    for name, entry in sorted((app.conf.beat_schedule or {}).items()):
        fields: Any = entry if isinstance(entry, Mapping) else vars(entry)
        yield _BeatEntry(
            name=str(name),
            task=str(fields.get("task") or name),
            schedule=maybe_schedule(fields.get("schedule"), fields.get("relative", False), app),
            has_arguments=bool(fields.get("args") or fields.get("kwargs")),
            options=tuple(sorted(fields.get("options") or ())),
        )


def _entries_of_redbeat(app: Any) -> Iterator[_BeatEntry]:
    """Yield the entries that RedBeat stores, soonest first; those of `beat_schedule` are among them."""
    bound_for_beat(app, stock=True)
    client, due = get_redis(app), app.redbeat_conf.schedule_key
    start = 0
    while keys := client.zrange(due, start, start + READ_AT_ONCE - 1):
        with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, "definition", "meta")
            stored = pipe.execute()
        for key, (definition, meta) in zip(keys, stored, strict=True):
            if definition:
                yield _stored(app, key, definition, meta)
        start += len(keys)


def _stored(app: Any, key: str, definition: str, meta: str) -> _BeatEntry:
    name = key.removeprefix(app.redbeat_conf.key_prefix)
    try:
        found = RedBeatSchedulerEntry.decode_definition(definition)
        RedBeatSchedulerEntry.decode_meta(meta)
    except Exception as problem:  # whatever a decoder, and the schedules it makes, may raise
        return _BeatEntry(name, problem=f"it cannot be read: {problem!r:.100}")
    options = {word: value for word, value in (found.get("options") or {}).items() if value}
    return _BeatEntry(
        name=str(found.get("name") or name),
        task=str(found.get("task")),
        schedule=found.get("schedule"),
        has_arguments=bool(found.get("args") or found.get("kwargs")),
        options=tuple(sorted(options)),
        enabled=bool(found.get("enabled", True)),
    )


def _translate(entry: _BeatEntry, app: Any) -> Carried | Left:
    """Return what becomes of an entry."""
    reason = entry.problem or _refusal(entry, app)
    if not reason:
        try:
            cron, note = _cron_of(entry.schedule, app)
        except (_NotCronError, InvalidCronError) as problem:
            reason = str(problem)
        else:
            notes = [note] if note else []
            if entry.options:
                notes.append(f"its options are left out: {', '.join(entry.options)}")
            return Carried(entry.name, entry.task, cron, entry.enabled, tuple(notes))
    shown = "" if entry.schedule is None else repr(entry.schedule)
    return Left(entry.name, entry.task, shown, reason)


def _refusal(entry: _BeatEntry, app: Any) -> str:
    """Return why no schedule can take the entry's place, whenever it is due."""
    if entry.task == _HOUSEKEEPING:
        return "it is Celery's own housekeeping: leave it to beat"
    definition = REGISTRY.tasks.get(entry.task)
    if entry.task in app.tasks if definition is None else definition.plain is not None:
        return (
            "its task is a Celery task, which beat goes on sending as before. To make a schedule of it, "
            f"declare it with @scheduled_task(id={entry.task!r})"
        )
    if definition is None:
        return (
            f"{entry.task!r} is no @task of this project.{closest(entry.task, REGISTRY.tasks)} "
            f"Declare it with @scheduled_task(id={entry.task!r})"
        )
    if not definition.scheduled:
        return f"its task takes no schedules: declare it with @scheduled_task(id={entry.task!r})"
    if entry.has_arguments:
        return (
            "it has arguments, and a schedule carries none: its runs get the payload of a scheduled "
            "run. Put them into the code, or make the schedule with an external_id that leads to them"
        )
    if len(PREFIX + entry.name) > MAX_DEDUPLICATION_KEY:
        return f"its name is longer than {MAX_DEDUPLICATION_KEY - len(PREFIX)} characters"
    return ""


def _cron_of(found: Any, app: Any) -> tuple[Cron, str]:
    if isinstance(found, CronSchedule):
        return found.cron, ""
    if getattr(found, "nowfun", None) is not None:
        raise _NotCronError(
            "its schedule has a nowfun of its own, which may mean another time zone"
        )
    if type(found) is crontab:
        return _of_crontab(found, _zone_of(app)), ""
    if type(found) is schedule:
        interval: Any = found
        return _of_interval(interval.run_every)
    kind = "a solar event" if isinstance(found, solar) else f"of the kind {type(found).__name__}"
    raise _NotCronError(f"its schedule is {kind}, which cron cannot say")


def _zone_of(app: Any) -> str:
    """Return the name of the zone in which the app reads crontabs."""
    zone = app.timezone
    name = "UTC" if zone is UTC else getattr(zone, "key", None) or getattr(zone, "zone", None)
    if not isinstance(name, str):
        raise _NotCronError(
            f"the app's time zone is {zone!r:.60}, which has no IANA name: set app.conf.timezone"
        )
    return name


def _of_crontab(found: Any, zone: str) -> Cron:
    """Return a crontab as cron. Celery wants both days to fit, cron either, if both are named."""
    fields = (
        (found._orig_minute, found.minute, range(60)),
        (found._orig_hour, found.hour, range(24)),
        (found._orig_day_of_month, found.day_of_month, range(1, 32)),
        (found._orig_month_of_year, found.month_of_year, range(1, 13)),
        (found._orig_day_of_week, found.day_of_week, range(7)),
    )
    listed = [
        "*" if set(full) <= days else ",".join(map(str, sorted(days))) for _, days, full in fields
    ]
    written = [
        text if isinstance(text, str) and list_ != "*" else list_
        for (text, _, _), list_ in zip(fields, listed, strict=True)
    ]
    parts = written if _means(written, [set(days) for _, days, _ in fields]) else listed
    if not (parts[2].startswith("*") or parts[4].startswith("*")):
        raise _NotCronError(
            f"it names a day of the month ({parts[2]}) and a day of the week ({parts[4]}): Celery "
            "fires on days that are both, cron on days that are either. Take one of them, and look "
            "at the other in the task"
        )
    return parse_cron(" ".join(parts), zone)


def _means(parts: list[str], wanted: list[set[int]]) -> bool:
    """Whether cron reads the fields of a crontab as Celery does."""
    try:
        found = calendar(" ".join("".join(part.split()) for part in parts))
    except InvalidCronError:
        return False
    fields = [found.minutes, found.hours, found.days, found.months]
    week = {day % 7 if isinstance(day, int) else day for day in found.weekdays}
    return [*fields, week] == wanted


def _of_interval(every: timedelta) -> tuple[Cron, str]:
    """Return an interval as cron, in UTC: there it passes evenly. Raises _NotCronError."""
    seconds = every.total_seconds()
    pattern = None
    if seconds >= _MINUTE and seconds % _MINUTE == 0:
        if _HOUR % seconds == 0:
            pattern = f"{_step(seconds // _MINUTE, 60)} * * * *"
        elif seconds % _HOUR == 0 and _DAY % seconds == 0:
            pattern = f"0 {_step(seconds // _HOUR, 24)} * * *"
        elif seconds == 7 * _DAY:
            pattern = "0 0 * * 0"
    if pattern is None:
        why = (
            "a cron fires once a minute at most"
            if seconds < _MINUTE
            else "that does not divide an hour or a day evenly"
        )
        raise _NotCronError(f"it runs every {seconds:g} s, which cron cannot say: {why}")
    note = f"every {seconds:g} s is now counted by the clock in UTC, not from the start of beat"
    return parse_cron(pattern), note


def _step(size: float, whole: int) -> str:
    if size == whole:
        return "0"
    return "*" if size == 1 else f"*/{size:g}"
