"""A trigger with an idempotency key makes one run, and finds it afterwards."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

from tests.driving import DAY, ERROR, HOUR, RETENTION, Engine, origin
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import admission, triggering
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.triggering import NewRun
from trigger_celery.model.idempotency import DEFAULT_TTL_MS, scoped_key
from trigger_celery.model.trigger_options import Debounce
from trigger_celery.store.store import Store

KEY = scoped_key(["order", "7"], "global")


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register("w1", ["t", "u", "p"])


def keyed(engine: Engine, text: str = "k", *, ttl: int = DEFAULT_TTL_MS, **options: Any) -> NewRun:
    extras = Extras(key=scoped_key([text], "global"), key_ttl_ms=ttl)
    return engine.new_run(extras=extras, **options)


def ended(engine: Engine, status: str) -> str:
    """Return a run with the key that ended so."""
    run = engine.trigger(keyed(engine)).id
    if status == "CANCELED":
        engine.cancel(run)
        return run
    if status == "CRASHED":
        engine.end(engine.take_one(), "lost", "", ERROR)
        return run
    grant = engine.take_one()
    assert engine.end(grant) if status == "COMPLETED" else engine.fail(grant, status)
    assert engine.status(run) == status
    return run


def test_the_second_trigger_gets_the_run_of_the_first(engine: Engine) -> None:
    first = engine.trigger(keyed(engine, payload='"one"'))
    assert first.is_cached is False
    second = engine.trigger(keyed(engine, payload='"two"', tags=["x"], delay=HOUR))
    assert second == (first.id, True)
    assert engine.read(first.id).payload == "one"
    assert engine.read(first.id).tags == ()
    assert engine.trigger(keyed(engine, "other")).is_cached is False


def test_a_key_counts_per_task(engine: Engine) -> None:
    first = engine.trigger(keyed(engine))
    assert engine.trigger(keyed(engine, task="u")).id != first.id


@pytest.mark.parametrize("status", ["COMPLETED", "CANCELED"])
def test_a_run_that_ended_well_is_found(engine: Engine, status: str) -> None:
    run = ended(engine, status)
    assert engine.trigger(keyed(engine)) == (run, True)


@pytest.mark.parametrize("status", ["FAILED", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT"])
def test_a_run_that_failed_gives_its_key_away(engine: Engine, status: str) -> None:
    run = ended(engine, status)
    again = engine.trigger(keyed(engine))
    assert (again.is_cached, again.id != run) == (False, True)
    assert engine.trigger(keyed(engine)) == (again.id, True)


def test_runs_in_every_state_before_the_end_are_found(engine: Engine) -> None:
    run = engine.trigger(keyed(engine, delay=1000)).id
    assert engine.trigger(keyed(engine)) == (run, True)
    engine.clock.advance(1001)
    engine.fire()
    assert engine.trigger(keyed(engine)) == (run, True)
    grant = engine.take_one()
    assert engine.trigger(keyed(engine)) == (run, True)
    engine.wait(grant, engine.token())
    assert engine.status(run) == "WAITING"
    assert engine.trigger(keyed(engine)) == (run, True)


def test_the_key_counts_for_its_time_from_the_creation(engine: Engine) -> None:
    run = engine.trigger(keyed(engine, ttl=60_000)).id
    name = engine.key("idem", admission.key_digest("t", scoped_key(["k"], "global")))
    assert 59_000 < engine.client.pttl(name) <= 60_000
    engine.clock.advance(30_000)
    assert engine.trigger(keyed(engine, ttl=DAY)) == (run, True)  # a hit does not prolong it
    engine.clock.advance(29_500)
    assert engine.trigger(keyed(engine)) == (run, True)
    engine.clock.advance(600)
    assert engine.trigger(keyed(engine)).is_cached is False


def test_the_key_goes_with_its_run(engine: Engine) -> None:
    ended(engine, "COMPLETED")
    engine.clock.advance(RETENTION + 1)
    engine.prune()
    assert not list(engine.client.scan_iter(match="*:idem:*"))
    assert engine.trigger(keyed(engine)).is_cached is False


def test_the_run_shows_the_text_of_the_key(engine: Engine) -> None:
    run = engine.read(engine.trigger(engine.new_run(extras=Extras(key=KEY))).id)
    assert (run.idempotency_key, run.idempotency_key_scope) == ("order-7", "global")
    assert '"key":"order-7"' in engine.take_one().options


def test_a_repeated_call_is_no_hit(engine: Engine) -> None:
    new = keyed(engine)
    assert engine.trigger(new) == engine.trigger(new) == (new.id, False)
    other = keyed(engine)
    assert engine.trigger(other) == engine.trigger(other) == (new.id, True)


def test_reset_frees_the_key_and_leaves_the_run(engine: Engine) -> None:
    key = scoped_key(["k"], "global")
    assert engine.run(admission.reset_key(engine.scope, "t", key)) is False
    run = engine.trigger(keyed(engine)).id
    [call] = list(admission.reset_key(engine.scope, "t", key))
    assert engine.store.send(call, call) == [b"ok", b"ok"], "a repeat is answered as before"
    assert engine.status(run) == "QUEUED"
    assert engine.run(admission.reset_key(engine.scope, "t", key)) is False
    assert engine.trigger(keyed(engine)).is_cached is False


def test_two_parents_wait_for_one_child(engine: Engine) -> None:
    first, second = engine.begin("p"), engine.begin("p")
    child = engine.trigger(keyed(engine), origin(first, "1", "make"))
    found = engine.trigger(keyed(engine), origin(second, "1", "make"))
    assert found == (child.id, True)
    assert engine.wait(first, child.id, path="2") == "parked"
    assert engine.wait(second, child.id, path="2") == "parked"
    engine.end(engine.take_one())
    engine.status(child.id)
    assert {engine.status(first.id), engine.status(second.id)} == {"EXECUTING"}


def test_a_replayed_run_gets_the_run_that_it_got_before(engine: Engine) -> None:
    engine.trigger(keyed(engine))
    other = engine.take_one()
    grant = engine.begin("p")
    mine = keyed(engine)
    assert engine.trigger(mine, origin(grant, "1", "make")) == (other.id, True)
    engine.fail(other)
    for _ in range(2):  # by now the key would make a new one
        assert engine.trigger(mine, origin(grant, "1", "make")) == (other.id, True)
    assert engine.record(grant).calls == {"1": f"make\x1f{other.id}"}
    made = engine.trigger(keyed(engine), origin(grant, "2", "make"))
    assert made.is_cached is False


def test_the_same_key_twice_in_one_batch_is_one_run(engine: Engine) -> None:
    new = [keyed(engine), engine.new_run(), keyed(engine), keyed(engine)]
    batch = engine.batch(new)
    runs = engine.read_batch(batch).runs
    assert runs == (new[0].id, new[1].id, new[0].id, new[0].id)
    for grant in engine.take():
        engine.end(grant)
    assert engine.read_batch(batch).status == "COMPLETED"


def test_a_batch_counts_runs_that_it_did_not_make(engine: Engine) -> None:
    parent = engine.begin("p")
    running = engine.trigger(keyed(engine)).id
    done = ended_with(engine, "done")
    new = [keyed(engine), keyed(engine, "done"), engine.new_run()]
    batch = engine.batch(new, parent)
    other = engine.batch([keyed(engine)])
    assert engine.read_batch(batch).runs == (running, done, new[2].id)
    assert engine.wait(parent, batch) == "parked"
    grants = {grant.id: grant for grant in engine.take()}
    engine.end(grants[new[2].id])
    assert engine.read_batch(batch).status == "PROCESSING"
    engine.end(grants[running])
    assert engine.read_batch(batch).status == "COMPLETED"
    assert engine.read_batch(other).status == "COMPLETED"
    assert engine.status(parent.id) == "EXECUTING"


def ended_with(engine: Engine, text: str) -> str:
    run = engine.trigger(keyed(engine, text, task="t", priority=HOUR)).id
    engine.end(engine.take_one())
    assert engine.status(run) == "COMPLETED"
    return run


def test_the_runs_of_a_batch_may_be_cancelled_or_lost_or_expire(engine: Engine) -> None:
    runs = [engine.trigger(keyed(engine, text)).id for text in "ab"]
    expiring = keyed(engine, "c")
    assert expiring.extras is not None
    expiring.extras.ttl_ms = 1000
    runs.append(engine.trigger(expiring).id)
    batch = engine.batch([keyed(engine, text) for text in "abc"])
    engine.cancel(runs[0])
    engine.end(engine.take_one(), "lost", "", ERROR)
    assert engine.read_batch(batch).status == "PROCESSING"
    engine.clock.advance(1001)
    engine.fire()
    assert engine.read_batch(batch).status == "COMPLETED"


def test_calls_of_a_batch_that_are_sent_again_change_nothing(engine: Engine) -> None:
    engine.trigger(keyed(engine))
    batch, calls = engine.batch_calls([keyed(engine), engine.new_run(), keyed(engine)])
    engine.store.send(*calls)
    runs = engine.read_batch(batch).runs
    first = engine.take_one()
    engine.fail(first)
    for call in calls:
        engine.store.send(call)
    assert engine.read_batch(batch).runs == runs
    engine.end(engine.take_one())
    assert engine.take() == []
    assert engine.read_batch(batch).status == "COMPLETED"


def test_a_run_does_not_wait_for_itself_through_a_batch(engine: Engine) -> None:
    parent = engine.trigger(keyed(engine, "me"))
    grant = engine.take_one()
    assert grant.id == parent.id
    batch = engine.batch([keyed(engine, "me"), engine.new_run()], grant)
    assert engine.wait(grant, batch) == "cycle"


def test_a_parent_that_has_ended_gets_its_child(engine: Engine) -> None:
    grant = engine.begin("p")
    engine.end(grant)
    child = engine.trigger(keyed(engine))
    assert engine.trigger(keyed(engine), origin(grant, "1", "make")) == (child.id, True)


def trigger_at_once(url: str, scope: str, start: Any, answers: Any) -> None:
    """Trigger with a key and with a debounce key, in a process of its own."""
    store = Store(url, scope)
    store.run_sync(triggering.create_run(scope, Engine.new_run("warm-up"), RETENTION))
    start.wait()
    for extras in (Extras(key=KEY), Extras(debounce=Debounce("d", 60_000))):
        new = Engine.new_run(extras=extras, delay=60_000)
        answers.put(store.run_sync(triggering.create_run(scope, new, RETENTION)))
    store.close()


def test_fifty_processes_at_once_make_one_run(server: EmbeddedServer, engine: Engine) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(50), context.Queue()
    given = (server.url, engine.scope, start, answers)
    processes = [context.Process(target=trigger_at_once, args=given) for _ in range(50)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in range(100)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len({run for run, _ in found}) == 2
    assert sum(not is_cached for _, is_cached in found) == 2
    assert len(engine.members("index_status", "DELAYED")) == 2


def test_what_an_item_of_a_batch_hits_is_kept_as_long_as_the_run_that_made_the_batch(
    engine: Engine,
) -> None:
    engine.register("w1", ["t", "c"])
    keyed = [engine.new_run("c", extras=Extras(key=scoped_key(["k"], "global"))) for _ in range(2)]
    old = engine.trigger(keyed[0]).id
    engine.end(engine.take_one())
    parent = engine.begin()
    assert engine.read_batch(engine.batch(keyed[1:], parent)).runs == (old,)
    engine.clock.advance(RETENTION + HOUR)
    engine.prune()
    assert engine.status(old) == "COMPLETED"
    engine.end(parent)


def test_a_run_with_very_many_keepers_is_pruned_in_the_end(engine: Engine) -> None:
    run = engine.begin().id
    engine.cancel(run)
    engine.client.sadd(engine.key("keepers", run), *[f"run_{n}" for n in range(500)])
    engine.clock.advance(RETENTION + 1)
    assert engine.prune() == 1
    assert engine.fields(run)
    for _ in range(2):
        engine.clock.advance(2000)
        engine.prune()
    assert engine.fields(run) == {}
