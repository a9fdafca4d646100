"""An idle worker is told of work; between looking and sleeping nothing falls through."""

from __future__ import annotations

import pytest

from tests.driving import RETENTION, Engine
from trigger_celery.engine import attempts, triggering
from trigger_celery.model.ids import op_id, token
from trigger_celery.store.op import Flow


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def idle(engine: Engine, worker_queue: str = "celery") -> list[str]:
    return engine.members("idle", token(worker_queue))


def idle_then_a_run(engine: Engine) -> Flow[None]:
    yield attempts.dequeue(
        engine.scope, op_id(), "w1", token("celery"), 1, [], RETENTION, start=True
    )
    yield from triggering.create_run(engine.scope, engine.new_run(), RETENTION)


def test_an_idle_worker_gets_a_message_when_a_run_comes(engine: Engine) -> None:
    assert engine.take() == []
    engine.create()
    assert engine.mail() == ["work"]


def test_the_message_ends_a_blocking_read(engine: Engine) -> None:
    engine.take()
    engine.create()
    reader = engine.store.blocking_reader()
    assert reader.pop(engine.key("mailbox", "w1"), 5) == b"work"
    assert reader.pop(engine.key("mailbox", "w1"), 0) is None
    reader.close()


async def test_the_message_ends_an_asynchronous_read(engine: Engine) -> None:
    await engine.store.run_async(idle_then_a_run(engine))
    reader = engine.store.async_blocking_reader()
    assert await reader.pop(engine.key("mailbox", "w1"), 5) == [b"work"]
    assert await reader.pop(engine.key("mailbox", "w1"), 0) == []
    await reader.close()
    await engine.store.aclose()


def test_messages_expire(engine: Engine) -> None:
    engine.take()
    engine.create()
    assert 0 < engine.client.pttl(engine.key("mailbox", "w1")) <= 60_000


def test_a_busy_worker_is_not_disturbed(engine: Engine) -> None:
    engine.create_many(2)
    engine.take(want=2)
    engine.create()
    assert engine.mail() == []


def test_looking_in_vain_and_going_to_sleep_is_one_step(engine: Engine) -> None:
    assert engine.take() == []
    assert idle(engine) == ["w1"]
    engine.take(want=1)
    assert idle(engine) == ["w1"]


def test_a_worker_with_slots_left_is_idle_although_it_got_runs(engine: Engine) -> None:
    engine.create_many(2)
    assert len(engine.take(want=5)) == 2
    engine.create()
    assert engine.mail() == ["work"]


def test_a_worker_without_slots_is_not_idle_any_more(engine: Engine) -> None:
    engine.take()
    engine.create_many(1)
    engine.mail()
    engine.take(want=1)
    assert idle(engine) == []


def test_each_run_wakes_one_worker_the_one_that_waits_longest_first(engine: Engine) -> None:
    for session in ("w2", "w3"):
        engine.register(session)
    for session in ("w2", "w1", "w3"):
        engine.clock.advance(1)
        assert engine.take(session) == []
    engine.create()
    assert [engine.mail(session) for session in ("w1", "w2", "w3")] == [[], ["work"], []]
    engine.create_many(5)
    assert [engine.mail(session) for session in ("w1", "w2", "w3")] == [["work"], [], ["work"]]


def test_a_worker_that_leaves_work_behind_wakes_the_next(engine: Engine) -> None:
    engine.register("w2")
    engine.create_many(2)
    engine.client.rename(engine.key("ready", token("celery")), "aside")
    assert engine.take("w2") == []  # sleeps, and its message gets lost
    engine.client.rename("aside", engine.key("ready", token("celery")))
    assert len(engine.take("w1", 1)) == 1
    assert engine.mail("w2") == ["work"]


def test_a_freed_slot_wakes_an_idle_worker(engine: Engine) -> None:
    engine.register("w2", queues={"q": 1})
    engine.create_many(2, queue="q")
    grant = engine.take_one("w1")
    assert engine.take("w2") == []
    engine.end(grant)
    assert engine.mail("w2") == ["work"]


def test_a_freed_slot_of_the_environment_wakes_an_idle_worker(engine: Engine) -> None:
    engine.register("w1", limit=1)
    engine.register("w2", limit=1)
    engine.create("t")
    engine.create("u")
    grant = engine.take_one("w1")
    assert engine.take("w2") == []
    engine.end(grant)
    assert engine.mail("w2") == ["work"]


def test_a_cancelled_dequeued_run_wakes_an_idle_worker(engine: Engine) -> None:
    engine.register("w2", queues={"q": 1})
    first, _ = engine.create_many(2, queue="q")
    engine.take_one("w1", start=False)
    assert engine.take("w2") == []
    engine.cancel(first)
    assert engine.mail("w2") == ["work"]


def test_a_raised_limit_wakes_an_idle_worker(engine: Engine) -> None:
    engine.register("w1", queues={"q": 0})
    engine.create(queue="q")
    assert engine.take("w1") == []
    engine.register("w2", queues={"q": 1})
    assert engine.mail("w1") == ["work"]


def test_a_due_run_wakes_an_idle_worker(engine: Engine) -> None:
    engine.take()
    engine.create(delay=60_000)
    assert engine.mail() == []
    engine.clock.advance(60_001)
    engine.fire()
    assert engine.mail() == ["work"]


def test_a_run_of_another_worker_queue_does_not_wake(engine: Engine) -> None:
    engine.take()
    engine.create(worker_queue="video")
    assert engine.mail() == []


def test_a_timer_that_is_due_soon_is_told_to_a_worker(engine: Engine) -> None:
    engine.create(delay=1_000)
    assert engine.mail() == ["timer"]
    engine.create(delay=1_600)
    assert engine.mail() == []


def test_the_run_of_a_lost_worker_wakes_an_idle_one(engine: Engine) -> None:
    engine.register("w2")
    engine.create()
    engine.take_one("w1")
    assert engine.take("w2") == []
    engine.let_lapse("w2")
    assert engine.mail("w2") == ["work"]
