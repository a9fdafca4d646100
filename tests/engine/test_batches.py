"""Runs that are made, read and waited for together."""

from __future__ import annotations

import pytest

from tests.driving import ERROR, HOUR, RETENTION, Engine
from trigger_celery.engine.triggering import NewRun
from trigger_celery.errors import BatchNotFoundError
from trigger_celery.model.batch import BatchItemError

MINUTE = 60_000


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def new_runs(engine: Engine, count: int, **options: object) -> list[NewRun]:
    return [engine.new_run(**options) for _ in range(count)]  # type: ignore[arg-type]


def test_a_batch_is_over_when_all_of_its_runs_are(engine: Engine) -> None:
    runs = new_runs(engine, 3)
    batch = engine.read_batch(engine.batch(runs))
    assert (batch.status, batch.run_count) == ("PROCESSING", 3)
    assert batch.runs == tuple(run.id for run in runs)
    first, second, third = engine.take()
    engine.end(first)
    engine.fail(second)
    assert engine.read_batch(batch.id).status == "PROCESSING"
    engine.cancel(third.id)
    over = engine.read_batch(batch.id)
    assert (over.status, over.errors) == ("COMPLETED", ())
    assert over.completed_at is not None


def test_its_runs_know_their_batch(engine: Engine) -> None:
    batch = engine.batch(new_runs(engine, 2))
    assert [grant.batch_id for grant in engine.take()] == [batch, batch]
    assert {engine.read(run).batch_id for run in engine.read_batch(batch).runs} == {batch}


def test_a_run_waits_for_a_batch(engine: Engine) -> None:
    parent = engine.begin()
    batch = engine.batch(new_runs(engine, 3), parent)
    assert engine.wait(parent, batch) == "parked"
    children = engine.take()
    assert {child.parent_id for child in children} == {parent.id}
    for child in children:
        assert engine.status(parent.id) == "WAITING"
        engine.end(child)
    assert engine.mail() == [f"resume {parent.id} {batch}"]


def test_a_batch_that_is_over_is_not_waited_for(engine: Engine) -> None:
    parent = engine.begin()
    batch = engine.batch(new_runs(engine, 1), parent)
    engine.end(engine.take_one())
    assert engine.wait(parent, batch) == "ready"


def test_a_batch_of_nothing_is_over_at_once(engine: Engine) -> None:
    assert engine.read_batch(engine.batch([])).status == "COMPLETED"


def test_a_thousand_runs_in_the_order_of_their_items(engine: Engine) -> None:
    runs = [engine.new_run("t" if number % 3 else "u") for number in range(1000)]
    batch = engine.batch(runs)
    assert engine.read_batch(batch).runs == tuple(run.id for run in runs)
    assert engine.client.scard(engine.key("batch_left", batch)) == 1000


def test_an_item_that_could_not_be_triggered(engine: Engine) -> None:
    parent = engine.begin()
    good, bad = engine.new_run(), engine.new_run(failed=ERROR)
    error = BatchItemError(1, "t", "no such payload", "INVALID_PAYLOAD")
    batch = engine.batch([good, bad], parent, [error])
    assert engine.wait(parent, batch) == "parked"
    assert engine.status(bad.id) == "SYSTEM_FAILURE"
    engine.end(engine.take_one())
    over = engine.read_batch(batch)
    assert (over.status, over.errors) == ("PARTIAL_FAILED", (error,))
    failed = engine.read(bad.id)
    assert failed.error is not None
    assert (failed.error.message, failed.payload) == ("no", None)
    assert engine.mail() == [f"resume {parent.id} {batch}"]


def test_a_batch_in_which_nothing_could_be_triggered(engine: Engine) -> None:
    error = BatchItemError(0, "t", "no", "INVALID_PAYLOAD")
    batch = engine.batch([engine.new_run(failed=ERROR)], None, [error])
    assert engine.read_batch(batch).status == "PARTIAL_FAILED"
    assert engine.take() == []


