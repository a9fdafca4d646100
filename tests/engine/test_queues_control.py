"""Queues and the environment are paused, resumed and limited at run time."""

from __future__ import annotations

import pytest

from tests.driving import LEASE, Engine
from trigger_celery.engine import queueing
from trigger_celery.engine.queueing import QueueState
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import QueueNotFoundError
from trigger_celery.model.ids import token
from trigger_celery.store.op import Flow


def change(
    engine: Engine, queue: str, action: queueing.Action, limit: int | None = None
) -> QueueState:
    return engine.run(queueing.change_queue(engine.scope, queue, action, limit, "ops"))


def environment(engine: Engine, action: queueing.Action, limit: int | None = None) -> None:
    engine.run(queueing.change_environment(engine.scope, action, limit))


def test_a_paused_queue_starts_nothing_and_accepts_triggers(engine: Engine) -> None:
    engine.register(queues={"q": None})
    running, *waiting = engine.create_many(3, queue="q")
    held = engine.take_one()
    assert change(engine, "q", "pause").paused
    waiting.append(engine.create(queue="q"))
    assert engine.take() == []
    assert engine.end(held) == "ok"
    assert held.id == running
    assert not change(engine, "q", "resume").paused
    assert [grant.id for grant in engine.take()] == waiting


def test_a_worker_that_starts_undoes_no_pause(engine: Engine) -> None:
    engine.register(queues={"q": 2})
    engine.create(queue="q")
    change(engine, "q", "pause")
    engine.register("w2", queues={"q": 5})
    assert engine.take("w2") == []
    state = engine.run(queueing.read_queue(engine.scope, "q"))
    assert (state.paused, state.concurrency_limit) == (True, 5)


def test_an_override_survives_workers_until_it_is_reset(engine: Engine) -> None:
    engine.register(queues={"q": 1})
    engine.create_many(9, queue="q")
    assert len(engine.take()) == 1
    state = change(engine, "q", "override", 3)
    assert len(engine.take()) == 2
    assert (state.concurrency.current, state.concurrency.base) == (3, 1)
    assert (state.concurrency.override, state.concurrency.overridden_by) == (3, "ops")
    engine.register("w2", queues={"q": 6})
    assert engine.take("w2") == []
    state = change(engine, "q", "reset")
    assert (state.concurrency.current, state.concurrency.base) == (6, 6)
    assert state.concurrency.override is state.concurrency.overridden_at is None
    assert len(engine.take("w2")) == 3


def test_an_override_of_a_queue_without_a_limit(engine: Engine) -> None:
    engine.register(queues={"q": None})
    engine.create_many(5, queue="q")
    change(engine, "q", "override", 0)
    assert engine.take() == []
    change(engine, "q", "override", 2)
    assert len(engine.take()) == 2
    assert change(engine, "q", "reset").concurrency_limit is None
    assert len(engine.take()) == 3


def test_an_unknown_queue_is_named_with_the_closest(engine: Engine) -> None:
    engine.register(queues={"shopify": 1})
    for action in ("pause", "resume", "override", "reset"):
        with pytest.raises(QueueNotFoundError, match="Did you mean 'shopify'"):
            change(engine, "shopfy", action, 1)
    with pytest.raises(QueueNotFoundError, match="no queue 'zzz' in this environment"):
        engine.run(queueing.read_queue(engine.scope, "zzz"))


@pytest.mark.parametrize("keys", [1, 450])
def test_a_process_that_dies_after_the_change_leaves_no_lane_behind(
    engine: Engine, keys: int
) -> None:
    engine.register(queues={"q": None})
    change(engine, "q", "pause")
    for key in range(keys):
        engine.create(queue="q", key=str(key))
    flow = queueing.change_queue(engine.scope, "q", "resume")
    engine.store.send(next(flow))  # and no more
    assert engine.take(want=keys) == []
    engine.clock.advance(1001)
    while engine.fire():
        pass
    assert len(engine.take(want=keys)) == keys


def test_a_paused_environment_starts_nothing(engine: Engine) -> None:
    engine.register(queues={"q": None}, direct=True)
    environment(engine, "pause")
    assert engine.take() == []  # it is idle now, and would be handed the next run
    engine.create_many(2, queue="q")
    engine.create()
    assert engine.take() == []
    engine.register("w2")
    assert engine.take("w2") == []
    environment(engine, "resume")
    assert len(engine.take()) == 3


