"""RedBeat's own entries and `beat_schedule` beside ours: stored, sent once, by who has the lock."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from celery import Celery
from celery.schedules import crontab, schedule
from redbeat import RedBeatSchedulerEntry
from redbeat.schedulers import RedBeatScheduler, get_redis

from tests.architecture.source import ROOT
from tests.conftest import Environment
from tests.docs.test_server_user import setuser
from tests.driving import Clock
from tests.scheduler.conftest import Beats
from trigger_celery import TriggerCelery, runs, task
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import keys
from trigger_celery.engine.schedules import Wanted, find_call, upsert
from trigger_celery.errors import ConfigurationError
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.ids import schedule_id
from trigger_celery.scheduler import CronSchedule, TriggerScheduler
from trigger_celery.scheduler.firing import GRACE_MS
from trigger_celery.scheduler.statics import is_storable
from trigger_celery.store.op import ask

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def ping(trigger: TriggerCelery) -> Any:
    """A task, so that what is sent can be seen as a run."""

    @task(id="ping")
    def ping(payload: Any) -> None: ...

    trigger.app.finalize()
    return ping


def entry(app: Celery, name: str, payload: Any, every: float = 3600, **more: Any) -> Any:
    made = RedBeatSchedulerEntry(name, "ping", schedule(every), args=[payload], app=app, **more)
    made.last_run_at = LONG_AGO
    return made


def sent() -> list[Any]:
    """Return the payloads of the runs, in order."""
    return sorted(runs.retrieve(run.id).sync().payload for run in runs.list(task="ping").sync())


class Odd(schedule):
    """A schedule of the project's own: RedBeat would store it as an interval."""

    def is_due(self, last_run_at: datetime) -> Any:
        due, seconds = super().is_due(last_run_at)
        return due, seconds


def test_an_app_needs_a_binding() -> None:
    plain = Celery("plain", broker="memory://", set_as_current=False)
    with pytest.raises(ConfigurationError, match=r"needs TriggerCelery\(app\)"):
        TriggerScheduler(plain)


