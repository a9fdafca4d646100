"""A queue is full at its size limit: a trigger beyond it is refused before anything is stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.driving import RETENTION, Engine
from tests.engine.lifecycle import state
from trigger_celery.engine import triggering
from trigger_celery.engine.batching import read_batch
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.triggering import NewRun
from trigger_celery.errors import QueueFullError
from trigger_celery.model.batch import BatchStatus

SMALL = {"q": QueueDeclaration("q", size_limit=3)}


def test_the_trigger_beyond_is_refused_and_nothing_is_stored(engine: Engine) -> None:
    engine.register(queues=SMALL)
    engine.create_many(3, queue="q")
    before = state(engine.client, engine.scope, moment=True)
    with pytest.raises(QueueFullError, match="the queue 'q' is full: its size limit is 3"):
        engine.create(queue="q")
    with pytest.raises(QueueFullError):
        engine.create_many(2, queue="q")
    assert state(engine.client, engine.scope, moment=True) == before


def test_runs_of_all_keys_count(engine: Engine) -> None:
    engine.register(queues=SMALL)
    for key in "abc":
        engine.create(queue="q", key=key)
    with pytest.raises(QueueFullError):
        engine.create(queue="q", key="d")


def test_executing_and_delayed_runs_do_not_count(engine: Engine) -> None:
    engine.register(queues=SMALL)
    engine.create_many(3, queue="q")
    engine.create(queue="q", delay=1000)
    engine.take_one()
    engine.create(queue="q")
    with pytest.raises(QueueFullError):
        engine.create(queue="q")


def test_other_queues_are_not_in_the_way(engine: Engine) -> None:
    engine.register(queues=SMALL)
    engine.create_many(50)
    engine.create_many(3, queue="q")
    engine.create()


def test_a_call_that_is_sent_again_is_answered_although_the_queue_is_full(engine: Engine) -> None:
    engine.register(queues=SMALL)
    engine.create_many(2, queue="q")
    new = engine.new_run(queue="q")
    for _ in range(2):
        engine.run(triggering.create_run(engine.scope, new, RETENTION))
    several = [new, replace(new)]
    engine.run(triggering.create_runs(engine.scope, several, RETENTION))
    assert engine.client.zcard(engine.key("index_status", "QUEUED")) == 3


def of_size(new: NewRun, size: int) -> NewRun:
    new.placement = replace(new.placement, size_limit=size)
    return new


def test_the_setting_is_for_queues_that_declare_no_size(engine: Engine) -> None:
    engine.register(queues=SMALL)
    engine.trigger(of_size(engine.new_run(), 1))
    with pytest.raises(QueueFullError, match="task/t"):
        engine.trigger(of_size(engine.new_run(), 1))
    for _ in range(3):
        engine.trigger(of_size(engine.new_run(queue="q"), 1))


def test_runs_of_an_unknown_task_count(engine: Engine) -> None:
    for _ in range(2):
        engine.trigger(of_size(engine.new_run("new", declared=False), 2))
    with pytest.raises(QueueFullError):
        engine.trigger(of_size(engine.new_run("new", declared=False), 2))


def test_items_of_a_batch_that_find_no_place_are_kept_as_failed_runs(engine: Engine) -> None:
    engine.register(queues=SMALL)
    runs = [engine.new_run(queue="q", tags=("x",)) for _ in range(5)]
    batch, calls = engine.batch_calls(runs)
    engine.store.send(*calls)
    engine.store.send(*calls)
    assert engine.statuses([run.id for run in runs]) == ["QUEUED"] * 3 + ["SYSTEM_FAILURE"] * 2
    error = engine.read(runs[4].id).error
    assert error is not None
    assert error.code == "QUEUE_SIZE_LIMIT_EXCEEDED"
    for grant in engine.take():
        engine.end(grant)
    found = engine.run(read_batch(engine.scope, batch))
    assert found.status is BatchStatus.PARTIAL_FAILED
    assert [(each.index, each.task_identifier) for each in found.errors] == [(3, "t"), (4, "t")]


def test_a_batch_is_sealed_although_what_found_no_place_is_pruned(engine: Engine) -> None:
    engine.register(queues=SMALL)
    batch, calls = engine.batch_calls([engine.new_run(queue="q") for _ in range(5)])
    engine.store.send(*calls[:-1])
    engine.clock.advance(RETENTION + 1)
    engine.prune()
    assert engine.seal(batch) == "PROCESSING"
    for grant in engine.take():
        engine.end(grant)
    assert engine.run(read_batch(engine.scope, batch)).status is BatchStatus.PARTIAL_FAILED


def test_lanes_are_counted_once_for_many_runs(engine: Engine) -> None:
    """Whatever enters meanwhile by other ways counts, and what leaves makes room again."""
    engine.register(queues={"q": QueueDeclaration("q", size_limit=30)})
    engine.create_many(30)
    delayed = [engine.create(queue="q", key="late", delay=1_000) for _ in range(10)]
    for number in range(10):
        engine.create(queue="q", key=str(number))
    calls = "cmdstat_zcard"
    before = engine.client.info("commandstats")[calls]["calls"]
    for number in range(9):
        engine.create(queue="q", key=str(number))
    assert engine.client.info("commandstats")[calls]["calls"] - before < 30
    engine.clock.advance(1_001)
    engine.fire()
    assert set(engine.statuses(delayed)) == {"QUEUED"}
    engine.create(queue="q")
    with pytest.raises(QueueFullError):
        engine.create(queue="q")
    for grant in engine.take(want=100):
        if grant.queue == "q":
            engine.end(grant)
    engine.create_many(30)
    engine.create_many(30, queue="q")
    with pytest.raises(QueueFullError):
        engine.create(queue="q")
