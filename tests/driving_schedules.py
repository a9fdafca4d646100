"""Drives schedules in tests: what callers, workers and beats do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tests.driving import RETENTION, Engine
from trigger_celery.engine import declared_schedules, schedules, scheduling
from trigger_celery.engine.listing import RunFilter, list_runs
from trigger_celery.engine.occurrences import Firing, plan
from trigger_celery.engine.schedules import Found, Wanted, find_call
from trigger_celery.engine.scheduling import Fired
from trigger_celery.engine.triggering import Placement
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.ids import schedule_id
from trigger_celery.model.run import Run
from trigger_celery.model.schedule import Schedule, ScheduleType
from trigger_celery.store.op import Flow

START = "2030-03-04T08:59:50"


def ms(text: str) -> int:
    """Return a moment of UTC in ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def moment(text: str) -> datetime:
    """Return a moment of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def place_of(task: str) -> Placement:
    """Return where runs go of which a beat knows nothing but the task."""
    return Placement(task, declared=False, worker_queue="celery", queue="")


def wanted(
    key: str | None = "k",
    cron: str = "0 * * * *",
    *,
    task: str = "t",
    timezone: str = "UTC",
    **more: Any,
) -> Wanted:
    """Return what a schedule is to be; without a key the code declares it."""
    kind = ScheduleType.DECLARATIVE if key is None else ScheduleType.IMPERATIVE
    return Wanted(task, parse_cron(cron, timezone), kind, key, **more)


class Schedules:
    """The operations of schedules with short names and defaults, in sync code."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.scope = engine.scope

    def at(self, text: str) -> None:
        """Let it be this moment of UTC."""
        self.engine.clock.advance(ms(text) - self.engine.clock.now())

    def create(self, key: str = "k", cron: str = "0 * * * *", **more: Any) -> Schedule:
        new = wanted(key, cron, **more)

        def flow() -> Flow[Schedule]:
            found: Found = yield find_call(self.scope, key=key)
            return (yield from schedules.upsert(self.scope, found, new, schedule_id()))

        return self.engine.run(flow())

    def find(self, schedule: Schedule | str) -> Found:
        def flow() -> Flow[Found]:
            return (yield find_call(self.scope, schedule=getattr(schedule, "id", schedule)))

        return self.engine.run(flow())

    def read(self, schedule: Schedule | str) -> Schedule:
        return self.find(schedule).schedule

    def update(self, schedule: Schedule, cron: str = "0 * * * *", **more: Any) -> Schedule:
        new = wanted(schedule.deduplication_key, cron, **more)
        return self.engine.run(schedules.update(self.scope, self.find(schedule), new))

    def pause(self, schedule: Schedule) -> Schedule:
        return self.engine.run(schedules.set_active(self.scope, schedule.id, False))

    def resume(self, schedule: Schedule) -> Schedule:
        return self.engine.run(schedules.set_active(self.scope, schedule.id, True))

    def delete(self, schedule: Schedule) -> None:
        self.engine.run(schedules.delete(self.scope, schedule.id))

    def sync(self, *declared: Wanted, app: str = "shop") -> declared_schedules.Synced:
        flow = declared_schedules.sync_declared(self.scope, app, declared)
        return self.engine.run(flow)

    def list(self) -> list[Schedule]:
        return self.engine.run(schedules.list_schedules(self.scope, 0, 1000)).schedules

    def plans(self) -> list[Firing]:
        """Return what a beat is about to fire."""
        due = self.engine.run(scheduling.due_schedules(self.scope))
        return [plan(one, due.now) for one in due.schedules]

    def fire_these(self, firings: Sequence[Firing]) -> list[Fired]:
        flow = scheduling.fire_schedules(self.scope, firings, place_of, RETENTION)
        return self.engine.run(flow)

    def fire(self, at: str = "", limit: int = scheduling.MAX_DUE) -> list[scheduling.Round]:
        """Fire until nothing is due; returns the rounds."""
        if at:
            self.at(at)
        rounds = []
        while True:
            flow = scheduling.fire_due(self.scope, place_of, RETENTION, limit)
            rounds.append(self.engine.run(flow))
            if not rounds[-1].more:
                return rounds

    def runs(self, schedule: Schedule | str) -> list[Run]:
        """Return the runs of a schedule by their nominal times."""
        by = RunFilter(schedule=getattr(schedule, "id", schedule))
        found = []
        cursor = None
        while True:
            page = self.engine.run(list_runs(self.scope, by, 100, cursor))
            found += [self.engine.read(run.id) for run in page]
            cursor = page.next_cursor
            if cursor is None:
                return sorted(found, key=lambda run: run.payload["timestamp"])

    def nominals(self, schedule: Schedule | str) -> list[datetime]:
        return [run.payload["timestamp"] for run in self.runs(schedule)]
