"""Queues are listed with their limit, and how many of their runs execute and wait."""

from __future__ import annotations

from tests.driving import DAY, RETENTION, Engine
from trigger_celery.engine.queueing import Concurrency, QueueState, list_queues
from trigger_celery.engine.services.pruner import Pruner
from trigger_celery.engine.triggering import create_run
from trigger_celery.model.ids import token


def queues(engine: Engine) -> dict[str, QueueState]:
    return {queue.name: queue for queue in engine.run(list_queues(engine.scope))}


def state(
    name: str, limit: int | None, *, running: int = 0, queued: int = 0, declared: bool = True
) -> QueueState:
    concurrency = Concurrency(limit, limit)
    return QueueState(name, "custom", running, queued, False, limit, concurrency, declared=declared)


def test_no_queues(engine: Engine) -> None:
    assert queues(engine) == {}


def test_a_declared_queue_is_listed_before_it_is_used(engine: Engine) -> None:
    engine.register(queues={"q": 4, "free": None, "shut": 0})
    assert queues(engine) == {
        "q": state("q", 4),
        "free": state("free", None),
        "shut": state("shut", 0),
    }


def test_running_and_queued_are_counted_over_all_keys_and_worker_queues(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    for key in ("a", "b", "c"):
        engine.create_many(3, queue="q", key=key)
    engine.create(queue="q", worker_queue="video")
    engine.create(queue="q", delay=1000)
    engine.take(want=2)
    assert queues(engine)["q"] == state("q", 1, running=2, queued=8)


def test_a_queue_that_only_a_trigger_names_is_listed(engine: Engine) -> None:
    engine.register()
    engine.run(create_run(engine.scope, engine.new_run(queue="once"), RETENTION))
    assert queues(engine)["once"] == state("once", None, queued=1, declared=False)


def test_a_paused_queue_says_so(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    engine.client.hset(engine.key("queue", token("q")), "paused", "1")
    assert queues(engine)["q"].paused


def test_a_task_has_a_queue_of_its_own(engine: Engine) -> None:
    engine.create("t")
    assert list(queues(engine)) == ["task/t"]


def test_a_queue_leaves_the_listing_when_its_record_has_expired(engine: Engine) -> None:
    engine.create(queue="q")
    engine.cancel(engine.create(queue="once"))
    engine.client.delete(engine.key("queue", token("once")))  # as its TTL does
    assert list(queues(engine)) == ["q"]


def test_the_pruner_forgets_the_names_of_queues_that_nobody_uses_any_more(engine: Engine) -> None:
    engine.register(queues={"declared": None})
    engine.create(queue="waiting")
    for number in range(600):
        engine.client.hset(engine.key("queues"), token(f"gone{number}"), f"gone{number}")
    engine.client.delete(engine.key("queue", token("waiting")))
    pruner = Pruner(engine.scope)
    for _ in range(10):
        engine.run(pruner.tick())
    left = engine.client.hvals(engine.key("queues"))
    assert sorted(left) == [b"declared", b"waiting"]


def test_a_queue_without_its_record_is_listed_while_runs_wait_in_it(engine: Engine) -> None:
    engine.create(queue="q")
    record = engine.key("queue", token("q"))
    engine.client.delete(record)
    assert queues(engine)["q"].queued == 1
    engine.create(queue="q")
    assert RETENTION < engine.client.pttl(record) <= RETENTION + 7 * DAY


def test_a_thousand_queues_are_listed_once_each_by_name(engine: Engine) -> None:
    names = [f"q{number:04}" for number in range(1000)]
    engine.register(queues=dict.fromkeys(names, 1))
    found = engine.run(list_queues(engine.scope))
    assert [queue.name for queue in found] == names