@pytest.mark.parametrize(
    ("conf", "used"),
    [
        ({}, "trigger_celery.scheduler:TriggerScheduler"),
        ({"beat_scheduler": "redbeat.RedBeatScheduler"}, "redbeat.RedBeatScheduler"),
        ({"beat_scheduler": "celery.beat:PersistentScheduler"}, "celery.beat:PersistentScheduler"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_bound_app_uses_it_unless_it_names_another(
    registry: None, conf: dict[str, str], used: str, late: bool
) -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    if late:
        app.conf.update(conf)
        assert app.conf.timezone is None  # read: the configuration is complete
    bound = TriggerCelery(app)
    if not late:
        app.conf.update(conf)
    assert app.conf.beat_scheduler == used
    bound.unbind()
    assert app.conf.beat_scheduler == conf.get("beat_scheduler", "celery.beat:PersistentScheduler")


def test_a_scheduler_named_in_a_namespace_counts(registry: None) -> None:
    class DjangoSettings:
        CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

    app = Celery("shop", broker="memory://", set_as_current=False)
    bound = TriggerCelery(app)
    app.config_from_object(DjangoSettings, namespace="CELERY")
    assert app.conf.beat_scheduler == "django_celery_beat.schedulers:DatabaseScheduler"
    bound.unbind()
    assert app.conf.beat_scheduler == "django_celery_beat.schedulers:DatabaseScheduler"


def test_entries_are_sent_once_and_put_off(beats: Beats, ping: Any, trigger: TriggerCelery) -> None:
    trigger.app.conf.beat_schedule = {
        "static": {"task": "ping", "schedule": 3600.0, "args": ["static"]},
        "daily": {"task": "ping", "schedule": crontab(minute=0, hour=0), "args": ["daily"]},
    }
    beat = beats()
    assert beat.schedule == {}, "a new entry waits for its first time"
    entry(trigger.app, "mine", "mine").save()
    static = RedBeatSchedulerEntry.from_key("redbeat:static", app=trigger.app)
    static.reschedule(LONG_AGO)
    assert 0 < beat.tick() <= 1
    assert beat.tick() > 0
    assert sent() == ["mine", "static"]
    after = RedBeatSchedulerEntry.from_key("redbeat:mine", app=trigger.app)
    assert after.total_run_count == 1
    assert after.last_run_at > LONG_AGO


def test_an_entry_removed_from_beat_schedule_is_removed(
    beats: Beats, trigger: TriggerCelery, client: redis.Redis
) -> None:
    trigger.app.conf.beat_schedule = {"old": {"task": "ping", "schedule": 60.0}}
    beats()
    assert client.exists("redbeat:old")
    trigger.app.conf.beat_schedule = {}
    beats()
    assert not client.exists("redbeat:old")


def test_what_redbeat_cannot_store_is_sent_from_memory(
    beats: Beats, ping: Any, trigger: TriggerCelery, client: redis.Redis
) -> None:
    now = datetime(2030, 1, 1, 11, 59, tzinfo=UTC)
    trigger.app.conf.beat_schedule = {
        "own": {"task": "ping", "schedule": Odd(60, nowfun=lambda: now), "args": ["own"]},
        "now": {
            "task": "ping",
            "schedule": crontab(minute=0, hour=12, nowfun=lambda: now),
            "args": ["now"],
        },
        "nonsense": {"task": "ping", "schedule": None},
    }
    leading, standing_by = beats(), beats()
    assert list(client.scan_iter("redbeat:[a-z]*")) == [b"redbeat:celery.backend_cleanup"]
    for beat in (leading, standing_by):
        assert 0 < beat.tick() <= 1
    assert sent() == []
    now += timedelta(minutes=2)
    for _ in range(2):
        leading.tick()
        standing_by.tick()
    assert sent() == ["now", "own"]
    leading.close()
    standing_by.tick()
    assert sent() == ["now", "own"], "what the other one sent is not sent again"


@pytest.mark.parametrize(
    ("entry", "storable"),
    [
        ({"schedule": 60}, True),
        ({"schedule": timedelta(hours=1), "args": (1, "a"), "kwargs": {"at": LONG_AGO}}, True),
        ({"schedule": crontab(hour=7), "options": {"queue": "q"}}, True),
        ({"schedule": crontab(hour=7, nowfun=datetime.now)}, False),
        ({"schedule": Odd(60)}, False),
        ({"schedule": CronSchedule("@daily", "Europe/Berlin")}, False),
        ({"schedule": 60, "args": [{1}]}, False),
        ({"schedule": 60, "kwargs": {"now": datetime.now}}, False),
        ({"schedule": None}, False),
    ],
)
def test_what_redbeat_gives_back_as_it_was(entry: dict[str, Any], storable: bool) -> None:
    assert is_storable(entry) is storable


def test_one_sends_and_the_other_takes_over_at_once_when_it_ends(
    beats: Beats, ping: Any, trigger: TriggerCelery
) -> None:
    first, second = beats(), beats()
    first.tick()
    entry(trigger.app, "a", "a").save()
    second.tick()
    assert sent() == []
    first.tick()
    assert sent() == ["a"]
    first.close()
    entry(trigger.app, "b", "b").save()
    second.tick()
    assert sent() == ["a", "b"]


def test_a_beat_of_redbeats_own_keeps_ours_out(
    beats: Beats, ping: Any, trigger: TriggerCelery
) -> None:
    ours = beats()
    lock = get_redis(trigger.app).lock("redbeat::lock", timeout=60)
    assert lock.acquire(blocking=False)
    entry(trigger.app, "a", "a").save()
    ours.tick()
    assert sent() == []
    lock.release()
    ours.tick()
    assert sent() == ["a"]
    assert not get_redis(trigger.app).lock("redbeat::lock", timeout=60).acquire(blocking=False)


def test_a_lock_that_was_lost_is_taken_again(
    beats: Beats, ping: Any, trigger: TriggerCelery, client: redis.Redis
) -> None:
    beat = beats()
    beat.tick()
    client.set("redbeat::lock", "another")
    entry(trigger.app, "a", "a").save()
    assert beat.tick() > 0
    assert sent() == []
    client.delete("redbeat::lock")
    beat.tick()
    assert sent() == ["a"]


def test_a_lock_lost_in_the_middle_of_a_tick_stops_it(
    beats: Beats, ping: Any, trigger: TriggerCelery, client: redis.Redis
) -> None:
    beat = beats(lock_timeout=0.001)  # every look is time to renew it
    for name in "abc":
        entry(trigger.app, name, name).save()
    loaded = TriggerScheduler.maybe_due

    def stolen(self: TriggerScheduler, entry: Any, **options: Any) -> Any:
        seconds = loaded(self, entry, **options)
        client.set("redbeat::lock", "another")
        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TriggerScheduler, "maybe_due", stolen)
        beat.tick()
    assert len(sent()) == 1


def test_without_a_lock_every_beat_sends(beats: Beats, ping: Any, trigger: TriggerCelery) -> None:
    trigger.app.conf.redbeat_lock_key = None
    first, second = beats(), beats()
    for beat in (first, second):
        get_redis(trigger.app).hdel("redbeat:a", "meta")
        entry(trigger.app, "a", "a").save()
        beat.tick()
    assert sent() == ["a", "a"]


def test_the_lock_is_given_up_after_half_a_minute_of_silence(
    beats: Beats, trigger: TriggerCelery, client: redis.Redis
) -> None:
    beats().tick()
    assert 25_000 < client.pttl("redbeat::lock") <= 30_000
    trigger.app.conf.redbeat_lock_timeout = 77
    del trigger.app.redbeat_conf
    client.delete("redbeat::lock")
    beats().tick()
    assert 70_000 < client.pttl("redbeat::lock") <= 77_000


def test_an_entry_that_nobody_can_read_does_not_stop_the_others(
    beats: Beats,
    ping: Any,
    trigger: TriggerCelery,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    beat = beats()
    entry(trigger.app, "good", "good").save()
    client.hset("redbeat:torn", "definition", "{")
    client.hset("redbeat:odd", "definition", json.dumps({"name": "odd", "schedule": {"a": 1}}))
    client.zadd("redbeat::schedule", {"redbeat:torn": 1, "redbeat:odd": 1, "redbeat:gone": 1})
    with caplog.at_level(logging.ERROR, "trigger_celery.beat"):
        beat.tick()
        beat.tick()
    assert sent() == ["good"]
    assert sum("redbeat:torn" in record.message for record in caplog.records) == 1
    assert client.zscore("redbeat::schedule", "redbeat:torn") is not None
    assert client.zscore("redbeat::schedule", "redbeat:gone") is None


def test_where_redbeats_entries_are(registry: None, server: EmbeddedServer) -> None:
    def place(broker: str, **conf: Any) -> tuple[str, str]:
        app = Celery("shop", broker=broker, set_as_current=False)
        app.conf.update(conf)
        bound = TriggerCelery(app, redis_url=server.url, project="shop", env="prod")
        try:
            found = TriggerScheduler(app, lazy=True).app.redbeat_conf
            return found.redis_url, found.key_prefix
        finally:
            bound.unbind()

    ours, own = server.url, "{tc:shop:prod}:celery:"
    assert place("memory://") == (ours, own)
    assert place("redis://broker:1/2") == (ours, own)
    uses = {"redbeat_lock_timeout": 60}
    assert place("redis://broker:1/2", **uses) == ("redis://broker:1/2", "redbeat:")
    assert place("amqp://rabbit", **uses) == (ours, "redbeat:")
    found = place("redis://b:1", redbeat_redis_url="redis://r", redbeat_key_prefix="x:")
    assert found == ("redis://r", "x:")


def test_two_environments_on_one_server_leave_each_other_alone(
    registry: None, server: EmbeddedServer, client: redis.Redis
) -> None:
    client.flushall()
    for env in ("staging", "prod", "prod"):
        app = Celery("shop", broker="memory://", set_as_current=False)
        app.conf.beat_schedule = {f"of {env}": {"task": "ping", "schedule": 60.0}}
        bound = TriggerCelery(app, redis_url=server.url, project="shop", env=env)
        beat = TriggerScheduler(app)
        beat.tick()
        beat.close()
        app.redbeat_redis.close()
        bound.unbind()
    for env in ("staging", "prod"):
        names = {
            name.decode().rpartition(":")[2]
            for name in client.zrange(keys.key(keys.scope("shop", env), "celery_due"), 0, -1)
        }
        assert names == {f"of {env}", "celery.backend_cleanup"}
    client.flushall()


def test_entries_that_nobody_would_send_are_told_of(
    registry: None,
    environment: Environment,
    server: EmbeddedServer,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with EmbeddedServer(port=0) as broker:
        app = Celery("shop", broker=broker.tcp_url, set_as_current=False)
        with redis.Redis.from_url(broker.tcp_url) as there:
            there.zadd("redbeat::schedule", {"redbeat:a": 1})
        bound = TriggerCelery(app, redis_url=server.url)
        with caplog.at_level(logging.WARNING, "trigger_celery.beat"):
            beat = TriggerScheduler(app)
        assert any("1 entries of RedBeat at the broker" in one.message for one in caplog.records)
        beat.close()
        app.redbeat_redis.close()
        bound.unbind()
    client.flushall()


def test_our_schedules_fire_without_redbeats_server(
    trigger: TriggerCelery, ping: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    trigger.app.conf.redbeat_redis_url = "unix:///nowhere.sock"
    wanted = Wanted("ping", parse_cron("* * * * *"), deduplication_key="a")
    nothing = trigger.store.run_sync(ask(find_call(trigger.scope, schedule="sched_1")))
    trigger.store.run_sync(upsert(trigger.scope, nothing, wanted, schedule_id()))
    clock.advance(60_000 + GRACE_MS)
    with caplog.at_level(logging.ERROR, "trigger_celery.beat"):
        beat = TriggerScheduler(trigger.app)
        beat.tick()
    assert len(sent()) == 1
    assert any("beat_schedule is not stored yet" in one.message for one in caplog.records)
    beat.close()


def test_a_broker_that_is_away_keeps_nothing_of_ours_waiting(
    registry: None, environment: Environment, server: EmbeddedServer, client: redis.Redis
) -> None:
    """What becomes a run needs no broker; what needs it stays due, also what is in memory."""
    app = Celery("shop", broker="amqp://127.0.0.1:1//", set_as_current=False)
    bound = TriggerCelery(app, redis_url=server.url)

    @task(id="ping")
    def ping(payload: Any) -> None: ...

    @app.task(name="plain", shared=False)
    def plain(value: Any) -> None: ...

    app.finalize()
    now = datetime(2030, 1, 1, tzinfo=UTC)
    own = schedule(60, nowfun=lambda: now)
    app.conf.beat_schedule = {
        "a plain": {"task": "plain", "schedule": own, "args": [1]},
        "a run": {"task": "ping", "schedule": own, "args": ["memory"]},
    }
    beat = TriggerScheduler(app)
    for name, to in (("plain", "plain"), ("run", "ping")):
        stored = RedBeatSchedulerEntry(name, to, schedule(3600), args=["stored"], app=app)
        stored.last_run_at = LONG_AGO
        stored.save()
    now += timedelta(minutes=2)
    assert 0 < beat.tick() <= 1
    assert sent() == ["memory", "stored"]
    assert RedBeatSchedulerEntry.from_key(stored.generate_key(app, "plain"), app=app).is_due()[0]
    app.conf.broker_url = "memory://"
    beat.connection.release()
    del beat.connection
    beat.tick()
    entry = RedBeatSchedulerEntry.from_key(stored.generate_key(app, "plain"), app=app)
    assert entry.total_run_count == 1
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("celery")
        assert {queue.get(timeout=5).payload[0][0] for _ in range(2)} == {1, "stored"}
        queue.close()
    beat.close()
    app.close()
    app.redbeat_redis.close()
    bound.unbind()
    client.flushall()


def test_the_rights_of_the_server_page_and_what_it_adds_for_a_beat(
    registry: None, server: EmbeddedServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    page = (ROOT / "docs/how-to/redis-server.md").read_text("utf-8")
    more = re.search(r"A \[beat\].* needs `(.*)` on top", page)
    assert more is not None
    known = [word for word in setuser() if word != "+client|setinfo"]
    client.flushall()
    client.script_flush()
    client.execute_command("ACL", "SETUSER", "runs", "reset")
    client.execute_command(*known, *more[1].split())
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"a": {"task": "ping", "schedule": 0.0}}
    bound = TriggerCelery(app, redis_url=f"unix://runs:secret@{server.socket_path}?db=0")
    with caplog.at_level(logging.WARNING):
        beat = TriggerScheduler(app)
        beat.tick()
        beat.close()
    assert [record.getMessage() for record in caplog.records] == []
    due = keys.key(bound.scope, "celery", ":schedule")
    assert client.zscore(due, keys.key(bound.scope, "celery", "a")) is not None
    app.redbeat_redis.close()
    bound.unbind()
    client.execute_command("ACL", "DELUSER", "runs")
    client.flushall()


def test_the_banner_says_where(beats: Beats, trigger: TriggerCelery) -> None:
    said = beats(lazy=True).info
    assert trigger.scope in said
    assert "lock -> `redbeat::lock` (30 s)" in said


def test_it_is_a_redbeat_scheduler() -> None:
    assert issubclass(TriggerScheduler, RedBeatScheduler)
