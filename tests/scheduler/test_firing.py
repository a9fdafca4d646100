"""What a tick of the beat does with our schedules: one occurrence, one run, whoever fires it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery
from redbeat import RedBeatSchedulerEntry

from tests.conftest import Environment
from tests.deploying import deploy
from tests.driving import Clock
from tests.faultproxy import FaultProxy
from tests.scheduler.conftest import Beats
from trigger_celery import (
    DeclarativeScheduleError,
    Schedule,
    StateError,
    TriggerCelery,
    runs,
    scheduled_task,
    schedules,
)
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import keys
from trigger_celery.engine.beats import read_beat
from trigger_celery.engine.declared_schedules import sync_declared
from trigger_celery.engine.schedules import Wanted
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.ids import declared_schedule_id, token
from trigger_celery.model.schedule import ScheduleType
from trigger_celery.scheduler import CronSchedule, TriggerEntry, TriggerScheduler
from trigger_celery.scheduler.firing import GRACE_MS

MINUTE = 60_000


@pytest.fixture
def remind(trigger: TriggerCelery) -> Any:
    @scheduled_task(id="remind")
    def remind(payload: Any) -> None: ...

    trigger.app.finalize()
    deploy(trigger)
    return remind


def every_minute(key: str = "a", **more: Any) -> Schedule:
    return schedules.create(task="remind", cron="* * * * *", deduplication_key=key, **more).sync()


def to_the_next_minute(clock: Clock, *, late: int = 0) -> None:
    clock.advance(MINUTE - clock.now() % MINUTE + late)


def fired() -> list[datetime]:
    """Return the nominal times of the runs, in order."""
    made = runs.list(task="remind", limit=100).sync()
    return sorted(runs.retrieve(run.id).sync().payload["timestamp"] for run in made)


def test_an_occurrence_becomes_one_run_and_the_tick_says_when_to_come_again(
    beats: Beats, remind: Any, clock: Clock
) -> None:
    beat = beats(max_interval=60)
    to_the_next_minute(clock, late=58_000)
    every_minute()
    assert 0 < beat.tick() <= 2, "it wakes for the occurrence"
    assert fired() == []
    to_the_next_minute(clock)
    assert beat.tick() == 5, "it looks for new schedules every five seconds"
    assert beat.tick() == 5
    assert len(fired()) == 1
    to_the_next_minute(clock)
    beat.tick()
    first, second = fired()
    assert second - first == timedelta(minutes=1)


def test_a_schedule_that_changes_is_seen_with_the_next_look(
    beats: Beats, remind: Any, clock: Clock
) -> None:
    beat = beats()
    assert beat.tick() <= 1
    kept, paused = every_minute("a"), every_minute("b")
    to_the_next_minute(clock)
    schedules.deactivate(paused.id).sync()
    beat.tick()
    (run,) = runs.list(task="remind").sync()
    assert runs.retrieve(run.id).sync().payload["schedule_id"] == kept.id
    schedules.delete(kept.id).sync()
    to_the_next_minute(clock)
    beat.tick()
    assert len(fired()) == 1


def test_who_stands_by_fires_what_the_leading_one_leaves_too_long(
    beats: Beats, remind: Any, clock: Clock
) -> None:
    leading, standing_by = beats(), beats()
    leading.tick()
    every_minute()
    to_the_next_minute(clock)
    assert 0 < standing_by.tick() <= GRACE_MS / 1000
    assert fired() == []
    clock.advance(GRACE_MS)
    standing_by.tick()
    assert len(fired()) == 1
    leading.tick()
    assert len(fired()) == 1


def test_a_thousand_are_fired_in_one_tick_while_the_lock_is_renewed(
    beats: Beats, remind: Any, clock: Clock, client: redis.Redis
) -> None:
    beat = beats(lock_timeout=0.004)  # one millisecond after a renewal it is time for another
    first = schedules.create(task="remind", cron="* * * * *", deduplication_key="0").sync()
    for number in range(1, 1001):
        schedules.create(task="remind", cron="* * * * *", deduplication_key=str(number)).sync()
    to_the_next_minute(clock)
    renewed: list[bool] = []
    keep = beat._lock.keep
    beat._lock.keep = lambda: renewed.append(keep()) or True  # type: ignore[method-assign,func-returns-value]
    beat.tick()
    assert client.zcard(keys.key(beat._trigger.scope, "index_task", token("remind"))) == 1001
    assert len(renewed) == 2
    assert schedules.retrieve(first.id).sync().run_count == 1


def test_a_broken_schedule_is_set_aside_and_the_others_fire(
    beats: Beats, remind: Any, clock: Clock, client: redis.Redis, trigger: TriggerCelery
) -> None:
    beat = beats()
    broken, good = every_minute("a"), every_minute("b")
    client.hset(keys.key(trigger.scope, "redbeat", broken.id), "cron", "nonsense")
    to_the_next_minute(clock)
    beat.tick()
    assert len(fired()) == 1
    assert schedules.retrieve(good.id).sync().run_count == 1
    found = schedules.retrieve(broken.id).sync()
    assert not found.active
    assert found.problem


def test_a_store_that_is_away_ends_no_beat_and_loses_no_occurrence(
    beats: Beats,
    remind: Any,
    clock: Clock,
    trigger: TriggerCelery,
    server: EmbeddedServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    beat = beats()
    every_minute()
    to_the_next_minute(clock)
    trigger.configure(redis_url="unix:///nowhere.sock", store_retry=0.01)
    with caplog.at_level(logging.ERROR, "trigger_celery.beat"):
        assert beat.tick() == 1
    assert any("Trying again in 1 s" in record.message for record in caplog.records)
    trigger.configure(redis_url=server.url, store_retry=5)
    beat.tick()
    assert len(fired()) == 1


@pytest.fixture
def proxied(
    app: Celery, server: EmbeddedServer, environment: Environment, registry: None
) -> Iterator[tuple[FaultProxy, TriggerCelery]]:
    with FaultProxy(str(server.socket_path)) as proxy:
        bound = TriggerCelery(
            app, redis_url=proxy.url, project=environment.project, env=environment.env
        )
        app.conf.redbeat_redis_url = server.url.replace("db=0", "db=1")
        yield proxy, bound
        bound.store.close()
        bound.unbind()


def test_any_one_lost_reply_of_a_tick_makes_one_run(
    proxied: tuple[FaultProxy, TriggerCelery], clock: Clock, client: redis.Redis
) -> None:
    proxy, bound = proxied

    @scheduled_task(id="remind")
    def remind(payload: Any) -> None: ...

    bound.app.finalize()
    deploy(bound)
    proxy.lose(0)
    beat = TriggerScheduler(bound.app)
    created = every_minute()
    number = 1
    while True:
        to_the_next_minute(clock)
        client.delete(keys.key(bound.scope, "beat"))
        beat._signed = -1e9
        proxy.lose(number)
        beat.tick()
        lost = proxy.lost
        proxy.lose(0)
        assert schedules.retrieve(created.id).sync().run_count == number
        assert len(set(fired())) == len(fired()) == number
        if not lost:
            break
        number += 1
    assert number > 3
    assert schedules.retrieve(created.id).sync().missed_count == 0
    beat.close()
    bound.app.redbeat_redis.close()


def test_a_sign_of_life(beats: Beats, trigger: TriggerCelery, client: redis.Redis) -> None:
    read = read_beat(trigger.scope)
    assert trigger.store.run_sync(read) is None
    beats().tick()
    found = trigger.store.run_sync(read_beat(trigger.scope))
    assert found is not None
    assert found.seconds_ago < 30
    assert 50_000 < client.pttl(keys.key(trigger.scope, "beat")) <= 60_000


# A schedule as RedBeat's API shows it


def test_an_entry_shows_a_schedule(
    beats: Beats, remind: Any, clock: Clock, trigger: TriggerCelery, client: redis.Redis
) -> None:
    beats()
    made = schedules.create(
        task="remind", cron="30 9 L * *", timezone="Europe/Berlin", deduplication_key="a"
    ).sync()
    key = TriggerEntry.generate_key(trigger.app, made.id)
    entry = TriggerEntry.from_key(key, app=trigger.app)
    assert (entry.name, entry.task, entry.enabled, entry.key) == (made.id, "remind", True, key)
    assert entry.schedule == CronSchedule("30 9 L * *", "Europe/Berlin")
    assert entry.due_at == made.next_run
    assert entry.score == made.next_run.timestamp()  # type: ignore[union-attr]
    assert entry.rank == 0
    assert entry.last_run_at is None
    due, seconds = entry.is_due()
    assert not due
    assert seconds > 0
    stock = RedBeatSchedulerEntry.from_key(key, app=trigger.app)
    assert (stock.name, stock.task, stock.enabled) == (made.id, "remind", True)
    with pytest.raises(KeyError):
        TriggerEntry.from_key(key + "0", app=trigger.app)


def test_an_entry_can_be_changed_paused_and_deleted(
    beats: Beats, remind: Any, clock: Clock, trigger: TriggerCelery
) -> None:
    beats()
    made = every_minute(external_id="user 7", catch_up="all")
    entry = TriggerEntry.from_key(TriggerEntry.generate_key(trigger.app, made.id), app=trigger.app)
    entry.enabled = False
    entry.save()
    assert (entry.due_at, entry.score, entry.rank) == (None, -1, None)
    assert entry.is_due() == (False, 5.0)
    assert not schedules.retrieve(made.id).sync().active
    entry.enabled = True
    entry.schedule = CronSchedule("@daily", "Asia/Tokyo")
    entry.save()
    found = schedules.retrieve(made.id).sync()
    assert (found.cron, found.timezone, found.active) == ("@daily", "Asia/Tokyo", True)
    assert (found.external_id, found.catch_up) == ("user 7", "all")
    assert entry.due_at == found.next_run
    entry.schedule = 60
    with pytest.raises(InvalidOptionError, match="CronSchedule"):
        entry.save()
    with pytest.raises(StateError, match="follows from its pattern"):
        entry.reschedule()
    with pytest.raises(StateError, match="fired by TriggerScheduler"):
        next(entry)
    entry.delete()
    assert len(schedules.list().sync()) == 0


def test_an_entry_that_the_code_declares_is_not_changed(
    beats: Beats, trigger: TriggerCelery, remind: Any
) -> None:
    wanted = Wanted("remind", parse_cron("@hourly"), ScheduleType.DECLARATIVE)
    trigger.store.run_sync(sync_declared(trigger.scope, "shop", [wanted]))
    key = TriggerEntry.generate_key(trigger.app, declared_schedule_id("remind"))
    entry = TriggerEntry.from_key(key, app=trigger.app)
    entry.enabled = False
    with pytest.raises(DeclarativeScheduleError):
        entry.save()
    with pytest.raises(DeclarativeScheduleError):
        entry.delete()


def test_a_cron_schedule_in_beat_schedule() -> None:
    at = datetime(2026, 3, 28, 12, tzinfo=UTC)
    app = Celery("x", set_as_current=False)
    cron = CronSchedule("30 2 * * *", "Europe/Berlin", nowfun=lambda: at, app=app)
    assert cron.is_due(at - timedelta(minutes=1)) == (False, (13 * 60) * 60)  # 3:00, after the gap
    at += timedelta(hours=13)
    assert cron.is_due(at - timedelta(hours=1)) == (True, 23.5 * 3600)
    assert cron.remaining_estimate(at - timedelta(hours=1)) == timedelta(0)
    assert cron != CronSchedule("30 2 * * *", "UTC")
    assert len({cron, CronSchedule("30 2 * * *", "Europe/Berlin")}) == 1
    kind, args = cron.__reduce__()
    assert kind(*args) == cron
