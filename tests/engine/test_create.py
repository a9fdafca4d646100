"""A trigger makes a run that exists before any worker has seen it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.driving import DAY, RETENTION, Engine
from trigger_celery.engine import triggering
from trigger_celery.errors import RunNotFoundError
from trigger_celery.model.ids import token
from trigger_celery.model.run import RunStatus


def test_a_run_exists_without_any_worker(engine: Engine) -> None:
    run = engine.read(engine.create("t", payload='{"order":7}', tags=("user:1", "vip")))
    assert run.status is RunStatus.QUEUED
    assert (run.task_identifier, run.queue, run.payload) == ("t", "task/t", {"order": 7})
    assert run.tags == ("user:1", "vip")
    assert run.created_at == run.queued_at
    assert run.started_at is run.finished_at is None


def test_a_payload_of_any_size_comes_back_whole(engine: Engine) -> None:
    for size in (0, 60, 61, 62, 63, 64, 65, 100_000):
        text = '"' + "é" * size + '"'
        assert engine.read(engine.create(payload=text)).payload == "é" * size


def test_metadata_is_stored(engine: Engine) -> None:
    assert engine.read(engine.create(metadata='{"progress":0}')).metadata == {"progress": 0}


def test_a_run_that_has_not_ended_never_expires(engine: Engine) -> None:
    run = engine.create(payload='"' + "x" * 100 + '"', metadata="{}")
    for kind in ("run", "payload", "metadata"):
        assert engine.client.pttl(engine.key(kind, run)) == -1


def test_the_same_call_again_makes_no_second_run(engine: Engine) -> None:
    run = engine.deployed(engine.new_run(tags=("a",)))
    for _ in range(2):
        engine.run(triggering.create_run(engine.scope, run, RETENTION))
    assert engine.members("index_status", "QUEUED") == [run.id]
    assert engine.fields(run.id)["n"] == "1"


def test_the_same_call_again_leaves_a_run_that_went_on_alone(engine: Engine) -> None:
    run = engine.new_run()
    engine.run(triggering.create_run(engine.scope, run, RETENTION))
    engine.register()
    engine.end(engine.take_one())
    engine.run(triggering.create_run(engine.scope, run, RETENTION))
    assert engine.status(run.id) == "COMPLETED"


def test_a_batch_of_1000_is_a_few_script_calls(engine: Engine) -> None:
    runs = [engine.deployed(engine.new_run()) for _ in range(1000)]
    (calls,) = triggering.create_runs(engine.scope, runs, RETENTION)
    assert len(calls) == 4
    engine.store.send(*calls)
    assert engine.members("index_task", token("t")) == sorted(run.id for run in runs)


def test_a_batch_may_mix_tasks_queues_and_keys(engine: Engine) -> None:
    runs = [
        engine.new_run("a"),
        engine.new_run("b", queue="shared"),
        engine.new_run("b", queue="shared", key="x"),
        engine.new_run("a", delay=5000),
    ]
    for run in runs:
        engine.deployed(run)
    ids = engine.run(triggering.create_runs(engine.scope, runs, RETENTION))
    assert engine.statuses(ids) == ["QUEUED", "QUEUED", "QUEUED", "DELAYED"]
    assert [engine.read(run).concurrency_key for run in ids] == [None, None, "x", None]


def test_an_empty_batch_calls_nobody(engine: Engine) -> None:
    assert engine.run(triggering.create_runs(engine.scope, [], RETENTION)) == []
    assert engine.client.dbsize() == 0


def test_a_process_without_the_task_follows_what_workers_declared(engine: Engine) -> None:
    engine.register("w1", ["t"], worker_queues=("video",))
    run = engine.create("t", declared=False, worker_queue="celery")
    assert engine.read(run).queue == "task/t"
    assert engine.take("w1", worker_queues=("video",))[0].id == run


def test_a_worker_queue_that_the_caller_names_counts_before_what_workers_declared(
    engine: Engine,
) -> None:
    def trigger(task: str, *, known: bool) -> str:
        new = engine.new_run(task, declared=known, worker_queue="slow")
        new.placement = replace(new.placement, at_given=True)
        return engine.run(triggering.create_run(engine.scope, new, RETENTION)).id

    ids = [trigger("later", known=known) for known in (True, False)]
    assert {engine.read(run).status for run in ids} == {RunStatus.PENDING_VERSION}
    engine.register("w1", ["t", "later"], worker_queues=("video",))
    engine.register("w2", ["t", "later"], worker_queues=("slow",))
    ids += [trigger("t", known=known) for known in (True, False)]
    assert {engine.read(run).queue for run in ids} == {"task/later", "task/t"}
    assert engine.take("w1", worker_queues=("video",)) == []
    assert {run.id for run in engine.take("w2", worker_queues=("slow",))} == set(ids)


def test_a_task_that_no_worker_declared_gets_a_queue_of_its_own(engine: Engine) -> None:
    assert engine.read(engine.create("new", declared=False)).queue == "task/new"


def test_user_text_never_enters_a_key_name(engine: Engine) -> None:
    engine.create("t", queue="q/1", key="a:{b}*\u00e9", tags=("<tag>:{}",))
    names = b" ".join(engine.client.keys())
    for text in ("q/1", "{b}", "\u00e9", "<tag>"):
        assert text.encode() not in names.replace(engine.scope.encode(), b"")


def test_a_queue_that_nobody_declares_is_forgotten_after_its_last_use(engine: Engine) -> None:
    engine.register()
    engine.run(triggering.create_run(engine.scope, engine.new_run(queue="once"), RETENTION))
    ttl = engine.client.pttl(engine.key("queue", token("once")))
    assert RETENTION < ttl <= RETENTION + 7 * DAY


def test_a_queue_record_that_expired_comes_back_with_its_name_and_a_ttl(engine: Engine) -> None:
    run = engine.create(queue="rare", delay=60 * DAY)
    engine.client.delete(engine.key("queue", token("rare")))  # as its TTL does
    engine.clock.advance(60 * DAY)
    assert engine.fire() == 1
    assert engine.client.hget(engine.key("queue", token("rare")), "name") == b"rare"
    engine.register()
    assert engine.take_one().id == run


def test_an_unknown_run_is_not_found(engine: Engine) -> None:
    with pytest.raises(RunNotFoundError, match="never triggered in this environment"):
        engine.read("run_" + "0" * 26)
