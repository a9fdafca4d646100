"""Limits hold at the moment a run starts: per queue, per concurrency key, per environment."""

from __future__ import annotations

import pytest

from tests.driving import RETENTION, Engine
from trigger_celery.engine import triggering
from trigger_celery.engine.attempts import Grant
from trigger_celery.model.ids import token


def running(engine: Engine, queue: str) -> int:
    return int(engine.client.zcard(engine.key("queue_slots", token(queue))))


def test_without_a_limit_everything_starts(engine: Engine) -> None:
    engine.register()
    engine.create_many(300)
    assert len(engine.take(want=300)) == 300


def test_a_queue_never_executes_more_than_its_limit(engine: Engine) -> None:
    engine.register(queues={"q": 4})
    engine.create_many(20, queue="q")
    held = engine.take(want=20)
    assert len(held) == 4
    done = 0
    while held:
        assert engine.take() == []
        assert engine.end(held.pop()) == "ok"
        done += 1
        held += engine.take()
        assert running(engine, "q") == len(held) <= 4
    assert done == 20


def test_the_limit_holds_over_several_workers(engine: Engine) -> None:
    for session in ("w1", "w2", "w3"):
        engine.register(session, queues={"q": 2})
    engine.create_many(10, queue="q")
    assert [len(engine.take(session)) for session in ("w1", "w2", "w3")] == [2, 0, 0]


def test_a_slot_is_handed_to_the_next_run_in_the_call_that_frees_it(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    first, second = engine.create_many(2, queue="q")
    grant = engine.take_one()
    assert grant.id == first
    engine.end(grant)
    assert engine.take_one().id == second


def test_a_dequeued_run_that_has_not_started_holds_its_slot(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    engine.create_many(2, queue="q")
    engine.take_one(start=False)
    assert engine.take() == []


def test_each_concurrency_key_has_the_whole_limit(engine: Engine) -> None:
    engine.register(queues={"q": 2})
    for key in ("alice", "bob", "carol"):
        engine.create_many(5, queue="q", key=key)
    engine.create_many(5, queue="q")
    grants = engine.take(want=100)
    by_key = [grant.concurrency_key for grant in grants]
    assert {key: by_key.count(key) for key in by_key} == {"alice": 2, "bob": 2, "carol": 2, "": 2}
    assert engine.take(want=100) == []


def test_a_key_frees_only_its_own_slot(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    for key in ("a", "b"):
        engine.create_many(3, queue="q", key=key)
    held = {grant.concurrency_key: grant for grant in engine.take()}
    engine.end(held["a"])
    assert [grant.concurrency_key for grant in engine.take()] == ["a"]


def test_one_key_in_two_queues_is_two_keys(engine: Engine) -> None:
    engine.register(queues={"q1": 1, "q2": 1})
    engine.create(queue="q1", key="a")
    engine.create(queue="q2", key="a")
    assert len(engine.take()) == 2


def test_two_worker_queues_share_the_limit_of_a_queue(engine: Engine) -> None:
    engine.register("w1", queues={"q": 1}, worker_queues=("celery", "video"))
    first = engine.create(queue="q", worker_queue="celery")
    second = engine.create(queue="q", worker_queue="video")
    both = ("celery", "video")
    grant = engine.take_one(worker_queues=both)
    assert grant.id == first
    assert engine.take(worker_queues=both) == []
    engine.end(grant)
    assert engine.take_one(worker_queues=both).id == second


def test_the_environment_limit_holds_over_all_queues(engine: Engine) -> None:
    engine.register(limit=3)
    for queue in ("a", "b", "c"):
        engine.create_many(3, queue=queue)
    held = engine.take(want=100)
    assert len(held) == 3
    assert engine.take(want=100) == []
    engine.end(held[0])
    assert len(engine.take(want=100)) == 1


def test_the_environment_limit_can_be_lifted(engine: Engine) -> None:
    engine.register(limit=1)
    engine.create_many(5)
    assert len(engine.take()) == 1
    engine.register(limit=None)
    assert len(engine.take()) == 4


def test_a_limit_of_0_starts_nothing(engine: Engine) -> None:
    engine.register(queues={"q": 0})
    runs = engine.create_many(2, queue="q")
    assert engine.take() == []
    engine.register(queues={"q": 1})
    assert engine.take_one().id == runs[0]


def test_a_raised_limit_lets_waiting_runs_start(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    engine.create_many(5, queue="q")
    engine.take_one()
    engine.register(queues={"q": 3})
    assert len(engine.take()) == 2


def test_a_lifted_limit_lets_every_key_start(engine: Engine) -> None:
    engine.register(queues={"q": 0})
    for key in map(str, range(300)):
        engine.create(queue="q", key=key)
    engine.register(queues={"q": None})
    assert len(engine.take(want=300)) == 300


def test_a_lowered_limit_stops_new_runs_until_enough_have_ended(engine: Engine) -> None:
    engine.register(queues={"q": 3})
    engine.create_many(6, queue="q")
    held = engine.take()
    engine.register(queues={"q": 1})
    for grant in held[:2]:
        engine.end(grant)
        assert engine.take() == []
    engine.end(held[2])
    assert len(engine.take()) == 1


def test_a_limit_lowered_before_anything_started_counts(engine: Engine) -> None:
    engine.register(queues={"q": 5})
    engine.create_many(5, queue="q")
    engine.register(queues={"q": 2})
    assert len(engine.take()) == 2


def test_a_paused_queue_starts_nothing_until_it_is_resumed(engine: Engine) -> None:
    engine.register(queues={"q": 2})
    record = engine.key("queue", token("q"))
    engine.create_many(3, queue="q")
    engine.client.hset(record, "paused", "1")
    engine.refresh("q")
    assert engine.take() == []
    engine.create(queue="q")
    assert engine.take() == []
    engine.client.hdel(record, "paused")
    engine.refresh("q")
    assert len(engine.take()) == 2


@pytest.mark.parametrize("ending", ["done", "failed", "back", "retry later", "cancel", "unknown"])
def test_every_way_to_give_up_a_run_frees_its_slots(engine: Engine, ending: str) -> None:
    engine.register(queues={"q": 1}, limit=1)
    first, second = engine.create_many(2, queue="q", key="k")
    grant = engine.take_one(start=False)

    def start() -> Grant:
        assert engine.start(grant) == 1
        return grant

    match ending:
        case "done":
            engine.end(start())
        case "failed":
            engine.fail(start())
        case "back":
            engine.back(start())
        case "retry later":
            engine.retry(start(), 30_000)
        case "cancel":
            engine.cancel(first)
        case "unknown":
            engine.unknown(grant)
    assert running(engine, "q") == 0
    assert engine.take_one().id == (first if ending == "back" else second)


def test_5000_keys_most_of_them_full(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    runs = [engine.new_run(queue="q", key=str(n % 5000)) for n in range(5100)]
    engine.run(triggering.create_runs(engine.scope, runs, RETENTION))
    held = engine.take(want=5000)
    assert len(held) == 5000
    assert engine.client.zcard(engine.key("ready", token("celery"))) == 0
    freed = [grant for grant in held if int(grant.concurrency_key) < 100]
    for grant in freed:
        engine.end(grant)
    assert {grant.id for grant in engine.take(want=5000)} == {run.id for run in runs[5000:]}
