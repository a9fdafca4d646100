"""A schedule makes one run an occurrence: never two, never none, whoever fires it and how often."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis

from tests.driving import Engine
from tests.driving_schedules import START, Schedules, moment, ms, wanted
from tests.engine.test_interleavings import orders
from tests.keyspace import keyspace
from trigger_celery.engine import keys, scheduling
from trigger_celery.engine.declared_schedules import sync_declared
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.schedules import put_call, remove_call
from trigger_celery.errors import DeclarativeScheduleError, ScheduleNotFoundError
from trigger_celery.model.packet import decode, encode
from trigger_celery.model.schedule import SchedulePayload
from trigger_celery.store.op import Call, Flow

HOUR = timedelta(hours=1)


@pytest.fixture
def schedules(engine: Engine) -> Schedules:
    made = Schedules(engine)
    made.at(START)
    engine.register("w1", ["t", "u"])
    return made


def test_it_fires_at_its_nominal_time_and_goes_on(schedules: Schedules) -> None:
    made = schedules.create("k", "0 * * * *", external_id="user-1")
    assert (made.active, made.last_run, made.run_count) == (True, None, 0)
    assert made.next_run == moment("2030-03-04T09:00:00")
    schedules.fire("2030-03-04T08:59:59.900")
    assert schedules.runs(made) == []
    schedules.fire("2030-03-04T09:00:07")
    schedules.fire("2030-03-04T10:00:00")
    first, second = schedules.runs(made)
    assert (first.status, first.schedule_id, first.task_identifier) == ("QUEUED", made.id, "t")
    assert first.payload == {
        "schedule_id": made.id,
        "type": "IMPERATIVE",
        "timestamp": moment("2030-03-04T09:00:00"),
        "last_timestamp": None,
        "timezone": "UTC",
        "external_id": "user-1",
        "upcoming": [moment("2030-03-04T09:00:00") + HOUR * number for number in range(1, 11)],
    }
    assert second.payload["last_timestamp"] == first.payload["timestamp"]
    now = schedules.read(made)
    assert (now.last_run, now.next_run) == (
        moment("2030-03-04T10:00:00"),
        moment("2030-03-04T11:00:00"),
    )
    assert (now.last_run_id, now.run_count, now.missed_count) == (second.id, 2, 0)


@pytest.mark.parametrize("external_id", [None, "user", 'é"\\ \U0001f600'])
@pytest.mark.parametrize("last", [None, ms("2030-03-04T08:00:00")])
def test_payloads_are_written_as_the_codec_writes_them(
    schedules: Schedules, external_id: str | None, last: int | None
) -> None:
    schedules.create("k", "0 10 * * *", external_id=external_id, timezone="Europe/Berlin")
    schedules.at("2030-03-04T09:00:00")
    [firing] = schedules.plans()
    firing = replace(firing, schedule=replace(firing.schedule, last=last))
    [packet] = scheduling.payloads(firing)
    value = decode(packet.data, packet.type)
    payload = SchedulePayload(value)
    again = encode(payload)
    assert decode(again.data, again.type) == value
    assert payload.timestamp == moment("2030-03-04T09:00:00")
    assert payload.external_id == external_id
    assert len(payload.upcoming) == 10


def test_the_next_one_that_is_due(schedules: Schedules, engine: Engine) -> None:
    assert engine.run(scheduling.next_due(schedules.scope))[1] is None
    schedules.create("a", "30 * * * *")
    schedules.create("b", "0 * * * *")
    _, following = engine.run(scheduling.next_due(schedules.scope))
    assert following == ms("2030-03-04T09:00:00")
    [round_] = schedules.fire("2030-03-04T09:00:00")
    assert (round_.run_count, round_.next_ms) == (1, ms("2030-03-04T09:30:00"))


def test_of_two_beats_with_the_same_view_one_fires(schedules: Schedules) -> None:
    made = schedules.create()
    schedules.at("2030-03-04T09:00:00")
    one, other = schedules.plans(), schedules.plans()
    assert [fired.counted for fired in schedules.fire_these(one)] == [True]
    assert [fired.counted for fired in schedules.fire_these(other)] == [False]
    assert len(schedules.runs(made)) == 1


def test_a_beat_that_was_frozen_since_the_last_occurrence_fires_nothing(
    schedules: Schedules,
) -> None:
    made = schedules.create()
    schedules.at("2030-03-04T09:00:00")
    frozen = schedules.plans()
    schedules.fire()
    schedules.fire("2030-03-04T10:00:00")
    assert [fired.counted for fired in schedules.fire_these(frozen)] == [False]
    assert schedules.nominals(made) == [
        moment("2030-03-04T09:00:00"), moment("2030-03-04T10:00:00"),
    ]  # fmt: skip


def test_what_was_worked_out_by_a_clock_that_is_ahead_does_not_count(schedules: Schedules) -> None:
    made = schedules.create()
    schedules.at("2030-03-04T09:00:00")
    ahead = schedules.plans()
    schedules.at("2030-03-04T08:59:59")
    assert [fired.counted for fired in schedules.fire_these(ahead)] == [False]
    schedules.fire("2030-03-04T09:00:00")
    assert len(schedules.runs(made)) == 1


def test_one_that_a_tool_of_redbeats_moved_comes_at_its_time(
    schedules: Schedules, engine: Engine
) -> None:
    made = schedules.create()
    record, due = engine.key("redbeat", made.id), engine.key("redbeat_due")
    engine.client.zadd(due, {record: -1})
    [round_] = schedules.fire()
    assert (round_.run_count, engine.client.zscore(due, record)) == (
        0, ms("2030-03-04T09:00:00") / 1000,
    )  # fmt: skip
    engine.client.hset(record, "active", "0")
    schedules.fire("2030-03-04T09:00:00")
    assert "not active" in (schedules.read(made).problem or "")
    schedules.create()
    schedules.fire("2030-03-04T10:00:00")
    assert schedules.nominals(made) == [moment("2030-03-04T10:00:00")]


def test_an_occurrence_has_one_run_even_if_the_record_is_set_back(
    schedules: Schedules, engine: Engine
) -> None:
    made = schedules.create()
    schedules.fire("2030-03-04T09:00:00")
    record = engine.key("redbeat", made.id)
    engine.client.hset(record, "next", ms("2030-03-04T09:00:00"))
    engine.client.zadd(engine.key("redbeat_due"), {record: ms("2030-03-04T09:00:00") / 1000})
    schedules.fire()
    assert len(schedules.runs(made)) == 1
    assert schedules.read(made).next_run == moment("2030-03-04T10:00:00")


CHANGES = ("nothing", "pause", "pause and resume", "new cron", "new external id", "delete")


@pytest.mark.parametrize("change", CHANGES)
def test_two_beats_and_a_change_in_every_order(
    engine: Engine, client: redis.Redis, change: str
) -> None:
    """The occurrence fires once, or what changed came first."""
    for order in orders([2, 2, 2]):
        client.flushall()
        schedules = Schedules(engine)
        schedules.at(START)
        engine.register("w1", ["t"])
        made = schedules.create()
        schedules.at("2030-03-04T09:00:00")
        beats: dict[int, list[scheduling.Firing]] = {}
        seen = None
        for actor in order:
            if actor == 2 and seen is None:
                seen = schedules.find(made)
            elif actor == 2 and change != "nothing":
                new = wanted("k", "30 * * * *" if change == "new cron" else "0 * * * *")
                if change == "new external id":
                    new = replace(new, external_id="other")
                call = put_call(schedules.scope, seen, new, active="pause" not in change)
                if change == "delete":
                    call = remove_call(schedules.scope, seen, "k")
                engine.store.send(call)
                if change == "pause and resume":
                    schedules.resume(made)
            elif actor in beats:
                schedules.fire_these(beats[actor])
            elif actor != 2:
                beats[actor] = schedules.plans()
        if change != "delete":
            schedules.fire()  # a third beat
        found = len(schedules.runs(made))
        # A change that is refused, because the schedule has fired since it was read, changes nothing.
        assert found == 1 or (found == 0 and change not in ("nothing", "new external id")), order
        if change in ("nothing", "new external id"):
            assert schedules.read(made).next_run == moment("2030-03-04T10:00:00"), order
            assert schedules.read(made).missed_count == 0


def test_many_of_several_tasks_fire_once_each(schedules: Schedules) -> None:
    made = [
        schedules.create(f"k{number}", task="tu"[number % 2], external_id=str(number))
        for number in range(310)
    ]
    schedules.at("2030-03-04T09:00:00")
    rounds = schedules.fire(limit=100)
    assert [round_.run_count for round_ in rounds] == [100, 100, 100, 10]
    assert sorted(schedules.runs(one)[0].payload["external_id"] for one in made[:40]) == sorted(
        map(str, range(40))
    )
    assert all(schedules.read(one).run_count == 1 for one in made)


@pytest.mark.parametrize(
    ("policy", "limit", "minutes"),
    [
        ("latest", 100, [30]),
        ("all", 100, list(range(31))),
        ("all", 5, [26, 27, 28, 29, 30]),
        ("all", 31, list(range(31))),
        ("all", 30, list(range(1, 31))),
        ("none", 100, []),
    ],
)
def test_after_an_outage_what_catch_up_says(
    schedules: Schedules,
    caplog: pytest.LogCaptureFixture,
    policy: str,
    limit: int,
    minutes: list[int],
) -> None:
    made = schedules.create(cron="* * * * *", catch_up=policy, catch_up_limit=limit)
    with caplog.at_level(logging.WARNING, "trigger_celery.schedules"):
        schedules.fire("2030-03-04T09:30:40")
    assert schedules.nominals(made) == [
        moment("2030-03-04T09:00:00") + timedelta(minutes=minute) for minute in minutes
    ]
    now = schedules.read(made)
    assert now.next_run == moment("2030-03-04T09:31:00")
    dropped = len(minutes) < 31
    assert now.missed_count == int(dropped)
    actions = [vars(record)["action"] for record in caplog.records]
    assert actions == (["schedule_missed"] if dropped else [])
    schedules.fire("2030-03-04T09:31:01")
    assert schedules.nominals(made)[-1] == moment("2030-03-04T09:31:00")
    runs = schedules.runs(made)
    assert [run.payload["last_timestamp"] for run in runs] == [
        None, *(run.payload["timestamp"] for run in runs[:-1])
    ]  # fmt: skip


def test_all_of_a_long_outage_are_made_up_for_in_pieces(schedules: Schedules) -> None:
    made = schedules.create(cron="* * * * *", catch_up="all", catch_up_limit=250)
    rounds = schedules.fire("2030-03-06T09:00:00")
    assert [round_.run_count for round_ in rounds] == [100, 100, 50]
    nominals = schedules.nominals(made)
    assert nominals == [
        moment("2030-03-06T09:00:00") - timedelta(minutes=minute) for minute in reversed(range(250))
    ]


def test_after_a_long_outage_of_many_a_round_stays_small(
    schedules: Schedules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "MAX_RUNS", 100)
    for number in range(4):
        schedules.create(f"k{number}", "* * * * *", catch_up="all")
    rounds = schedules.fire("2030-03-04T09:39:30")
    assert [round_.run_count for round_ in rounds] == [120, 40]
    assert [round_.more for round_ in rounds] == [True, False]


@pytest.mark.parametrize(("late", "runs"), [("09:00:59", 1), ("09:01:01", 0)])
def test_with_none_an_occurrence_may_be_a_minute_late(
    schedules: Schedules, late: str, runs: int
) -> None:
    made = schedules.create(catch_up="none")
    schedules.fire(f"2030-03-04T{late}")
    assert len(schedules.runs(made)) == runs
    assert schedules.read(made).next_run == moment("2030-03-04T10:00:00")


def test_what_a_full_queue_refuses_is_lost_and_the_chain_goes_on(
    schedules: Schedules, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.register("w1", ["t"], {"task/t": QueueDeclaration("task/t", None, size_limit=3)})
    made = [schedules.create(f"k{number}") for number in range(5)]
    with caplog.at_level(logging.ERROR, "trigger_celery.schedules"):
        schedules.fire("2030-03-04T09:00:00")
    now = [schedules.read(one) for one in made]
    assert sorted(one.lost_count for one in now) == [0, 0, 0, 1, 1]
    assert sorted(one.run_count for one in now) == [0, 0, 1, 1, 1]
    assert {one.last_run for one in now} == {moment("2030-03-04T09:00:00")}
    assert {one.next_run for one in now} == {moment("2030-03-04T10:00:00")}
    assert [vars(record)["action"] for record in caplog.records] == ["schedule_lost"] * 2
    assert len(engine.take("w1", 3)) == 3
    schedules.fire("2030-03-04T10:00:00")
    assert sum(schedules.read(one).run_count for one in made) == 6


def test_a_paused_one_costs_nothing_and_goes_on_with_its_next_occurrence(
    schedules: Schedules, engine: Engine
) -> None:
    made = schedules.create()
    schedules.fire("2030-03-04T09:00:00")
    paused = schedules.pause(made)
    assert (paused.active, paused.next_run) == (False, None)
    assert schedules.pause(made) == paused
    assert not engine.client.exists(engine.key("redbeat_due"))
    schedules.fire("2030-03-04T12:30:00")
    active = schedules.resume(made)
    assert (active.active, active.next_run) == (True, moment("2030-03-04T13:00:00"))
    schedules.fire("2030-03-04T13:00:00")
    last = schedules.runs(made)[-1].payload
    assert last["last_timestamp"] == moment("2030-03-04T09:00:00")
    assert len(schedules.runs(made)) == 2


def test_creating_it_again_replaces_all_but_its_id(schedules: Schedules) -> None:
    made = schedules.create("k", "0 * * * *", external_id="a")
    same = schedules.create("k", "0 * * * *", external_id="a")
    assert same == made
    changed = schedules.create("k", "30 * * * *", task="u", timezone="Asia/Kolkata")
    assert (changed.id, changed.created_at) == (made.id, made.created_at)
    assert (changed.task, changed.external_id, changed.timezone) == ("u", None, "Asia/Kolkata")
    assert changed.next_run == moment("2030-03-04T09:00:00")  # 14:30 there
    assert len(schedules.list()) == 1
    schedules.pause(made)
    assert schedules.create("k", "15 * * * *").active is False


def test_an_occurrence_that_is_due_stays_due_unless_the_cron_changes(schedules: Schedules) -> None:
    kept, moved = schedules.create("kept"), schedules.create("moved")
    schedules.at("2030-03-04T09:00:05")
    schedules.update(kept, external_id="new")
    schedules.update(moved, "30 * * * *")
    schedules.fire()
    assert [run.payload["external_id"] for run in schedules.runs(kept)] == ["new"]
    assert schedules.runs(moved) == []
    assert schedules.read(moved).next_run == moment("2030-03-04T09:30:00")


def test_deleting_it_leaves_nothing(schedules: Schedules, engine: Engine) -> None:
    before = set(keyspace(engine.client, engine.scope).values)
    made = schedules.create()
    schedules.delete(made)
    assert set(keyspace(engine.client, engine.scope).values) == before
    with pytest.raises(ScheduleNotFoundError, match=made.id):
        schedules.delete(made)
    with pytest.raises(ScheduleNotFoundError):
        schedules.update(made)
    assert schedules.create().id != made.id


def test_one_that_is_broken_holds_nobody_up(
    schedules: Schedules, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    broken, emptied, whole = (schedules.create(key) for key in ("broken", "emptied", "whole"))
    engine.client.hset(engine.key("redbeat", broken.id), "cron", "every day")
    engine.client.hdel(engine.key("redbeat", emptied.id), "task")
    stray = engine.key("redbeat", "stray")
    engine.client.zadd(engine.key("redbeat_due"), {stray: 1})
    with caplog.at_level(logging.ERROR, "trigger_celery.schedules"):
        [round_] = schedules.fire("2030-03-04T09:00:00")
    assert round_.run_count == 1
    assert {one.name for one in round_.broken} == {
        stray, engine.key("redbeat", broken.id), engine.key("redbeat", emptied.id),
    }  # fmt: skip
    assert [vars(record)["action"] for record in caplog.records] == ["schedule_broken"] * 3
    shown = schedules.read(broken)
    assert shown.active is False
    assert "every day" in (shown.problem or "")
    assert schedules.fire()[0].broken == ()
    mended = schedules.create("broken", "30 * * * *")
    assert (mended.id, mended.active, mended.problem) == (broken.id, True, None)
    engine.client.hset(engine.key("redbeat", emptied.id), "task", "t")
    schedules.fire("2030-03-04T09:30:00")
    assert len(schedules.runs(broken)) == 1
    assert len(schedules.runs(whole)) == 1


def test_one_that_is_set_aside_while_it_is_changed_is_looked_at_again(
    schedules: Schedules, engine: Engine
) -> None:
    made = schedules.create()
    schedules.at("2030-03-04T09:00:00")
    seen = schedules.find(made)
    engine.client.hdel(engine.key("redbeat", made.id), "catch")
    assert len(schedules.fire()[0].broken) == 1

    def store() -> Flow[Any]:
        return (yield put_call(schedules.scope, seen, wanted(external_id="x"), active=True))

    assert engine.run(store()) is None
    mended = schedules.create(external_id="x")
    assert (mended.active, mended.problem) == (True, None)
    assert mended.next_run == moment("2030-03-04T10:00:00")


def test_a_paused_one_that_a_tool_of_redbeats_puts_back_stays_paused(
    schedules: Schedules, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    made = schedules.pause(schedules.create())
    engine.client.zadd(engine.key("redbeat_due"), {engine.key("redbeat", made.id): 1})
    with caplog.at_level(logging.ERROR, "trigger_celery.schedules"):
        [round_] = schedules.fire("2030-03-04T09:00:00")
    assert (round_.fired, round_.broken, caplog.records) == ([], (), [])
    assert schedules.read(made) == made
    assert schedules.create(external_id="x").active is False


def test_runs_of_a_task_that_no_worker_knows_wait_for_one(
    schedules: Schedules, engine: Engine
) -> None:
    made = schedules.create(task="later")
    schedules.fire("2030-03-04T09:00:00")
    assert schedules.runs(made)[0].status == "PENDING_VERSION"
    engine.register("w2", ["later"])
    assert schedules.runs(made)[0].status == "QUEUED"


def test_runs_get_what_workers_declared_of_the_task(schedules: Schedules, engine: Engine) -> None:
    details = {"defaults": {"ttl": [60_000, "1m"], "machine": "large-1x"}}
    engine.register("w2", ["sized"], details=details)
    made = schedules.create(task="sized")
    schedules.fire("2030-03-04T09:00:00")
    [run] = schedules.runs(made)
    assert (run.ttl, run.machine, run.queue) == ("1m", "large-1x", "task/sized")


def test_an_idle_worker_gets_the_run_at_once(schedules: Schedules, engine: Engine) -> None:
    engine.register("w1", ["t"], direct=True)
    assert engine.take("w1") == []
    made = schedules.create()
    schedules.fire("2030-03-04T09:00:00")
    [run] = schedules.runs(made)
    [mail] = engine.mail()
    assert mail.startswith(f"run {run.id}\x1f")
    assert run.status == "EXECUTING"


# What the code declares


def test_the_start_of_a_worker_adds_changes_and_removes(schedules: Schedules) -> None:
    one, two = wanted(None, task="one"), wanted(None, task="two")
    assert schedules.sync(one, two).added == ("one", "two")
    assert not schedules.sync(one, two)
    first, second = sorted(schedules.list(), key=lambda one: one.task)
    assert (first.type, first.deduplication_key, first.active) == ("DECLARATIVE", None, True)
    changed = schedules.sync(one, wanted(None, "30 * * * *", task="two"))
    assert (changed.added, changed.changed, changed.removed) == ((), ("two",), ())
    assert schedules.read(second).next_run == moment("2030-03-04T09:30:00")
    assert schedules.sync(one).removed == ("two",)
    assert schedules.list() == [first]
    with pytest.raises(ScheduleNotFoundError):
        schedules.read(second)


def test_one_that_is_declared_keeps_its_times_over_deploys(schedules: Schedules) -> None:
    daily = wanted(None, "0 * * * *")
    schedules.sync(daily)
    [made] = schedules.list()
    schedules.fire("2030-03-04T09:00:00")
    schedules.at("2030-03-04T10:00:05")  # due, and nobody has fired it
    assert not schedules.sync(daily)
    schedules.sync(replace(daily, catch_up="all"))
    schedules.fire()
    assert schedules.nominals(made) == [
        moment("2030-03-04T09:00:00"), moment("2030-03-04T10:00:00"),
    ]  # fmt: skip
    schedules.sync(wanted(None, "45 * * * *"))
    now = schedules.read(made)
    assert (now.last_run, now.next_run) == (
        moment("2030-03-04T10:00:00"),
        moment("2030-03-04T10:45:00"),
    )


def test_old_and_new_code_that_start_in_turn_lose_no_occurrence(schedules: Schedules) -> None:
    declared = wanted(None)
    schedules.sync(declared)
    [made] = schedules.list()
    schedules.fire("2030-03-04T09:00:00")
    schedules.at("2030-03-04T10:00:05")
    assert schedules.sync().removed == ("t",)
    assert schedules.fire()[0].run_count == 0
    assert schedules.sync(declared).added == ("t",)
    assert [one.id for one in schedules.list()] == [made.id]
    schedules.fire()
    assert schedules.nominals(made) == [
        moment("2030-03-04T09:00:00"), moment("2030-03-04T10:00:00"),
    ]  # fmt: skip
    assert not schedules.sync(declared)


def test_one_that_the_code_declares_no_more_goes_after_a_day(
    schedules: Schedules, engine: Engine
) -> None:
    schedules.sync(wanted(None))
    [made] = schedules.list()
    schedules.sync()
    ttl = engine.client.pttl(engine.key("redbeat", made.id))
    assert 86_000_000 < ttl <= 86_400_000


def test_one_that_the_code_declares_no_more_is_not_fired_by_who_saw_it_before(
    schedules: Schedules, engine: Engine
) -> None:
    schedules.sync(wanted(None))
    [made] = schedules.list()
    schedules.at("2030-03-04T09:00:00")
    seen = schedules.plans()
    schedules.sync()
    assert [fired.counted for fired in schedules.fire_these(seen)] == [False]
    assert (schedules.plans(), schedules.runs(made)) == ([], [])
    # Nor is one that a tool of RedBeat's puts back.
    engine.client.zadd(engine.key("redbeat_due"), {engine.key("redbeat", made.id): 1})
    schedules.fire()
    assert (schedules.plans(), schedules.runs(made)) == ([], [])
    schedules.sync(wanted(None))
    schedules.fire()
    assert len(schedules.runs(made)) == 1


def test_every_app_has_the_schedules_that_it_declares(schedules: Schedules) -> None:
    schedules.sync(wanted(None, task="one"), app="shop")
    schedules.sync(wanted(None, task="two"), app="mail")
    assert not schedules.sync(wanted(None, task="one"), app="shop")
    assert {one.task for one in schedules.list()} == {"one", "two"}
    moved = schedules.sync(wanted(None, task="one"), wanted(None, task="two"), app="mail")
    assert moved.changed == ("one",)
    assert not schedules.sync(app="shop")
    assert {one.task for one in schedules.list()} == {"one", "two"}


def answers(engine: Engine, step: Any) -> Any:
    """Make the calls of one step of a flow."""
    calls: list[Call] = step if isinstance(step, list) else [step]
    replies = engine.store.send(*calls)
    decoded = [
        call.decode(reply) if call.decode else reply
        for call, reply in zip(calls, replies, strict=True)
    ]
    return decoded if isinstance(step, list) else decoded[0]


def test_workers_that_start_at_once_declare_it_once(schedules: Schedules, engine: Engine) -> None:
    ahead = [sync_declared(schedules.scope, "shop", [wanted(None)]) for _ in range(2)]
    steps = [next(flow) for flow in ahead]
    done = []
    while ahead:
        for flow, step in list(zip(ahead, steps, strict=True)):
            at = ahead.index(flow)
            try:
                steps[at] = flow.send(answers(engine, step))
            except StopIteration as end:
                done.append(end.value)
                del ahead[at], steps[at]
    assert sorted(bool(synced) for synced in done) == [False, True]
    assert len(schedules.list()) == 1


def test_nobody_else_changes_what_the_code_declares(schedules: Schedules) -> None:
    schedules.sync(wanted(None))
    [made] = schedules.list()
    for change in (schedules.pause, schedules.resume, schedules.delete, schedules.update):
        with pytest.raises(DeclarativeScheduleError, match=r"@scheduled_task\(id='t'\) in code"):
            change(made)
    assert schedules.list() == [made]


def test_a_key_never_names_what_the_code_declares(schedules: Schedules) -> None:
    schedules.sync(wanted(None))
    own = schedules.create("t")
    assert len(schedules.list()) == 2
    schedules.delete(own)
    assert [one.type for one in schedules.list()] == ["DECLARATIVE"]


def test_no_text_of_a_user_is_in_the_name_of_a_key(schedules: Schedules, engine: Engine) -> None:
    schedules.create("evil {key}:*", task="t", external_id="{x}")
    names = keyspace(engine.client, engine.scope).values
    assert not [name for name in names if "evil" in name or "{x}" in name]
    assert keys.key(engine.scope, "redbeat_due").endswith(":redbeat::schedule")
