"""A waiting run holds no slot; when it may go on it gets one back ahead of new work."""

from __future__ import annotations

import pytest

from tests.driving import HOUR, Engine
from trigger_celery.model.ids import token


def held(engine: Engine) -> int:
    return int(engine.client.zcard(engine.key("slots")))


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register(queues={"q": 1})


def test_a_run_that_waits_frees_its_slot_for_the_next(engine: Engine) -> None:
    first = engine.begin(queue="q")
    second = engine.create(queue="q")
    assert engine.take() == []
    engine.wait(first, engine.token())
    assert held(engine) == 0
    assert engine.take_one().id == second


def test_so_does_one_with_several_waits(engine: Engine) -> None:
    first = engine.begin(queue="q")
    second = engine.create(queue="q")
    tokens = [engine.token(), engine.token()]
    for target in tokens:
        engine.wait(first, target, park=False)
    assert held(engine) == 1
    engine.park(first, *tokens)
    assert engine.take_one().id == second


def test_an_idle_worker_is_woken_by_the_slot_of_a_run_that_begins_to_wait(engine: Engine) -> None:
    engine.register("w2", queues={"q": 1})
    grant = engine.begin(queue="q")
    engine.create(queue="q")
    engine.take("w2")
    engine.mail("w2")
    engine.wait(grant, engine.token())
    assert engine.mail("w2") == ["work"]


