"""A run for a machine goes to workers that declare it; one that is out of memory moves to another."""

from __future__ import annotations

import json

import pytest

from tests.driving import ERROR, Engine
from trigger_celery.engine import querying, replaying, triggering
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.machines import served
from trigger_celery.engine.triggering import Placement
from trigger_celery.model.ids import run_id, token
from trigger_celery.model.trigger_options import Debounce

BIG = ("large-1x",)


@pytest.fixture
def workers(engine: Engine) -> None:
    engine.register("small", queues={"q": 1})
    engine.register("big", queues={"q": 1}, machines=BIG)


def taken(engine: Engine, session: str) -> list[str]:
    machines = BIG if session == "big" else ()
    return [grant.id for grant in engine.take(session, machines=machines)]


@pytest.mark.usefixtures("workers")
def test_only_workers_that_declare_a_machine_take_its_runs(engine: Engine) -> None:
    big, plain = engine.create(machine="large-1x"), engine.create()
    assert taken(engine, "small") == [plain]
    assert taken(engine, "big") == [big]


@pytest.mark.usefixtures("workers")
def test_a_worker_with_machines_takes_other_runs_too_after_those(engine: Engine) -> None:
    plain, big = engine.create(), engine.create(machine="large-1x")
    assert taken(engine, "big") == [big, plain]


@pytest.mark.usefixtures("workers")
def test_runs_of_the_default_machine_are_for_every_worker(engine: Engine) -> None:
    run = engine.create(machine="small-1x")
    assert taken(engine, "small") == [run]


def test_as_long_as_no_worker_declares_machines_every_worker_takes_all_runs(engine: Engine) -> None:
    engine.register("small")
    run = engine.create(machine="large-1x")
    assert engine.read(run).machine == "large-1x"
    assert taken(engine, "small") == [run]


@pytest.mark.usefixtures("workers")
def test_runs_wait_for_their_workers_to_come_back(engine: Engine) -> None:
    engine.close("big")
    run = engine.create(machine="large-1x")
    engine.create(machine="medium-1x")
    assert taken(engine, "small") == []
    waiting = engine.run(querying.list_unserved(engine.scope))
    assert sorted((one.machine, one.worker_queue, one.runs) for one in waiting) == [
        ("large-1x", "celery", 1),
        ("medium-1x", "celery", 1),
    ]
    engine.register("big", machines=BIG)
    assert taken(engine, "big") == [run]


@pytest.mark.usefixtures("workers")
def test_a_limit_counts_over_all_machines(engine: Engine) -> None:
    plain, big = engine.create(queue="q"), engine.create(queue="q", machine="large-1x")
    (grant,) = engine.take("small")
    assert grant.id == plain
    assert taken(engine, "big") == []
    engine.end(grant)
    assert taken(engine, "big") == [big]


@pytest.mark.usefixtures("workers")
def test_delayed_runs_come_to_their_machine(engine: Engine) -> None:
    run = engine.create(machine="large-1x", delay=5_000)
    engine.clock.advance(5_001)
    engine.fire()
    assert taken(engine, "small") == []
    assert taken(engine, "big") == [run]


def test_the_machine_of_a_task_that_the_caller_does_not_know(engine: Engine) -> None:
    early = engine.create("far", declared=False)
    engine.register("big", ["far"], machines=BIG, details={"defaults": {"machine": "large-1x"}})
    engine.register("small", ["far"], details={"defaults": {"machine": "large-1x"}})
    late = engine.create("far", declared=False)
    own = engine.create("far", declared=False, machine="small-1x")
    assert taken(engine, "small") == [own]
    assert taken(engine, "big") == [early, late]
    assert [engine.read(run).machine for run in (early, late)] == ["large-1x", "large-1x"]


@pytest.mark.usefixtures("workers")
def test_the_last_call_of_a_debounced_run_may_name_another_machine(engine: Engine) -> None:
    def call(machine: str) -> str:
        extras = Extras(
            machine=machine, debounce=Debounce("k", 5_000, True), own=frozenset({"machine"})
        )
        new = engine.new_run(delay=5_000, machine=machine, extras=extras)
        return engine.trigger(new).id

    first = call("small-1x")
    assert call("large-1x") == first
    engine.clock.advance(6_000)
    engine.fire()
    assert taken(engine, "small") == []
    assert taken(engine, "big") == [first]


@pytest.mark.usefixtures("workers")
def test_a_worker_without_the_task_gives_a_run_back_to_its_machine(engine: Engine) -> None:
    engine.register("other", machines=BIG)
    engine.create(machine="large-1x")
    (grant,) = engine.take("big", machines=BIG)
    before = engine.fields(grant.id)["lane"]
    assert engine.unknown(grant) == "ok"
    engine.clock.advance(600)
    engine.fire()
    assert engine.fields(grant.id)["lane"] == before
    assert taken(engine, "small") == []
    assert taken(engine, "big") == [grant.id]


# Out of memory


