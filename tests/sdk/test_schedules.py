"""Schedules are made, read and changed by anybody; what cannot be one is refused before it is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redbeat import RedBeatSchedulerEntry

from tests.driving import Engine
from tests.driving_schedules import START, Schedules, moment
from tests.keyspace import keyspace
from trigger_celery import (
    DeclarativeScheduleError,
    DefinitionError,
    InvalidCronError,
    InvalidOptionError,
    PayloadValidationError,
    Schedule,
    ScheduleNotFoundError,
    SchedulePayload,
    ScheduleType,
    Task,
    TriggerCelery,
    UnknownOptionError,
    UnknownTaskError,
    runs,
    scheduled_task,
    schedules,
    task,
    tasks,
)
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.waiting import Record
from trigger_celery.model.cron import parse_cron
from trigger_celery.worker.declared_schedules import declared_schedules

UNKNOWN = "sched_" + "0" * 26


def nothing() -> None:
    """Do nothing."""


@pytest.fixture(autouse=True)
def reminder(trigger: TriggerCelery) -> Task[Any, Any]:
    @scheduled_task(id="reminder")
    def reminder(payload: SchedulePayload) -> str:
        return str(payload.external_id)

    return reminder


@pytest.fixture
def driver(engine: Engine) -> Schedules:
    made = Schedules(engine)
    made.at(START)
    return made


def make(key: str = "user-1", cron: Any = "0 9 * * *", **options: Any) -> Schedule:
    return schedules.create(task="reminder", cron=cron, deduplication_key=key, **options).sync()


def test_a_new_schedule(driver: Schedules, reminder: Task[Any, Any]) -> None:
    made = schedules.create(
        task=reminder,
        cron="0 9 * * *",
        timezone="America/New_York",
        deduplication_key="user-1",
        external_id="user-1",
        catch_up="all",
        catch_up_limit=7,
    ).sync()
    assert (made.task, made.type, made.active) == ("reminder", "imperative", True)
    assert made.type is ScheduleType.IMPERATIVE
    assert (made.deduplication_key, made.external_id) == ("user-1", "user-1")
    assert (made.cron, made.timezone) == ("0 9 * * *", "America/New_York")
    assert (made.generator.expression, made.generator.type) == ("0 9 * * *", "CRON")
    assert "09:00" in made.description == made.generator.description
    assert made.next_run == moment("2030-03-04T14:00:00")
    assert (made.catch_up, made.catch_up_limit) == ("all", 7)
    assert schedules.retrieve(made).sync() == schedules.retrieve(made.id).sync() == made
    shown = json.loads(json.dumps(made.to_dict()))
    assert (shown["type"], shown["next_run"]) == ("IMPERATIVE", "2030-03-04T14:00:00Z")


async def test_in_async_code(trigger: TriggerCelery) -> None:
    made = await schedules.create(task="reminder", cron="@daily", deduplication_key="k")
    assert (await schedules.deactivate(made)).active is False
    assert (await schedules.activate(made)).active is True
    assert [one.id for one in await schedules.list()] == [made.id]
    await schedules.del_(made)
    assert len(await schedules.list()) == 0
    assert "Europe/Berlin" in await schedules.timezones()
    assert "UTC" not in await schedules.timezones(exclude_utc=True)
    await trigger.store.aclose()


def test_one_schedule_a_user(driver: Schedules) -> None:
    for user in ("1", "2", "1"):
        make(f"user-{user}", external_id=user)
    page = schedules.list(per_page=1).sync()
    assert (page.count, page.pages, len(page)) == (2, 2, 1)
    assert page.schedules[0].external_id == "2"
    assert schedules.list(page=2, per_page=1).sync().schedules[0].external_id == "1"
    assert schedules.list(page=3, per_page=1).sync().schedules == []
    driver.fire("2030-03-04T09:00:00")
    [run] = runs.list(schedule=page.schedules[0]).sync()
    assert (run.schedule_id, run.task_identifier) == (page.schedules[0].id, "reminder")
    assert [one.id for one in runs.list(schedule=page.schedules[0].id, task="reminder")] == [run.id]
    assert list(runs.list(schedule=UNKNOWN)) == []


def test_schedules_of_one_task(driver: Schedules) -> None:
    other = scheduled_task(id="other", cron="@hourly")(nothing)
    mine = make()
    theirs = schedules.create(task=other, cron="@daily", deduplication_key="user-1b").sync()
    assert [one.id for one in schedules.list(task="reminder").sync()] == [mine.id]
    assert [one.id for one in schedules.list(task=other).sync()] == [theirs.id]


def test_an_update_replaces_everything_else(driver: Schedules) -> None:
    made = make(external_id="x", timezone="Asia/Tokyo", catch_up="none")
    changed = schedules.update(made, task="reminder", cron={"pattern": "30 9 * * *"}).sync()
    assert (changed.id, changed.deduplication_key) == (made.id, made.deduplication_key)
    assert (changed.external_id, changed.timezone, changed.catch_up) == (None, "UTC", "latest")
    same = {"cron": "@daily", "external_id": "x", "deduplication_key": made.deduplication_key}
    again = schedules.update(made.id, **same).sync()
    assert (again.task, again.cron, again.external_id) == ("reminder", "@daily", "x")
    with pytest.raises(InvalidOptionError, match="keeps the key .* 'user-1'"):
        schedules.update(made, task="reminder", cron="@daily", deduplication_key="y").sync()
    assert schedules.retrieve(made).sync() == again


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"cron": "* * * * * *"}, InvalidCronError, "seconds"),
        ({"cron": "61 * * * *"}, InvalidCronError, "minute"),
        ({"cron": "0 0 30 2 *"}, InvalidCronError, "never"),
        ({"cron": None}, InvalidCronError, "needs a cron"),
        ({"cron": 5}, InvalidCronError, "no cron pattern"),
        ({"cron": {"timezone": "UTC"}}, InvalidCronError, "pattern"),
        ({"cron": {"patern": "@daily"}}, InvalidOptionError, "'pattern'"),
        ({"timezone": "Europe/Berlim"}, InvalidCronError, "Europe/Berlin"),
        ({"cron": {"pattern": "@daily", "timezone": "Asia/Tokyo"}, "timezone": "UTC"},
         InvalidOptionError, "Asia/Tokyo"),
        ({"cron": {"pattern": "@daily", "environments": ["PRODUCTION"]}}, InvalidOptionError,
         "environment that creates it"),
        ({"cron": {"pattern": "@daily", "timezone": ""}}, InvalidCronError, "timezone=''"),
        ({"interval": 5}, UnknownOptionError, r"\*/5"),
        ({"every": "5m"}, UnknownOptionError, r"\*/5"),
        ({"external": "x"}, UnknownOptionError, "external_id"),
        ({"task": "remindr"}, UnknownTaskError, "'reminder'"),
        ({"task": "plain"}, UnknownTaskError, "@scheduled_task"),
        ({"deduplication_key": None}, InvalidOptionError, "needs a deduplication_key"),
        ({"deduplication_key": ""}, InvalidOptionError, "1 to 128"),
        ({"deduplication_key": "x" * 129}, InvalidOptionError, "129 characters; the limit is 128"),
        ({"deduplication_key": "a\nb"}, InvalidOptionError, "control character"),
        ({"external_id": "x" * 513}, InvalidOptionError, "limit is 512"),
        ({"external_id": 7}, InvalidOptionError, "not text"),
        ({"external_id": "\ud800"}, InvalidOptionError, "surrogate"),
        ({"catch_up": "last"}, InvalidOptionError, "latest"),
        ({"catch_up_limit": 0}, InvalidOptionError, "1 to 1,000"),
        ({"catch_up_limit": True}, InvalidOptionError, "1 to 1,000"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(
    engine: Engine, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    task(id="plain")(nothing)
    engine.register("w1", ["elsewhere"])
    before = set(keyspace(engine.client, engine.scope).values)
    given = {"task": "reminder", "cron": "@daily", "deduplication_key": "k", **options}
    with pytest.raises(error, match=says):
        schedules.create(**given).sync()
    assert set(keyspace(engine.client, engine.scope).values) == before


def test_a_declaration_says_what_it_has_no_use_for() -> None:
    with pytest.raises(DefinitionError, match="pass it to schedules.create"):
        scheduled_task(id="t", catch_up="all")
    with pytest.raises(DefinitionError, match=r"no option 'interval'. It takes a cron: .*\*/5"):
        scheduled_task(id="t", cron="@daily", interval=5)  # type: ignore[call-arg]


def test_a_page_far_behind_the_last_is_empty(driver: Schedules) -> None:
    make()
    page = schedules.list(page=10**20).sync()
    assert (page.schedules, page.count) == ([], 1)


def test_the_longest_texts(driver: Schedules) -> None:
    made = make("k" * 128, external_id="é" * 512)
    assert schedules.retrieve(made).sync().external_id == "é" * 512


@pytest.mark.parametrize(
    "call",
    [
        schedules.retrieve,
        schedules.activate,
        schedules.deactivate,
        schedules.delete,
        lambda name: schedules.update(name, task="reminder", cron="@daily"),
    ],
)
@pytest.mark.parametrize("name", [UNKNOWN, "sched_manual", "{x}"])
def test_a_schedule_that_is_not_there(call: Callable[[str], Any], name: str) -> None:
    with pytest.raises(ScheduleNotFoundError, match="schedules.list"):
        call(name).sync()
    with pytest.raises(InvalidOptionError, match="schedules.create"):
        call(7)  # type: ignore[arg-type]


def test_a_process_that_imports_no_task_asks_what_workers_declared(engine: Engine) -> None:
    REGISTRY.clear()
    with pytest.raises(UnknownTaskError, match="no task 'reminder' is known"):
        make()
    engine.register("w1", ["reminder", "plain"], details={"scheduled": True})
    made = make()
    engine.register("w1", ["plain"], details={})
    with pytest.raises(UnknownTaskError, match="'plain' is not a scheduled task"):
        schedules.update(made, task="plain", cron="@daily").sync()
    with pytest.raises(UnknownTaskError, match="Did you mean 'plain'"):
        schedules.create(task="plan", cron="@daily", deduplication_key="k").sync()


def test_what_the_code_declares_is_left_alone(driver: Schedules) -> None:
    scheduled_task(id="nightly", cron={"pattern": "0 3 * * *", "timezone": "Europe/Paris"})(nothing)
    assert driver.sync(*declared_schedules("prod")).added == ("nightly",)
    [made] = schedules.list().sync()
    assert (made.type, made.timezone, made.is_declarative) == ("DECLARATIVE", "Europe/Paris", True)
    for call in (
        schedules.deactivate(made),
        schedules.delete(made),
        schedules.update(made, task="reminder", cron="@daily"),
    ):
        with pytest.raises(DeclarativeScheduleError, match="nightly"):
            call.sync()
    assert schedules.list().sync().schedules == [made]


@pytest.mark.parametrize(
    ("environments", "env", "meant"),
    [
        (["PRODUCTION"], "prod", True),
        (["production"], "production", True),
        (["prod"], "prod", True),
        (["PRODUCTION"], "dev", False),
        (["STAGING", "DEVELOPMENT"], "dev", True),
        (["STAGING", "DEVELOPMENT"], "stg", True),
        (["staging"], "staging", True),
        (["PREVIEW"], "preview-7", True),
        (["preview-7"], "preview-7", True),
        (["preview-7"], "preview-8", False),
        (["eu"], "EU", True),
        (["eu"], "prod", False),
        (None, "dev", True),
    ],
)
def test_the_environments_that_a_cron_names(
    environments: list[str] | None, env: str, meant: bool
) -> None:
    cron: Any = {"pattern": "@daily", "environments": environments}
    scheduled_task(id="nightly", cron=cron)(nothing)
    assert [one.task for one in declared_schedules(env)] == (["nightly"] if meant else [])


# Payloads


def test_the_payload_has_items_and_attributes() -> None:
    at = datetime(2030, 1, 1, 9, tzinfo=UTC)
    seen: list[SchedulePayload] = []

    @scheduled_task(id="t", cron={"pattern": "0 9 * * *", "timezone": "Europe/Berlin"})
    def t(payload: dict[str, Any]) -> None:
        assert isinstance(payload, SchedulePayload)
        seen.append(payload)

    t.run({"timestamp": "2030-01-01T10:00:00+01:00", "external_id": "u", "more": 1})
    [payload] = seen
    assert payload.timestamp == payload["timestamp"] == at - timedelta(hours=0)
    assert payload.timestamp.tzinfo is UTC
    assert (payload.schedule_id, payload.type, payload.timezone) == (
        "sched_manual",
        "IMPERATIVE",
        "Europe/Berlin",
    )
    assert (payload.last_timestamp, payload.external_id, payload.more) == (None, "u", 1)
    assert payload.upcoming[0] == datetime(2030, 1, 2, 8, tzinfo=UTC)
    assert payload.upcoming == payload["upcoming"]
    assert len(payload.upcoming) == 10
    with pytest.raises(AttributeError, match="Did you mean 'timestamp'"):
        _ = payload.timestap
    with pytest.raises(PayloadValidationError, match="schedule_id, type, timestamp"):
        t.run("soon")  # type: ignore[arg-type]
    for wrong, said in (
        ({"timestamp": "2030-01-01T00:00:00"}, "aware"),
        ({"timestamp": "soon"}, "'soon' is no moment"),
        ({"last_timestamp": 5}, "5 is no moment"),
        ({"upcoming": "soon"}, "'soon' is not a list of moments"),
        ({"type": "MANUAL"}, "not one of DECLARATIVE, IMPERATIVE"),
        ({"timestamp": "9999-12-31T23:00:00Z"}, "years 1 to 9999"),
    ):
        with pytest.raises(PayloadValidationError, match=said):
            t.run(wrong)
    t.run({"timestamp": None})
    assert seen[-1].timestamp.tzinfo is UTC


def test_a_run_by_hand(driver: Schedules, reminder: Task[Any, Any]) -> None:
    run = runs.retrieve(reminder.trigger({"external_id": "u"}).sync()).sync()
    assert run.payload["schedule_id"] == "sched_manual"
    assert run.payload["timestamp"].tzinfo is not None
    assert (run.payload["upcoming"], run.schedule_id) == ([], None)
    by_id = runs.retrieve(tasks.trigger("reminder").sync()).sync()
    assert by_id.payload is None


def test_a_task_without_a_payload_may_be_scheduled() -> None:
    tick = scheduled_task(id="tick", cron="* * * * *")(lambda: "tick")
    assert tick.run() == "tick"


# In a run


@contextmanager
def in_run(replay: bool) -> Iterator[None]:
    """Meanwhile this is the code of a run; of one that had gone on to a wait before, in a replay."""
    durable = Durable("run_" + "0" * 26, "1", 1, "")
    if replay:
        durable.record = Record({"1": "wait.for_duration"}, {}, {})
    token = current_scope.set(durable.root)
    try:
        yield
    finally:
        current_scope.reset(token)


def test_what_a_run_did_before_it_waited_is_not_done_again(driver: Schedules) -> None:
    with in_run(replay=False):
        made = make()
        paused = schedules.deactivate(made).sync()
    schedules.activate(made).sync()
    changed = schedules.update(made, task="reminder", cron="0 10 * * *").sync()
    with in_run(replay=True):
        assert make() == changed
        assert schedules.deactivate(made).sync() == changed
        schedules.delete(made).sync()
    assert schedules.retrieve(made).sync() == changed
    assert paused.active is False
    schedules.delete(made).sync()
    with in_run(replay=True):
        again = make()
    assert (again.id, again.cron, again.active) == (made.id, "0 9 * * *", False)
    assert schedules.list().sync().schedules == []


# RedBeat's own tools


@pytest.mark.parametrize(
    ("cron", "kind"),
    [
        ("*/5 9-17 * * 1-5", "crontab"),
        ("0 9 1,15 * *", "crontab"),
        ("@weekly", "crontab"),
        ("0 9 L * *", "schedule"),
        ("0 9 * * 7", "schedule"),
        ("0 9 1 * 1", "schedule"),
        ("5/15 * * * *", "schedule"),
        ("0 9 * * MON", "schedule"),
        ("0 9 * * 5#2", "schedule"),
    ],
)
def test_redbeat_reads_schedules_as_its_entries(
    driver: Schedules, trigger: TriggerCelery, server: Any, cron: str, kind: str
) -> None:
    app: Any = trigger.app
    app.conf.update(redbeat_redis_url=server.url, redbeat_key_prefix=f"{trigger.scope}:redbeat:")
    made = make(cron=cron, external_id="u")
    entry = RedBeatSchedulerEntry.from_key(f"{trigger.scope}:redbeat:{made.id}", app=app)
    assert (entry.name, entry.task, entry.enabled) == (made.id, "reminder", True)
    assert type(entry.schedule).__name__ == kind
    assert entry.key == f"{trigger.scope}:redbeat:{made.id}"
    assert entry.rank == 0
    assert abs(entry.last_run_at - made.created_at) < timedelta(minutes=1)
    if kind == "crontab":
        present = driver.engine.clock.now()
        entry.schedule.nowfun = lambda: datetime.fromtimestamp(present / 1000, UTC)
        due = (
            present / 1000
            + entry.schedule.remaining_estimate(
                datetime.fromtimestamp(present / 1000, UTC)
            ).total_seconds()
        )
        assert round(due) * 1000 == parse_cron(cron).next_after(present)
    driver.fire(str(made.next_run)[:19])
    fired = RedBeatSchedulerEntry.from_key(f"{trigger.scope}:redbeat:{made.id}", app=app)
    assert (fired.last_run_at, fired.total_run_count) == (made.next_run, 1)
    schedules.deactivate(made).sync()
    off = RedBeatSchedulerEntry.from_key(f"{trigger.scope}:redbeat:{made.id}", app=app)
    assert (off.enabled, off.rank) == (False, None)