def test_runs_that_end_while_others_are_still_created_do_not_end_the_batch(
    engine: Engine,
) -> None:
    runs = new_runs(engine, 2)
    batch, (announce, create, seal) = engine.batch_calls(runs)
    engine.store.send(announce, create)
    for grant in engine.take():
        engine.end(grant)
    assert engine.read_batch(batch).status == "PROCESSING"
    engine.store.send(seal)
    assert engine.read_batch(batch).status == "COMPLETED"


def test_a_batch_that_broke_off_is_completed_by_sending_it_again(engine: Engine) -> None:
    runs = [*new_runs(engine, 2), *new_runs(engine, 2, task="u")]
    batch, calls = engine.batch_calls(runs)
    engine.store.send(*calls[:2])
    engine.store.send(*calls)
    engine.store.send(*calls)
    assert engine.read_batch(batch).run_count == 4
    assert len(engine.take()) == 4


def test_a_batch_of_which_some_runs_were_not_created_is_not_sealed(engine: Engine) -> None:
    batch, (announce, *_, seal) = engine.batch_calls(new_runs(engine, 2))
    engine.store.send(announce, seal)
    assert engine.client.zscore(engine.key("timers"), f"batch:{batch}") is not None


def test_a_batch_whose_caller_died_is_given_up_after_30_minutes(engine: Engine) -> None:
    waits = engine.begin()
    batch, (announce, create, *_) = engine.batch_calls(
        [*new_runs(engine, 1), *new_runs(engine, 1, task="u")]
    )
    engine.store.send(announce, create)
    assert engine.wait(waits, batch) == "parked"
    engine.clock.advance(29 * MINUTE)
    engine.fire()
    assert engine.read_batch(batch).status == "PROCESSING"
    engine.clock.advance(MINUTE + 1)
    engine.fire()
    assert engine.read_batch(batch).status == "ABORTED"
    assert engine.mail() == [f"resume {waits.id} {batch}"]
    created = engine.take_one()
    assert engine.end(created) == "ok"
    assert engine.read_batch(batch).status == "ABORTED"
    assert engine.seal(batch) == "ABORTED"


def test_a_sealed_batch_is_not_given_up_however_long_it_takes(engine: Engine) -> None:
    batch = engine.batch(new_runs(engine, 1, delay=100 * HOUR))
    engine.clock.advance(99 * HOUR)
    engine.fire()
    assert engine.read_batch(batch).status == "PROCESSING"


def test_runs_that_ended_before_their_batch_was_announced(engine: Engine) -> None:
    """As when the server did not know the script that announces, and the others."""
    batch, (announce, create, seal) = engine.batch_calls(new_runs(engine, 2))
    engine.store.send(create)
    first, second = engine.take()
    engine.end(first)
    engine.store.send(announce, create, seal)
    assert engine.read_batch(batch).status == "PROCESSING"
    engine.end(second)
    assert engine.read_batch(batch).status == "COMPLETED"


def test_a_retry_of_a_run_does_not_end_its_batch(engine: Engine) -> None:
    batch = engine.batch(new_runs(engine, 1))
    grant = engine.take_one()
    engine.retry(grant, 0)
    assert engine.read_batch(batch).status == "PROCESSING"
    engine.end(grant)
    assert engine.read_batch(batch).status == "COMPLETED"


def test_batches_of_other_tasks_queues_and_delays(engine: Engine) -> None:
    runs = [
        engine.new_run(queue="q", key="k"),
        engine.new_run("u", priority=5),
        engine.new_run(delay=HOUR),
    ]
    batch = engine.batch(runs)
    for _ in range(2):
        for grant in engine.take():
            engine.end(grant)
        engine.clock.advance(HOUR + 1)
        engine.fire()
    assert engine.read_batch(batch).status == "COMPLETED"


def test_a_batch_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(BatchNotFoundError, match="its retention has passed"):
        engine.read_batch("batch_" + "0" * 26)
    assert engine.seal("batch_" + "0" * 26) == "gone"


def test_all_of_a_batch_that_is_over_has_a_ttl(engine: Engine) -> None:
    batch = engine.batch(new_runs(engine, 1))
    assert engine.client.pttl(engine.key("batch", batch)) == -1
    engine.end(engine.take_one())
    for kind in ("batch", "batch_runs"):
        assert engine.client.pttl(engine.key(kind, batch)) > RETENTION
