"""A run is cancelled in any state that is not final, and its descendants with it."""

from __future__ import annotations

import pytest

from tests.driving import HOUR, RETENTION, Engine
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import RunNotFoundError
from trigger_celery.model.ids import token


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register(queues={"q": 1})


def test_a_queued_run(engine: Engine) -> None:
    first, second = engine.create_many(2, queue="q")
    assert engine.cancel(first) == "CANCELED"
    assert engine.take_one().id == second


def test_the_last_run_of_a_lane_takes_the_lane_along(engine: Engine) -> None:
    engine.cancel(engine.create(queue="q", key="k"))
    assert engine.members("ready", token("celery")) == []
    assert engine.take() == []


def test_a_dequeued_run_frees_its_slot_for_the_next(engine: Engine) -> None:
    first, second = engine.create_many(2, queue="q")
    grant = engine.take_one(start=False)
    assert engine.cancel(first) == "CANCELED"
    assert engine.take_one().id == second
    assert engine.start(grant) is None


def test_a_run_whose_task_nobody_knows(engine: Engine) -> None:
    run = engine.create("new")
    engine.unknown(engine.take_one())
    assert engine.status(run) == "PENDING_VERSION"
    assert engine.cancel(run) == "CANCELED"
    assert engine.members("parked", token("new")) == []
    engine.register(tasks=["t", "new"])
    assert engine.take() == []


def test_the_reason_is_kept(engine: Engine) -> None:
    run = engine.create()
    engine.cancel(run)
    cancelled = engine.read(run)
    assert cancelled.error is not None
    assert cancelled.error.message == "Canceled by user"
    assert cancelled.finished_at is not None
    assert cancelled.is_cancelled


def test_of_a_final_run_nothing_changes(engine: Engine) -> None:
    run = engine.create()
    engine.end(engine.take_one())
    before = engine.fields(run)
    assert engine.cancel(run) == "COMPLETED"
    assert engine.fields(run) == before


def test_cancelling_twice_is_cancelling_once(engine: Engine) -> None:
    run = engine.create()
    assert [engine.cancel(run), engine.cancel(run)] == ["CANCELED", "CANCELED"]


def test_a_repeated_call_gets_its_first_answer(engine: Engine) -> None:
    run = engine.create()
    call = SCRIPTS.cancel_run(engine.scope, op_id="x", run_id=run, error="{}", retention=RETENTION)
    assert engine.store.send(call) == engine.store.send(call) == [[b"ok", b"CANCELED"]]


def test_an_unknown_run(engine: Engine) -> None:
    with pytest.raises(RunNotFoundError):
        engine.cancel("run_" + "0" * 26)


def test_an_executing_run_ends_at_once_and_its_worker_is_told(engine: Engine) -> None:
    grant = engine.begin(queue="q")
    assert engine.cancel(grant.id) == "CANCELED"
    assert engine.mail() == [f"cancel {grant.id} {grant.epoch}"]
    assert engine.end(grant) == "final"
    assert engine.begin(queue="q").id != grant.id


def test_a_waiting_run_ends_at_once_and_its_worker_is_told(engine: Engine) -> None:
    grant, target = engine.begin(), engine.token()
    engine.wait(grant, target, post="process-7")
    engine.cancel(grant.id)
    assert engine.mail() == engine.mail("process-7") == [f"cancel {grant.id} {grant.epoch}"]
    assert engine.waiters(target) == engine.waits_of(grant.id) == set()
    assert engine.complete(target)
    assert engine.status(grant.id) == "CANCELED"


def test_a_waiting_run_without_a_worker(engine: Engine) -> None:
    grant, target = engine.begin(), engine.token()
    engine.wait(grant, target)
    engine.evict(grant)
    assert engine.cancel(grant.id) == "CANCELED"
    engine.complete(target)
    assert engine.take() == []


@pytest.mark.parametrize("long", [False, True])
def test_a_run_that_waits_for_its_next_attempt(engine: Engine, long: bool) -> None:
    grant = engine.begin()
    engine.retry(grant, 60_000 if long else 1_000)
    assert engine.cancel(grant.id) == "CANCELED"
    engine.clock.advance(60_001)
    assert engine.fire() == 0
    assert engine.take() == []