def test_it_gets_its_slot_back_when_there_is_one(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    engine.complete(target)
    assert held(engine) == 1
    assert engine.status(grant.id) == "EXECUTING"


def test_without_a_free_slot_it_is_queued_and_told_later(engine: Engine) -> None:
    first, target = engine.begin(queue="q"), engine.token()
    engine.wait(first, target)
    second = engine.begin(queue="q")
    engine.complete(target)
    assert engine.statuses([first.id, second.id]) == ["QUEUED", "EXECUTING"]
    assert engine.mail() == [f"done {first.id} {target}"]
    assert engine.end(first) == "stale"
    engine.end(second)
    assert engine.mail() == [f"resume {first.id} -"]
    assert engine.end(first) == "ok"


def test_it_goes_on_ahead_of_new_work(engine: Engine) -> None:
    first, target = engine.begin(queue="q"), engine.token()
    engine.wait(first, target)
    second = engine.begin(queue="q")
    new = engine.create(queue="q", priority=HOUR)
    engine.complete(target)
    assert engine.dequeue(endings=[]).runs == []
    engine.end(second)
    assert engine.take() == []
    assert engine.statuses([first.id, new]) == ["EXECUTING", "QUEUED"]
    engine.end(first)
    assert engine.take_one().id == new


def test_those_that_go_on_do_so_in_the_order_in_which_they_were_queued(engine: Engine) -> None:
    waiting = []
    for _ in range(4):
        grant, target = engine.begin(queue="q"), engine.token()
        engine.wait(grant, target)
        waiting.append((grant, target))
        engine.clock.advance(1_000)
    holder = engine.begin(queue="q")
    for _, target in reversed(waiting):
        engine.complete(target)
    order = []
    for _ in range(4):
        engine.end(holder)
        (holder,) = [grant for grant, _ in waiting if engine.status(grant.id) == "EXECUTING"]
        order.append(holder)
    assert order == [grant for grant, _ in waiting]


def test_another_queue_is_not_in_the_way(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    engine.begin(queue="other")
    engine.complete(target)
    assert engine.status(grant.id) == "EXECUTING"


def test_every_concurrency_key_has_slots_of_its_own(engine: Engine) -> None:
    grants = {}
    for key in ("a", "b"):
        target = engine.token()
        grants[key] = engine.begin(queue="q", key=key), target
        engine.wait(*grants[key])
    other = engine.begin(queue="q", key="a")
    for _, target in grants.values():
        engine.complete(target)
    statuses = {key: engine.status(grant.id) for key, (grant, _) in grants.items()}
    assert statuses == {"a": "QUEUED", "b": "EXECUTING"}
    engine.end(other)
    assert engine.status(grants["a"][0].id) == "EXECUTING"


def test_the_limit_of_the_environment_counts(engine: Engine) -> None:
    engine.register(limit=1)
    grant, target = engine.begin(), engine.token()
    engine.wait(grant, target)
    other = engine.begin("u")
    engine.complete(target)
    assert engine.statuses([grant.id, other.id]) == ["QUEUED", "EXECUTING"]
    new = engine.create("u")
    engine.end(other)
    assert engine.statuses([grant.id, new]) == ["EXECUTING", "QUEUED"]
    assert engine.take() == []


def test_raising_the_limit_of_the_environment_lets_them_go_on(engine: Engine) -> None:
    engine.register(limit=1)
    grant, target = engine.begin(), engine.token()
    engine.wait(grant, target)
    engine.begin("u")
    engine.complete(target)
    engine.register(limit=2)
    assert engine.status(grant.id) == "EXECUTING"


def test_raising_the_limit_of_the_queue_lets_them_go_on(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    engine.begin(queue="q")
    new = engine.create(queue="q")
    engine.complete(target)
    engine.register(queues={"q": 2})
    assert engine.statuses([grant.id, new]) == ["EXECUTING", "QUEUED"]


def test_lifting_the_limit_of_one_queue_among_many(engine: Engine) -> None:
    queues = dict.fromkeys([f"q{number}" for number in range(40)], 1)
    engine.register(queues=queues)
    waiting = []
    for queue in queues:
        grant, target = engine.begin(queue=queue), engine.token()
        engine.wait(grant, target)
        engine.begin(queue=queue)
        engine.complete(target)
        waiting.append(grant)
    engine.register(queues={"q39": None})
    assert engine.statuses([grant.id for grant in waiting]) == [*["QUEUED"] * 39, "EXECUTING"]


def test_in_a_paused_queue_nothing_goes_on_until_it_is_resumed(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    engine.client.hset(engine.key("queue", token("q")), "paused", "1")
    engine.refresh("q")
    engine.complete(target)
    assert engine.status(grant.id) == "QUEUED"
    engine.client.hdel(engine.key("queue", token("q")), "paused")
    new = engine.create(queue="q")
    engine.refresh("q")
    assert engine.statuses([grant.id, new]) == ["EXECUTING", "QUEUED"]


def test_a_lowered_limit_keeps_them_back(engine: Engine) -> None:
    engine.register(queues={"q": 2})
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    others = [engine.begin(queue="q"), engine.begin(queue="q")]
    engine.register(queues={"q": 1})
    engine.complete(target)
    engine.end(others[0])
    assert engine.status(grant.id) == "QUEUED"
    engine.end(others[1])
    assert engine.status(grant.id) == "EXECUTING"


def test_parent_and_child_in_one_queue_with_room_for_one(engine: Engine) -> None:
    parent = engine.begin(queue="q")
    child = engine.child(parent, engine.new_run(queue="q"))
    assert engine.take() == []
    engine.wait(parent, child)
    grant = engine.take_one()
    assert grant.id == child
    new = engine.create(queue="q")
    engine.end(grant)
    assert engine.statuses([parent.id, new]) == ["EXECUTING", "QUEUED"]
    assert engine.end(parent) == "ok"


def test_one_that_waits_for_a_slot_is_told_what_else_is_done(engine: Engine) -> None:
    grant = engine.begin(queue="q")
    first, second = engine.token(), engine.token()
    for target in (first, second):
        engine.wait(grant, target, park=False)
    engine.park(grant, first, second)
    holder = engine.begin(queue="q")
    engine.complete(first)
    engine.complete(second)
    engine.end(holder)
    assert engine.mail() == [
        f"done {grant.id} {first}", f"done {grant.id} {second}", f"resume {grant.id} -",
    ]  # fmt: skip


def test_one_that_waits_for_a_slot_can_be_cancelled(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    holder = engine.begin(queue="q")
    engine.complete(target)
    assert engine.cancel(grant.id) == "CANCELED"
    new = engine.create(queue="q")
    engine.end(holder)
    assert engine.take_one().id == new


def test_one_that_gives_its_wait_up_queues_for_its_slot_too(engine: Engine) -> None:
    grant = engine.begin(queue="q")
    engine.wait(grant, engine.token())
    holder = engine.begin(queue="q")
    assert engine.resume(grant) == "queued"
    assert engine.status(grant.id) == "QUEUED"
    engine.end(holder)
    assert engine.status(grant.id) == "EXECUTING"
    assert engine.resume(grant) == "ok"


def test_a_slot_that_new_work_could_have_taken_goes_to_it(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    new = engine.create(queue="q")
    engine.complete(target)
    assert engine.members("ready", token("celery")) == []
    assert engine.take() == []
    engine.end(grant)
    assert engine.take_one().id == new


def test_a_lost_reply_does_not_let_a_run_go_on_without_a_slot(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    assert engine.wait(grant, target) == "parked"
    assert engine.wait(grant, target) == "parked"
    engine.begin(queue="q")
    engine.complete(target)
    assert engine.status(grant.id) == "QUEUED"
    assert engine.wait(grant, target) == "parked"
    assert engine.park(grant, target).word == "parked"


def test_the_sweeper_finds_slots_that_nobody_handed_on(engine: Engine) -> None:
    engine.register(limit=1)
    grant, target = engine.begin(), engine.token()
    engine.wait(grant, target)
    other = engine.begin("u")
    engine.complete(target)
    engine.client.hset(engine.key("env"), "limit", 2)
    engine.let_lapse("w1")
    assert engine.statuses([grant.id, other.id]) == ["EXECUTING", "EXECUTING"]
