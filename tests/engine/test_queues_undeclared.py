"""A run of a task, or in a queue, that no worker ever declared waits as PENDING_VERSION for one that does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.driving import HOUR, RETENTION, Engine
from trigger_celery.engine import queueing, triggering
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.sessions import SessionDeclaration, TaskDeclaration, register
from trigger_celery.engine.triggering import NewRun


def create(engine: Engine, new: NewRun) -> str:
    """Create a run although nothing of it is declared."""
    return engine.run(triggering.create_run(engine.scope, new, RETENTION)).id


def declare(engine: Engine, task: str, queue: str, *queues: str) -> None:
    """Let a worker declare a task in a queue."""
    tasks = [TaskDeclaration(task, queue, "video", 3, {})]
    declared = [QueueDeclaration(name) for name in (queue, *queues)]
    session = SessionDeclaration("w9", 30_000, {}, ["video"], tasks, declared, None)
    engine.run(register(engine.scope, session))


@pytest.mark.parametrize("declared", [True, False])
def test_of_a_task_that_nobody_declared(engine: Engine, declared: bool) -> None:
    engine.register()
    run = create(engine, engine.new_run("new", declared=declared))
    assert engine.status(run) == "PENDING_VERSION"
    assert engine.read(run).is_queued
    assert engine.take() == []
    engine.register("w2", ["new"])
    assert [grant.id for grant in engine.take("w2")] == [run]


def test_in_a_queue_that_nobody_declared(engine: Engine) -> None:
    engine.register()
    runs = [create(engine, engine.new_run(queue="later", key=key)) for key in ("", "a", "b")]
    assert set(engine.statuses(runs)) == {"PENDING_VERSION"}
    assert engine.run(queueing.read_queue(engine.scope, "later")).queued == 3
    engine.register("w2", queues={"later": 1})
    assert engine.run(queueing.read_queue(engine.scope, "later")).queued == 3
    assert {grant.id for grant in engine.take("w2")} == set(runs)


def test_of_neither_needs_both(engine: Engine) -> None:
    engine.register()
    run = create(engine, engine.new_run("new", queue="later"))
    engine.register("w2", queues={"later": 1})
    assert engine.status(run) == "PENDING_VERSION"
    engine.register("w3", ["new"])
    assert engine.status(run) == "QUEUED"


def test_of_neither_in_the_other_order(engine: Engine) -> None:
    engine.register()
    run = create(engine, engine.new_run("new", queue="later"))
    engine.register("w3", ["new"])
    assert engine.status(run) == "PENDING_VERSION"
    engine.register("w2", queues={"later": 1})
    assert engine.status(run) == "QUEUED"


def test_a_process_without_the_task_queues_at_once_what_workers_know(engine: Engine) -> None:
    engine.register()
    run = create(engine, engine.new_run("t", declared=False))
    assert engine.status(run) == "QUEUED"
    engine.close("w1")  # a task stays known
    assert engine.status(create(engine, engine.new_run("t", declared=False))) == "QUEUED"


def test_a_run_that_named_no_queue_goes_to_that_of_its_task(engine: Engine) -> None:
    run = create(engine, engine.new_run("new", declared=False, key="k"))
    named = create(engine, engine.new_run("new", declared=False, queue="own"))
    declare(engine, "new", "shared", "own")
    assert [engine.read(each).queue for each in (run, named)] == ["shared", "own"]
    taken = engine.take("w9", worker_queues=("video",))
    assert {grant.id for grant in taken} == {run, named}


def test_a_delay_goes_on_after_it(engine: Engine) -> None:
    run = create(engine, engine.new_run("new", delay=HOUR, declared=False))
    engine.register("w2", ["new"])
    assert engine.status(run) == "DELAYED"
    late = create(engine, engine.new_run("newer", delay=1000, declared=False))
    engine.clock.advance(1001)
    engine.register("w2", ["new", "newer"])
    assert engine.status(late) == "QUEUED"


def test_it_is_cancelled_and_listed(engine: Engine) -> None:
    engine.register()
    runs = [create(engine, engine.new_run("new")), create(engine, engine.new_run(queue="later"))]
    assert engine.members("index_status", "PENDING_VERSION") == runs
    for run in runs:
        engine.cancel(run)
    engine.register("w2", ["new"], {"later": None})
    assert engine.statuses(runs) == ["CANCELED", "CANCELED"]


def test_hundreds_are_released_although_the_worker_dies_at_it(engine: Engine) -> None:
    engine.register()
    runs = [create(engine, engine.new_run("new", declared=False)) for _ in range(230)]
    tasks = [TaskDeclaration("new", "task/new", "celery", 1, {})]
    session = SessionDeclaration("w2", 30_000, {}, ["celery"], tasks, [], None)
    engine.store.send(next(register(engine.scope, session)))  # and no more
    assert set(engine.statuses(runs)) == {"PENDING_VERSION"}
    engine.clock.advance(1001)
    while engine.fire():
        pass
    assert set(engine.statuses(runs)) == {"QUEUED"}


def test_a_queue_that_a_trigger_gave_a_limit_needs_no_worker(engine: Engine) -> None:
    engine.register()
    runs = []
    for limit in (1, 5):  # the first counts
        new = engine.new_run(queue="old")
        object.__setattr__(new.placement, "queue_limit", limit)
        runs.append(create(engine, new))
    assert engine.statuses(runs) == ["QUEUED", "QUEUED"]
    assert len(engine.take()) == 1
    assert engine.status(create(engine, engine.new_run(queue="old"))) == "QUEUED"
    engine.register("w2", queues={"old": 3})
    assert len(engine.take()) == 2


def test_until_a_trigger_gives_the_queue_a_limit(engine: Engine) -> None:
    engine.register()
    parked = create(engine, engine.new_run(queue="later"))
    new = engine.new_run(queue="later")
    limited = replace(new, placement=replace(new.placement, queue_limit=1))
    assert engine.status(create(engine, limited)) == "QUEUED"
    engine.fire()
    assert engine.status(parked) == "QUEUED"
    assert len(engine.take()) == 1


DEFAULTS = {"defaults": {"machine": "large-1x"}}


def test_a_worker_queue_may_be_named_by_a_number(engine: Engine) -> None:
    parked = create(engine, engine.new_run("new", declared=False))
    engine.register("w2", ["new"], worker_queues=("7",), details=DEFAULTS)
    queued = create(engine, engine.new_run("new", declared=False))
    assert engine.statuses([parked, queued]) == ["QUEUED", "QUEUED"]
    assert [engine.read(run).machine for run in (parked, queued)] == ["large-1x", "large-1x"]


def test_a_description_may_be_half_a_character(engine: Engine) -> None:
    parked = create(engine, engine.new_run("new", declared=False))
    engine.register("w2", ["new"], details={"description": "\ud83d ", **DEFAULTS})
    assert engine.status(parked) == "QUEUED"


def test_its_ttl_is_that_of_its_task_unless_it_has_its_own(engine: Engine) -> None:
    """Counted from its release, or from its own time if that is later."""
    own = frozenset({"ttl"})
    plain, long, off, later = (
        create(engine, engine.new_run("new", declared=False, delay=delay, extras=extras))
        for delay, extras in [
            (None, None),
            (None, Extras(ttl_ms=2 * HOUR, own=own)),
            (None, Extras(ttl_ms=0, own=own)),
            (3 * HOUR, None),
        ]
    )
    engine.clock.advance(HOUR)
    details = {"defaults": {"ttl": [HOUR, "1h"]}}
    engine.register("w2", ["new"], details=details)
    assert engine.statuses([plain, long, off, later]) == ["QUEUED"] * 3 + ["DELAYED"]
    assert [engine.read(run).ttl for run in (plain, long, off)] == ["1h", "2h", None]
    engine.clock.advance(HOUR - 1_000)
    engine.fire()
    assert engine.status(plain) == "QUEUED"
    engine.clock.advance(1_001)
    engine.fire()
    assert engine.statuses([plain, long, off, later]) == ["EXPIRED", "QUEUED", "QUEUED", "DELAYED"]
    engine.clock.advance(2 * HOUR)
    engine.fire()
    assert engine.statuses([long, off, later]) == ["EXPIRED", "QUEUED", "QUEUED"]
    engine.clock.advance(HOUR)
    engine.fire()
    assert engine.statuses([off, later]) == ["QUEUED", "EXPIRED"]