def test_a_run_whose_wait_is_over_stays_until_the_environment_is_resumed(engine: Engine) -> None:
    engine.register()
    ticket = engine.token()
    grant = engine.begin()
    engine.ask_to_wait(grant, ticket, path="1", call="w", park=True)
    environment(engine, "pause")
    engine.complete(ticket)
    assert engine.status(grant.id) == "QUEUED"
    environment(engine, "resume")
    assert engine.status(grant.id) == "EXECUTING"


def test_the_limit_of_the_environment_changes_at_run_time(engine: Engine) -> None:
    engine.register(limit=1)
    engine.create_many(9)
    assert len(engine.take()) == 1
    environment(engine, "override", 3)
    assert len(engine.take()) == 2
    engine.register("w2", limit=2)
    assert engine.take("w2") == []
    environment(engine, "reset")
    state = engine.run(queueing.read_environment(engine.scope))
    assert (state.concurrency_limit, state.running, state.queued) == (2, 3, 6)


def test_a_resumed_environment_wakes_an_idle_worker(engine: Engine) -> None:
    engine.register()
    environment(engine, "pause")
    engine.create()
    engine.mail("w1")
    assert engine.take() == []
    environment(engine, "resume")
    assert engine.mail("w1") == ["work"]


def test_the_environment_bursts_with_several_queues_and_never_with_one(engine: Engine) -> None:
    engine.register(limit=4, burst=1.5, queues={"a": None, "b": None})
    for key in ("1", "2", ""):
        engine.create_many(5, queue="a", key=key)
    first = engine.take(want=20)
    assert len(first) == 4
    engine.create_many(9, queue="b")
    assert len(engine.take(want=20)) == 2
    for grant in first:
        engine.end(grant)
    held = engine.take(want=20)
    assert len(held) == 4
    of_a = engine.client.zcard(engine.key("queue_slots", token("a")))
    assert of_a <= 4


def test_bursts_come_and_go_with_the_settings(engine: Engine) -> None:
    engine.register(limit=2, queues={"a": None})
    for key in "xyz":
        engine.create_many(4, queue="a", key=key)
    engine.register("w2", limit=2, burst=2, queues={"a": None})
    assert len(engine.take(want=20)) == 2
    engine.register("w2", limit=4, queues={"a": None})
    assert len(engine.take(want=20)) == 2
    engine.register("w2", limit=None, queues={"a": None})
    assert len(engine.take(want=20)) == 8


def hold_one_back(engine: Engine) -> str:
    """Leave a run waiting for a slot that its queue has, as nobody looked at its lanes."""
    engine.create(queue="q")
    grant = engine.take_one()
    engine.wait(grant, engine.date(1000))
    change(engine, "q", "pause")
    engine.clock.advance(1000)
    engine.fire()
    assert engine.status(grant.id) == "QUEUED"

    def resume_and_die() -> Flow[None]:
        yield SCRIPTS.change_queue(engine.scope, queue="q", action="resume", value="", by="")

    engine.run(resume_and_die())
    return grant.id


def test_runs_that_go_on_in_the_call_that_looks_at_their_queue_are_in_one_index(
    engine: Engine,
) -> None:
    engine.register(queues={"q": 5})
    first = engine.begin(queue="q")
    engine.wait(first, engine.date(2000))
    second = hold_one_back(engine)
    engine.clock.advance(1000)
    engine.fire()
    assert engine.statuses([first.id, second]) == ["EXECUTING", "EXECUTING"]
    assert engine.members("index_status", "QUEUED") == []


def test_runs_that_go_on_when_a_worker_is_swept_are_in_one_index(engine: Engine) -> None:
    engine.register(queues={"q": 5})
    first = engine.begin(queue="q")
    engine.register("w2", {"c": 1})
    child = engine.child(first, engine.new_run("c"))
    engine.take_one("w2")
    engine.wait(first, child)
    second = hold_one_back(engine)
    engine.sweep()
    for _ in range(4):
        engine.clock.advance(LEASE // 3)
        engine.renew()
        engine.sweep()
    assert engine.status(child) == "CRASHED"
    assert engine.statuses([first.id, second]) == ["EXECUTING", "EXECUTING"]
    assert engine.members("index_status", "QUEUED") == []
    engine.fire()
