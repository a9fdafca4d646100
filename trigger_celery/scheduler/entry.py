"""Our schedules in RedBeat's words: an entry, and the schedule it carries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self

from celery.schedules import BaseSchedule, schedstate
from redbeat.schedulers import RedBeatSchedulerEntry

from trigger_celery.engine import keys
from trigger_celery.engine.schedules import Found, Wanted, delete, find_call, set_active, update
from trigger_celery.errors import InvalidOptionError, ScheduleNotFoundError, StateError
from trigger_celery.model.cron import parse_cron
from trigger_celery.scheduler.redbeat_side import bound_for_beat
from trigger_celery.store.op import Flow, ask, command


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


class CronSchedule(BaseSchedule):
    """A cron pattern in a time zone of its own, for Celery and RedBeat.

    `beat_schedule` takes it too: `{"task": …, "schedule": CronSchedule("0 9 L * *", "Europe/Berlin")}`.
    Raises InvalidCronError.
    """

    def __init__(
        self, pattern: str, timezone: str = "UTC", *, nowfun: Any = None, app: Any = None
    ) -> None:
        super().__init__(nowfun=nowfun, app=app)
        self.cron = parse_cron(pattern, timezone)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the first occurrence after *last_run_at*; may be negative."""
        return _at(self.cron.next_after(_ms(last_run_at))) - self._present()

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether an occurrence has come since *last_run_at*, and the seconds to the next."""
        now = self._present()
        if _at(self.cron.next_after(_ms(last_run_at))) <= now:
            last_run_at = now
        left = _at(self.cron.next_after(_ms(last_run_at))) - now
        return schedstate(is_due=last_run_at is now, next=left.total_seconds())

    def _present(self) -> datetime:
        found: datetime = self.maybe_make_aware(self.now())
        return found

    def __repr__(self) -> str:
        return f"<cron: {self.cron.pattern} {self.cron.timezone}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CronSchedule) and self.cron == other.cron

    def __hash__(self) -> int:
        return hash(self.cron)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.cron.pattern, self.cron.timezone)


class TriggerEntry(RedBeatSchedulerEntry):  # type: ignore[misc] # RedBeat ships no types
    """A schedule of ours as RedBeat's API shows an entry. Its name is the schedule's id.

    `enabled`, `task` and `schedule` may be changed and saved, and it may be deleted, unless the
    code declares it: DeclarativeScheduleError. Occurrences become runs by `TriggerScheduler` alone.
    """

    def __init__(self, *args: Any, app: Any = None, due_at: datetime | None = None, **fields: Any):
        self._trigger = bound_for_beat(app)
        super().__init__(*args, app=self._trigger.app, **fields)
        self._due_at = due_at

    @staticmethod
    def generate_key(app: Any, name: str) -> str:
        """Return the key of the schedule with this id."""
        return keys.key(bound_for_beat(app).scope, "redbeat", name)

    @classmethod
    def from_key(cls, key: str, app: Any = None) -> Self:
        """Return the entry that is stored there. Raises KeyError."""
        trigger = bound_for_beat(app)
        schedule_id = key.removeprefix(keys.key(trigger.scope, "redbeat", ""))
        found = trigger.store.run_blocking(ask(find_call(trigger.scope, schedule=schedule_id)))
        try:
            return cls._of(found, trigger.app)
        except ScheduleNotFoundError:
            raise KeyError(key) from None

    @classmethod
    def _of(cls, found: Found, app: Any) -> Self:
        stored = found.schedule
        entry = cls(
            name=stored.id,
            task=stored.task,
            schedule=CronSchedule(stored.cron, stored.timezone, app=app),
            enabled=stored.active,
            total_run_count=stored.run_count,
            due_at=stored.next_run,
            app=app,
        )
        entry.last_run_at = stored.last_run
        return entry

    @property
    def due_at(self) -> datetime | None:
        """The nominal time of the next occurrence, None while the schedule is paused."""
        return self._due_at

    @property
    def score(self) -> float:
        """The same in seconds, -1 while the schedule is paused."""
        return -1 if self._due_at is None else self._due_at.timestamp()

    @property
    def rank(self) -> int | None:
        """How many schedules are due before it; None while it is paused."""
        if self._due_at is None:
            return None
        due = keys.key(self._trigger.scope, "redbeat_due")
        found: int = self._run(ask(command("ZCOUNT", due, "-inf", f"({self.score:.3f}")))
        return found

    def is_due(self) -> schedstate:
        """Return whether its next occurrence has come, and the seconds to look again."""
        if self._due_at is None:
            return schedstate(is_due=False, next=5.0)  # as RedBeat says of one that is not enabled
        left = (self._due_at - self.schedule._present()).total_seconds()
        return schedstate(is_due=left <= 0, next=max(left, 0.0))

    def save(self) -> Self:
        """Store a changed `task`, `schedule` or `enabled`, and show what is stored then.

        Raises ScheduleNotFoundError, DeclarativeScheduleError, InvalidOptionError.
        """
        if not isinstance(self.schedule, CronSchedule):
            raise InvalidOptionError(
                f"{self.schedule!r} cannot be the schedule of {self.name!r}: pass a CronSchedule"
            )
        self._run(self._store(Wanted(self.task, self.schedule.cron)))
        self.__dict__.update(vars(self.from_key(self.key, self.app)))
        return self

    def _store(self, wanted: Wanted) -> Flow[None]:
        scope = self._trigger.scope
        found: Found = yield find_call(scope, schedule=self.name)
        stored = found.schedule
        if (stored.task, stored.cron, stored.timezone) != (
            wanted.task, wanted.cron.pattern, wanted.cron.timezone,
        ):  # fmt: skip
            kept = Wanted(
                wanted.task,
                wanted.cron,
                external_id=stored.external_id,
                catch_up=stored.catch_up,
                catch_up_limit=stored.catch_up_limit,
            )
            yield from update(scope, found, kept)
        yield from set_active(scope, self.name, self.enabled)

    def delete(self) -> None:
        """Delete the schedule. Raises ScheduleNotFoundError, DeclarativeScheduleError."""
        self._run(delete(self._trigger.scope, self.name))

    def reschedule(self, last_run_at: datetime | None = None) -> NoReturn:
        """Raise StateError: the next occurrence follows from the one before, not from a date."""
        raise StateError(
            f"the next occurrence of {self.name!r} follows from its pattern: change `schedule` and "
            "save, or set `enabled` to False and True to pass over what is due"
        )

    def _next_instance(self, last_run_at: Any = None, only_update_last_run_at: bool = False) -> Any:
        raise StateError(
            f"the schedule {self.name!r} is fired by TriggerScheduler: an occurrence is passed on in "
            "the same step in which its run is made"
        )

    __next__ = next = _next_instance

    def _run(self, flow: Flow[Any]) -> Any:
        return self._trigger.store.run_blocking(flow)
