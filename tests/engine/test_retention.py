"""What has ended is kept for its retention and then leaves, with everything that names it."""

from __future__ import annotations

import pytest

from tests.driving import DAY, RETENTION, Engine, origin
from trigger_celery.engine import querying
from trigger_celery.engine.services.pruner import Pruner
from trigger_celery.errors import RunNotFoundError
from trigger_celery.model.ids import token

LARGE = '"' + "x" * 1000 + '"'


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def keys_of(engine: Engine, run: str) -> set[str]:
    names = [name.decode() for name in engine.client.scan_iter() if run.encode() in name]
    return {name.removeprefix(engine.scope + ":").split(":")[0] for name in names}


def full_run(engine: Engine) -> str:
    """A run that uses every kind of key a run may have."""
    run = engine.create(
        queue="q", key="k", payload=LARGE, metadata='{"a":1}', tags=("x", "y"), max_attempts=5
    )
    grant = engine.take_one()
    engine.retry(grant, 0)
    engine.run(querying.read_run(engine.scope, run, "news"))
    engine.end(grant, data=LARGE)
    return run


def test_all_of_a_final_run_has_a_ttl_behind_its_retention(engine: Engine) -> None:
    run = full_run(engine)
    for kind in ("run", "payload", "output", "metadata", "attempts"):
        assert RETENTION < engine.client.pttl(engine.key(kind, run)) <= RETENTION + 7 * DAY, kind


@pytest.mark.parametrize("end", ["failed", "cancelled", "crashed"])
def test_however_it_ends(engine: Engine, end: str) -> None:
    run = engine.create(payload=LARGE, metadata="{}", max_attempts=1)
    if end == "cancelled":
        engine.cancel(run)
    else:
        grant = engine.take_one()
        if end == "failed":
            engine.fail(grant)
        else:
            engine.close()
            assert engine.status(run) == "CRASHED"
    for kind in ("run", "payload", "error", "metadata"):
        assert RETENTION < engine.client.pttl(engine.key(kind, run)) <= RETENTION + 7 * DAY, kind


def test_a_final_run_stays_until_its_retention_has_passed(engine: Engine) -> None:
    run = full_run(engine)
    engine.clock.advance(RETENTION - 10_000)
    assert engine.prune() == 0
    assert engine.read(run).output == "x" * 1000


def test_afterwards_nothing_names_it(engine: Engine) -> None:
    run = full_run(engine)
    assert keys_of(engine, run) == {"run", "payload", "output", "metadata", "attempts", "watch"}
    engine.clock.advance(RETENTION + 1)
    assert engine.prune() == 1
    assert keys_of(engine, run) == set()
    with pytest.raises(RunNotFoundError, match="its retention has passed"):
        engine.read(run)


def test_a_run_that_has_not_ended_is_never_removed(engine: Engine) -> None:
    runs = [engine.create(), engine.create(delay=20 * RETENTION)]
    engine.take_one()
    engine.clock.advance(10 * RETENTION)
    assert engine.prune() == 0
    assert engine.statuses(runs) == ["EXECUTING", "DELAYED"]


def test_runs_leave_in_bounded_steps(engine: Engine) -> None:
    engine.create_many(250)
    for grant in engine.take(want=250):
        engine.end(grant)
    engine.clock.advance(RETENTION + 1)
    assert [engine.prune() for _ in range(4)] == [100, 100, 50, 0]


def test_the_pruner_goes_on_at_once_while_there_is_more(engine: Engine) -> None:
    for run in engine.create_many(150):
        engine.cancel(run)
    engine.clock.advance(RETENTION + 1)
    pruner = Pruner(engine.scope)
    assert [engine.run(pruner.tick()) for _ in range(2)] == [0.01, 10.0]


def test_runs_that_an_earlier_attempt_made_are_forgotten_with_the_run(engine: Engine) -> None:
    grant = engine.begin()
    child = engine.trigger(engine.new_run(), origin(grant, "1", "make")).id
    engine.retry(grant, 0)
    engine.end(grant)
    engine.cancel(child)
    assert engine.client.pttl(engine.key("children", grant.id)) > 0


def test_records_that_expired_while_no_worker_ran_leave_the_indexes(engine: Engine) -> None:
    """Nobody pruned them in time: their records are gone, by their TTL."""
    lost, kept = full_run(engine), engine.create(queue="q")
    engine.client.delete(*(engine.key(kind, lost) for kind in ("run", "payload", "output")))
    engine.clock.advance(RETENTION + 8 * DAY)
    assert engine.prune() == 1
    named = {
        name.decode().removeprefix(engine.scope + ":").split(":")[0]
        for name in engine.client.scan_iter(f"{engine.scope}:index_*")
        if lost.encode() in engine.client.zrange(name, 0, -1)
    }
    assert named <= {"index_tag"}
    assert engine.client.zrange(engine.key("index_task", token("t")), 0, -1) == [kept.encode()]
    for name in engine.client.scan_iter(f"{engine.scope}:index_tag:*"):
        engine.client.delete(name)