def test_a_delayed_run(engine: Engine) -> None:
    assert engine.cancel(engine.create(delay=HOUR)) == "CANCELED"


def test_a_replay_that_waits_for_its_worker(engine: Engine) -> None:
    grant, target = engine.begin(), engine.token()
    engine.wait(grant, target)
    engine.evict(grant)
    engine.complete(target)
    assert engine.cancel(grant.id) == "CANCELED"
    assert engine.take() == []


def family(engine: Engine) -> tuple[Grant, list[str]]:
    """Return an executing run and its descendants: waiting, executing, queued, delayed, done."""
    parent = engine.begin()
    child = engine.child(parent, engine.new_run())
    middle = engine.take_one()
    grandchild = engine.child(middle, engine.new_run())
    youngest = engine.take_one()
    engine.wait(middle, grandchild)
    delayed = engine.child(youngest, engine.new_run(delay=HOUR))
    queued = engine.child(youngest, engine.new_run())
    return parent, [child, grandchild, delayed, queued]


def settle_down(engine: Engine) -> None:
    while engine.fire():
        pass


def test_all_descendants_are_cancelled_in_whatever_state_they_are(engine: Engine) -> None:
    parent, descendants = family(engine)
    engine.mail()
    engine.cancel(parent.id)
    settle_down(engine)
    assert engine.statuses(descendants) == ["CANCELED"] * 4
    told = [message.split()[1] for message in engine.mail() if message.startswith("cancel")]
    assert told == [parent.id, *descendants[:2]]
    error = engine.read(descendants[-1]).error
    assert error is not None
    assert error.message == "Canceled with its parent"


def test_a_child_that_has_ended_stays_as_it_ended(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run())
    engine.end(engine.take_one())
    engine.cancel(parent.id)
    settle_down(engine)
    assert engine.status(child) == "COMPLETED"


def test_runs_of_a_batch_are_cancelled_with_their_parent(engine: Engine) -> None:
    parent = engine.begin()
    batch = engine.batch([engine.new_run() for _ in range(300)], parent)
    engine.wait(parent, batch)
    begun = engine.take(want=5)
    engine.cancel(parent.id)
    settle_down(engine)
    assert set(engine.statuses(engine.read_batch(batch).runs)) == {"CANCELED"}
    assert engine.read_batch(batch).status == "COMPLETED"
    assert engine.end(begun[0]) == "final"


def test_a_child_made_by_a_run_that_was_cancelled_meanwhile(engine: Engine) -> None:
    parent = engine.begin()
    engine.cancel(parent.id)
    child = engine.child(parent, engine.new_run())
    settle_down(engine)
    assert engine.status(child) == "CANCELED"


def test_a_batch_made_by_a_run_that_was_cancelled_meanwhile(engine: Engine) -> None:
    parent = engine.begin()
    batch, (announce, *create, seal) = engine.batch_calls(
        [engine.new_run(), engine.new_run("u")], parent
    )
    engine.store.send(announce, create[0])
    engine.cancel(parent.id)
    engine.store.send(*create[1:], seal)
    settle_down(engine)
    assert engine.read_batch(batch).status == "COMPLETED"
    assert set(engine.statuses(engine.read_batch(batch).runs)) == {"CANCELED"}


def test_children_of_a_run_that_ended_otherwise_go_on(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run())
    engine.end(parent)
    assert engine.cancel(parent.id) == "COMPLETED"
    settle_down(engine)
    assert engine.status(child) == "QUEUED"


def test_a_parent_that_waits_goes_on_when_its_child_is_cancelled(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run())
    engine.wait(parent, child)
    engine.cancel(child)
    assert engine.status(parent.id) == "EXECUTING"
    assert engine.end(parent) == "ok"


def test_cancelling_parent_and_child_together(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run())
    engine.wait(parent, child)
    engine.cancel(parent.id)
    engine.cancel(child)
    settle_down(engine)
    assert engine.statuses([parent.id, child]) == ["CANCELED", "CANCELED"]


def test_the_slot_of_a_cancelled_run_goes_to_one_that_waits_to_go_on(engine: Engine) -> None:
    grant, target = engine.begin(queue="q"), engine.token()
    engine.wait(grant, target)
    holder = engine.begin(queue="q")
    engine.complete(target)
    engine.cancel(holder.id)
    assert engine.status(grant.id) == "EXECUTING"