@pytest.mark.usefixtures("workers")
def test_a_run_out_of_memory_goes_on_on_its_new_machine(engine: Engine) -> None:
    run, other = engine.create_many(2, queue="q")
    (grant,) = engine.take("small", 1)
    assert engine.move(grant, "large-1x", 1_000) == "ok"
    found = engine.read(run)
    assert (found.status, found.machine, found.attempt_count) == ("QUEUED", "large-1x", 1)
    assert engine.end(grant) == "stale"
    (next_one,) = engine.take("small")
    assert next_one.id == other  # the slot was free at once, and only the one run has moved
    engine.end(next_one)
    engine.clock.advance(1_001)
    engine.fire()
    assert taken(engine, "small") == []
    (again,) = engine.take("big", machines=BIG)
    assert (again.id, again.attempt, json.loads(again.options)["machine"]) == (run, 2, "large-1x")
    assert engine.end(again) == "ok"
    assert [one.error.message for one in engine.read(run).attempts if one.error] == ["no"]


@pytest.mark.usefixtures("workers")
def test_a_move_that_is_sent_again_is_one_move(engine: Engine) -> None:
    run = engine.create()
    (grant,) = engine.take("small")
    for _ in range(2):
        assert engine.move(grant, "large-1x", 1_000, op="same") == "ok"
    assert engine.move(grant, "large-1x", 1_000) == "stale"
    assert len(engine.read(run).attempts) == 1
    assert engine.members("timers") == [run]


@pytest.mark.usefixtures("workers")
def test_a_worker_that_lost_the_run_cannot_move_it(engine: Engine) -> None:
    run = engine.create()
    (grant,) = engine.take("small")
    engine.let_lapse("big")
    assert engine.move(grant, "large-1x") == "stale"
    assert engine.read(run).machine is None
    assert taken(engine, "big") == [run]


@pytest.mark.usefixtures("workers")
def test_a_run_moves_from_one_machine_to_another_and_keeps_what_it_was_triggered_with(
    engine: Engine,
) -> None:
    engine.register("huge", machines=("large-2x",))
    extras = Extras(machine="large-1x", version="v1", test=True, own=frozenset({"machine"}))
    run = engine.create(machine="large-1x", extras=extras)
    (grant,) = engine.take("big", machines=BIG)
    engine.move(grant, "large-2x")
    engine.fire()
    assert taken(engine, "big") == []
    assert [one.id for one in engine.take("huge", machines=("large-2x",))] == [run]
    found = engine.read(run)
    assert (found.machine, found.version, found.is_test) == ("large-2x", "v1", True)


def test_where_no_worker_declares_machines_a_run_out_of_memory_is_tried_again_anywhere(
    engine: Engine,
) -> None:
    engine.register("small")
    run = engine.create()
    (grant,) = engine.take("small")
    engine.move(grant, "large-1x")
    engine.fire()
    assert taken(engine, "small") == [run]
    assert engine.read(run).machine == "large-1x"


@pytest.mark.usefixtures("workers")
def test_a_run_that_is_about_to_move_can_be_cancelled(engine: Engine) -> None:
    run = engine.create()
    (grant,) = engine.take("small")
    engine.move(grant, "large-1x", 1_000)
    assert engine.cancel(run) == "CANCELED"
    engine.clock.advance(2_000)
    engine.fire()
    assert taken(engine, "big") == []


@pytest.mark.usefixtures("workers")
def test_a_run_on_a_machine_survives_its_worker_there(engine: Engine) -> None:
    run = engine.create(machine="large-1x")
    assert taken(engine, "big") == [run]
    engine.let_lapse("small")
    assert taken(engine, "small") == []
    engine.register("big", machines=BIG)
    assert taken(engine, "big") == [run]


@pytest.mark.usefixtures("workers")
def test_a_replay_of_a_run_that_moved_is_on_its_new_machine(engine: Engine) -> None:
    run = engine.create()
    (grant,) = engine.take("small")
    engine.move(grant, "large-1x")
    engine.cancel(run)
    (original,) = engine.run(replaying.read_originals(engine.scope, [run]))
    assert original is not None
    place = Placement("t", False, "celery", "")
    copy = replaying.copy_of(original, place, run_id())
    engine.run(triggering.create_run(engine.scope, copy, 1_000_000))
    assert taken(engine, "small") == []
    assert taken(engine, "big") == [copy.id]


def test_a_process_killed_for_its_memory_ends_the_run_at_once(engine: Engine) -> None:
    engine.register("small")
    run = engine.create()
    (grant,) = engine.take("small")
    for _ in range(2):
        assert engine.end(grant, "lost", "", ERROR, op="same") == "crashed"
    assert engine.status(run) == "CRASHED"


def test_worker_queues_of_machines_are_their_own() -> None:
    found = served(["a", "b"], ["large-1x", "micro"])
    assert len(set(found)) == 6
    assert (found[2], found[5]) == (token("a"), token("b"))


def test_a_run_of_a_task_that_comes_later_waits_for_its_machine(engine: Engine) -> None:
    engine.register("big", ["t"], machines=BIG)
    run = engine.create("later", declared=False, machine="large-1x", delay=1_000)
    engine.register("big", ["t", "later"], machines=BIG)
    engine.register("small", ["t", "later"])
    assert engine.status(run) == "DELAYED"
    engine.clock.advance(1_001)
    engine.fire()
    assert taken(engine, "small") == []
    assert taken(engine, "big") == [run]
