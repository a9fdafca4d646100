"""A waiting run whose memory is gone is executed again from the top, as the same attempt."""

from __future__ import annotations

import pytest

from tests.driving import HOUR, LEASE, Engine
from trigger_celery.engine import attempts, sessions
from trigger_celery.engine.attempts import Grant
from trigger_celery.model.ids import token


@pytest.fixture(autouse=True)
def workers(engine: Engine) -> None:
    engine.register("w1", queues={"q": 1})
    engine.register("w2", queues={"q": 1})


def waiting_run(engine: Engine, **options: object) -> tuple[Grant, str]:
    """Return a run that waits for a token on w1."""
    grant = engine.begin(**options)  # type: ignore[arg-type]
    target = engine.token()
    assert engine.wait(grant, target, path="1", call="for_token") == "parked"
    return grant, target


def lose(engine: Engine, grant: Grant, how: str) -> None:
    """Let the memory of a waiting run go."""
    match how:
        case "evicted":
            assert engine.evict(grant) == ["evicted"]
        case "closed":
            assert engine.close("w1") == 1
        case _:
            assert engine.let_lapse("w2").taken == ((grant.id, "WAITING"),)


every_loss = pytest.mark.parametrize("how", ["evicted", "closed", "lapsed"])


@every_loss
def test_it_goes_on_waiting_without_a_worker(engine: Engine, how: str) -> None:
    grant, _ = waiting_run(engine)
    lose(engine, grant, how)
    fields = engine.fields(grant.id)
    assert fields["status"] == "WAITING"
    assert "owner" not in fields
    assert engine.take("w2") == []
    assert engine.read(grant.id).attempts == ()


@every_loss
def test_it_is_executed_again_as_the_same_attempt(engine: Engine, how: str) -> None:
    grant, target = waiting_run(engine)
    lose(engine, grant, how)
    engine.complete(target)
    again = engine.take_one("w2")
    assert (again.id, again.attempt, again.resumed) == (grant.id, 1, True)
    assert engine.record(again).calls == {"1": "for_token"}
    assert engine.wait(again, target, path="1", call="for_token") == "ready"
    assert engine.end(again) == "ok"
    assert engine.end(grant) == "final"


@every_loss
def test_who_had_it_before_cannot_write(engine: Engine, how: str) -> None:
    grant, target = waiting_run(engine)
    lose(engine, grant, how)
    for _ in range(2):
        assert engine.wait(grant, target) == "stale"
        assert engine.park(grant, target).word == "stale"
        assert engine.resume(grant) == "stale"
        assert engine.step(grant, "s#1", "1") is None
        assert engine.end(grant) == "stale"
        engine.complete(target)
    engine.end(engine.take_one("w2"))


def test_it_waits_again_where_it_waited_before(engine: Engine) -> None:
    grant = engine.begin()
    first, second = engine.token(), engine.token()
    engine.wait(grant, first, path="1")
    engine.complete(first)
    engine.wait(grant, second, path="2")
    engine.evict(grant)
    engine.complete(second)
    again = engine.take_one("w2")
    assert [engine.wait(again, first, path="1"), engine.wait(again, second, path="2")] == [
        "ready", "ready",
    ]  # fmt: skip
    third = engine.token()
    assert engine.wait(again, third, path="3") == "parked"
    engine.complete(third)
    assert engine.mail("w2") == [f"resume {grant.id} {third}"]
    assert engine.end(again) == "ok"


def test_it_can_be_lost_again_and_again(engine: Engine) -> None:
    grant = engine.begin()
    for number in range(5):
        target = engine.token()
        assert engine.wait(grant, target, path=str(number)) == "parked"
        engine.evict(grant)
        engine.complete(target)
        grant = engine.take_one()
        assert (grant.attempt, grant.resumed) == (1, True)
        assert len(engine.record(grant).calls) == number + 1
    assert engine.end(grant) == "ok"


def test_with_several_waits_the_first_that_is_done_brings_it_back(engine: Engine) -> None:
    grant = engine.begin()
    first, second = engine.token(), engine.token()
    for path, target in enumerate((first, second)):
        engine.wait(grant, target, path=str(path), park=False)
    engine.park(grant, first, second)
    engine.evict(grant)
    engine.complete(second)
    again = engine.take_one()
    assert engine.wait(again, first, path="0", park=False) == "waiting"
    assert engine.wait(again, second, path="1", park=False) == "ready"
    engine.complete(first)
    assert engine.mail() == [f"done {grant.id} {first}"]


