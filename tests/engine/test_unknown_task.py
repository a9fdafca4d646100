"""A run whose task no live worker knows waits for a worker that does."""

from __future__ import annotations

from tests.driving import Engine


def test_it_is_parked_and_holds_no_slot(engine: Engine) -> None:
    engine.register()
    run = engine.create("new")
    assert engine.unknown(engine.take_one(start=False)) == "ok"
    assert engine.status(run) == "PENDING_VERSION"
    assert engine.client.zcard(engine.key("slots")) == 0
    assert engine.take() == []


def test_it_has_used_no_attempt(engine: Engine) -> None:
    engine.register()
    engine.create("new")
    engine.unknown(engine.take_one(start=True))
    engine.register("w2", ["new"])
    assert engine.take_one("w2").attempt == 1


def test_it_starts_when_a_worker_with_the_task_registers(engine: Engine) -> None:
    engine.register()
    runs = engine.create_many(3, "new")
    for grant in engine.take():
        engine.unknown(grant)
    engine.register("w2", ["t"])
    assert set(engine.statuses(runs)) == {"PENDING_VERSION"}
    engine.register("w3", ["new"])
    assert [grant.id for grant in engine.take("w3")] == runs


def test_hundreds_of_them_start(engine: Engine) -> None:
    engine.register()
    runs = engine.create_many(250, "new")
    for grant in engine.take(want=250):
        engine.unknown(grant)
    engine.register("w2", ["new"])
    assert {grant.id for grant in engine.take("w2", 250)} == set(runs)


def test_the_worker_with_the_task_gets_it_on_the_worker_queue_it_serves(engine: Engine) -> None:
    engine.register()
    run = engine.create("new", declared=False)
    assert engine.take() == []
    engine.register("w2", ["new"], worker_queues=("video",))
    assert engine.take_one("w2", worker_queues=("video",)).id == run


def test_when_another_live_worker_knows_it_the_run_tries_again_in_a_moment(engine: Engine) -> None:
    engine.register("w1", ["t"])
    engine.register("w2", ["new"])
    run = engine.create("new")
    engine.unknown(engine.take_one("w1"))
    assert engine.status(run) == "QUEUED"
    assert engine.take("w1") == []
    engine.clock.advance(501)
    assert engine.fire() == 1
    assert engine.take_one("w2").id == run


def test_it_moves_to_the_worker_queue_of_the_worker_that_knows_it(engine: Engine) -> None:
    engine.register("w1", ["t"], worker_queues=("celery",))
    run = engine.create("new")
    engine.register("w2", ["new"], worker_queues=("video",))
    engine.unknown(engine.take_one("w1"))
    engine.clock.advance(501)
    engine.fire()
    assert engine.take("w1") == []
    assert engine.take_one("w2", worker_queues=("video",)).id == run


def test_a_worker_that_is_gone_knows_nothing(engine: Engine) -> None:
    engine.register("w1", ["t"])
    engine.register("w2", ["new"])
    run = engine.create("new")
    engine.close("w2")
    engine.unknown(engine.take_one("w1"))
    assert engine.status(run) == "PENDING_VERSION"


def test_a_worker_that_declared_a_task_it_does_not_have_is_not_asked_again(engine: Engine) -> None:
    engine.register("w1", ["t"])
    run = engine.create("t")
    assert engine.unknown(engine.take_one("w1")) == "ok"
    assert engine.status(run) == "PENDING_VERSION"


def test_a_worker_that_does_not_serve_its_worker_queue_does_not_count(engine: Engine) -> None:
    engine.register("w1", ["t"])
    engine.register("w2", ["new"], worker_queues=("celery", "video"))
    engine.register("w2", ["new"], worker_queues=("video",))
    engine.client.hdel(engine.key("tasks"), "new")  # a routing that only the caller knows
    run = engine.create("new")
    engine.unknown(engine.take_one("w1"))
    assert engine.status(run) == "PENDING_VERSION"


def test_one_worker_with_the_task_among_hundreds_is_found(engine: Engine) -> None:
    engine.register("w1", ["t"])
    for number in range(150):
        engine.register(f"other{number}", [])
    engine.register("w2", ["new"], lease=90_000)
    run = engine.create("new")
    engine.unknown(engine.take_one("w1"))
    assert engine.status(run) == "QUEUED"