def test_what_is_done_between_losing_the_memory_and_the_replay(engine: Engine) -> None:
    grant = engine.begin()
    first, second = engine.token(), engine.token()
    for path, target in enumerate((first, second)):
        engine.wait(grant, target, path=str(path), park=False)
    engine.park(grant, first, second)
    engine.evict(grant)
    engine.complete(first)
    engine.complete(second)
    again = engine.take_one()
    assert engine.wait(again, first, path="0") == engine.wait(again, second, path="1") == "ready"


def test_it_queues_in_its_old_place_within_the_limits(engine: Engine) -> None:
    grant, target = waiting_run(engine, queue="q")
    engine.clock.advance(1_000)
    engine.evict(grant)
    holder = engine.begin(queue="q")
    later = engine.create(queue="q")
    engine.complete(target)
    assert engine.take("w2") == []
    engine.end(holder)
    assert engine.take_one("w2").id == grant.id
    assert engine.status(later) == "QUEUED"


def test_a_run_that_may_go_on_and_waits_for_a_slot_can_be_evicted(engine: Engine) -> None:
    grant, target = waiting_run(engine, queue="q")
    holder = engine.begin(queue="q")
    engine.complete(target)
    assert engine.evict(grant) == ["evicted"]
    engine.end(holder)
    again = engine.take_one("w2")
    assert (again.id, again.attempt, again.resumed) == (grant.id, 1, True)


@pytest.mark.parametrize("how", ["closed", "lapsed"])
def test_its_worker_is_gone_while_it_waits_for_a_slot(engine: Engine, how: str) -> None:
    grant, target = waiting_run(engine, queue="q")
    holder = engine.begin(queue="q", session="w2")
    engine.complete(target)
    if how == "closed":
        engine.close("w1")
    else:
        engine.let_lapse("w2")
    engine.end(holder)
    again = engine.take_one("w2")
    assert (again.id, again.attempt, again.resumed) == (grant.id, 1, True)


def test_a_run_that_was_told_to_go_on_is_not_evicted(engine: Engine) -> None:
    grant, target = waiting_run(engine)
    engine.complete(target)
    assert engine.evict(grant) == ["granted"]
    assert engine.end(grant) == "ok"


def test_evicting_is_answered_alike_when_the_reply_was_lost(engine: Engine) -> None:
    grant, target = waiting_run(engine)
    assert engine.evict(grant) == engine.evict(grant) == ["evicted"]
    engine.complete(target)
    assert engine.evict(grant) == ["evicted"]
    engine.take_one()
    assert engine.evict(grant) == ["stale"]


def test_hundreds_are_evicted_together(engine: Engine) -> None:
    engine.create_many(450)
    target = engine.token()
    grants = engine.take(want=450)
    for grant in grants:
        engine.wait(grant, target)
    assert engine.evict(*grants) == ["evicted"] * 450
    assert engine.client.exists(engine.key("owned", "w1")) == 0


@pytest.mark.parametrize("how", ["closed", "lapsed"])
def test_a_run_told_to_go_on_when_its_worker_was_gone_already_loses_no_attempt(
    engine: Engine, how: str
) -> None:
    grant, target = waiting_run(engine, max_attempts=1)
    engine.complete(target)  # the message is never read
    if how == "closed":
        engine.close("w1")
    else:
        engine.let_lapse("w2")
    again = engine.take_one("w2")
    assert (again.id, again.attempt, again.resumed) == (grant.id, 1, True)
    assert engine.read(grant.id).attempts == ()


def test_a_run_that_went_on_long_before_its_worker_was_lost_loses_its_attempt(
    engine: Engine,
) -> None:
    grant, target = waiting_run(engine, max_attempts=1)
    engine.complete(target)
    engine.clock.advance(1_000)
    engine.renew("w1")
    engine.let_lapse("w2")
    assert engine.status(grant.id) == "CRASHED"


def test_parent_and_child_on_one_worker_that_is_lost(engine: Engine) -> None:
    parent = engine.begin(max_attempts=1)
    child = engine.child(parent, engine.new_run(max_attempts=1))
    engine.take_one("w1")
    engine.wait(parent, child)
    engine.let_lapse("w2")
    assert engine.status(child) == "CRASHED"
    again = engine.take_one("w2")
    assert (again.id, again.attempt, again.resumed) == (parent.id, 1, True)
    assert engine.wait(again, child) == "ready"


def test_a_lost_run_that_fails_later_gets_its_next_attempt(engine: Engine) -> None:
    grant, target = waiting_run(engine)
    engine.evict(grant)
    engine.complete(target)
    again = engine.take_one()
    assert engine.retry(again, 60_000) == "ok"
    engine.clock.advance(60_001)
    engine.fire()
    fresh = engine.take_one()
    assert (fresh.attempt, fresh.resumed) == (2, False)
    assert engine.record(fresh).calls == {}


def test_a_worker_that_is_lost_in_the_replay_costs_the_attempt(engine: Engine) -> None:
    grant, target = waiting_run(engine, max_attempts=2)
    engine.evict(grant)
    engine.complete(target)
    engine.take_one("w1")
    engine.let_lapse("w2")
    fresh = engine.take_one("w2")
    assert (fresh.attempt, fresh.resumed) == (2, False)
    assert engine.record(fresh).calls == {}
    assert engine.waits_of(grant.id) == set()


def test_a_replay_that_is_given_back_stays_a_replay(engine: Engine) -> None:
    grant, target = waiting_run(engine)
    engine.evict(grant)
    engine.complete(target)
    for start in (True, False, True):
        again = engine.take_one(start=start)
        assert (again.attempt, again.resumed) == (1, True)
        assert engine.back(again) == "ok"
    again = engine.take_one(start=False)
    assert engine.start(again) == 1
    assert engine.end(again) == "ok"


def test_a_replay_that_another_worker_has_not_begun_stays_one(engine: Engine) -> None:
    grant, target = waiting_run(engine)
    engine.evict(grant)
    engine.complete(target)
    engine.take_one("w1", start=False)
    engine.let_lapse("w2")
    again = engine.take_one("w2")
    assert (again.attempt, again.resumed) == (1, True)


def test_a_replay_for_a_worker_without_the_task(engine: Engine) -> None:
    grant, target = waiting_run(engine, task="new")
    engine.evict(grant)
    engine.complete(target)
    engine.unknown(engine.take_one())
    assert engine.status(grant.id) == "PENDING_VERSION"
    engine.register("w3", ["new"])
    again = engine.take_one("w3")
    assert (again.attempt, again.resumed) == (1, True)


def test_a_lost_reply_of_the_dequeue_does_not_hide_that_it_is_a_replay(engine: Engine) -> None:
    grant, target = waiting_run(engine)
    engine.evict(grant)
    engine.complete(target)
    first = engine.dequeue(op="lost").runs
    assert first is not None
    assert first[0].resumed
    assert engine.dequeue(op="lost").runs == first


def test_an_idle_worker_is_woken_for_a_replay(engine: Engine) -> None:
    grant, target = waiting_run(engine)
    engine.evict(grant)
    engine.take("w2")
    engine.complete(target)
    assert engine.mail("w2") == ["work"]


def test_the_owner_hears_of_waiting_runs_it_forgot(engine: Engine) -> None:
    grant, _ = waiting_run(engine)
    (owned,) = engine.run(sessions.owned(engine.scope, "w1")).values()
    assert (owned.epoch, owned.status) == (grant.epoch, "WAITING")


def test_a_wait_of_hours_outlives_every_worker(engine: Engine) -> None:
    grant = engine.begin()
    date = engine.date(HOUR)
    engine.wait(grant, date)
    engine.let_lapse(ms=3 * LEASE)
    engine.clock.advance(HOUR)
    engine.fire()
    assert engine.status(grant.id) == "QUEUED"
    engine.register("w9")
    again = engine.take_one("w9")
    assert (again.id, again.attempt, again.resumed) == (grant.id, 1, True)


def test_a_replay_travels_in_the_mailbox_too(engine: Engine) -> None:
    engine.register("w3", direct=True)
    grant, target = waiting_run(engine)
    engine.evict(grant)
    engine.complete(target)
    engine.close("w1")
    engine.close("w2")
    engine.client.zadd(engine.key("idle", token("celery")), {"w3": 1})
    engine.create()
    (message,) = engine.mail("w3")
    handed = attempts.handed(message.encode())
    assert (handed.id, handed.attempt, handed.resumed) == (grant.id, 1, True)
