"""Waitpoints and batches leave after their retention, but not what a run may ask for again."""

from __future__ import annotations

import pytest

from tests.driving import DAY, HOUR, RETENTION, Engine
from trigger_celery.errors import TokenNotFoundError

LARGE = '"' + "x" * 1000 + '"'


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def names(engine: Engine, part: str) -> set[str]:
    """Return the kinds of key that *part* is in the name of."""
    found = [name.decode() for name in engine.client.scan_iter() if part.encode() in name]
    return {name.removeprefix(engine.scope + ":").split(":")[0] for name in found}


def test_a_token_that_is_completed_leaves_after_its_retention(engine: Engine) -> None:
    token = engine.token(tags=("a",))
    engine.complete(token, LARGE)
    assert names(engine, token) == {"waitpoint", "waitpoint_output"}
    for kind in ("waitpoint", "waitpoint_output"):
        assert RETENTION < engine.client.pttl(engine.key(kind, token)) <= RETENTION + 7 * DAY
    engine.clock.advance(RETENTION - 10_000)
    assert engine.prune() == 0
    engine.clock.advance(10_001)
    assert engine.prune() == 1
    assert names(engine, token) == set()
    assert engine.members("tokens") == []
    with pytest.raises(TokenNotFoundError, match="its retention has passed"):
        engine.read_token(token)


def test_a_token_that_times_out_and_a_date_leave_too(engine: Engine) -> None:
    waitpoints = [engine.token(HOUR), engine.date(HOUR)]
    engine.clock.advance(HOUR + 1)
    engine.fire()
    engine.clock.advance(RETENTION + 1)
    assert engine.prune() == 2
    assert [names(engine, waitpoint) for waitpoint in waitpoints] == [set(), set()]


def test_what_is_still_waited_for_stays_however_long(engine: Engine) -> None:
    token = engine.token(300 * DAY)
    engine.clock.advance(299 * DAY)
    engine.fire()
    assert engine.prune() == 0
    assert engine.read_token(token).status == "WAITING"


def test_a_key_of_a_token_that_is_gone_makes_a_new_one(engine: Engine) -> None:
    token = engine.token(key="k")
    engine.complete(token)
    engine.clock.advance(RETENTION + 1)
    engine.prune()
    assert engine.token(key="k") != token


def test_a_batch_leaves_with_all_that_names_it(engine: Engine) -> None:
    batch = engine.batch([engine.new_run() for _ in range(3)])
    for grant in engine.take():
        engine.end(grant)
    engine.clock.advance(RETENTION + 1)
    assert engine.prune() == 4
    assert names(engine, batch) == set()


def test_a_batch_that_was_given_up_leaves(engine: Engine) -> None:
    batch, (announce, *_) = engine.batch_calls([engine.new_run()])
    engine.store.send(announce)
    assert names(engine, batch) == {"batch", "batch_runs", "batch_left"}
    engine.clock.advance(HOUR)
    engine.fire()
    engine.clock.advance(RETENTION + 1)
    assert engine.prune() == 1
    assert names(engine, batch) == set()


def test_a_run_that_waited_for_everything_leaves_nothing(engine: Engine) -> None:
    parent = engine.begin()
    token, date = engine.token(), engine.date(HOUR)
    batch = engine.batch([engine.new_run(), engine.new_run()], parent)
    child = engine.child(parent, engine.new_run(), "9", "child")
    for target in (token, date, batch, child):
        engine.wait(parent, target, park=False)
    engine.step(parent, "s#1", LARGE)
    for grant in engine.take():
        engine.end(grant)
    engine.complete(token)
    engine.clock.advance(HOUR + 1)
    engine.fire()
    engine.end(parent)
    engine.clock.advance(RETENTION + 1)
    assert engine.prune() == 7
    engine.mail()
    for part in ("run_", "waitpoint_", "batch_"):
        left = {name for name in names(engine, part) if name not in ("index_task", "index_status")}
        assert left == set()


def test_a_wait_of_thirty_days_behind_other_waits_is_replayed_whole(engine: Engine) -> None:
    """What the run waited for in its first hour is asked for again after a month."""
    parent = engine.begin()
    token, child = engine.token(), engine.child(parent, engine.new_run(), "2", "child")
    engine.end(engine.take_one(), data='"label"')
    batch = engine.batch([engine.new_run()], parent)
    engine.end(engine.take_one())
    engine.complete(token, '"yes"')
    done = (token, child, batch)
    assert [engine.wait(parent, target) for target in done] == ["ready"] * 3
    long = engine.date(30 * DAY)
    assert engine.wait(parent, long) == "parked"
    engine.evict(parent)
    for _ in range(30):
        engine.clock.advance(DAY)
        engine.fire()
        while engine.prune() == 100:
            pass
    engine.clock.advance(1)
    engine.fire()
    again = engine.take_one()
    assert [engine.wait(again, target) for target in (*done, long)] == ["ready"] * 4
    assert engine.read_token(token).output == "yes"
    assert engine.read(child).output == "label"
    assert engine.client.pttl(engine.key("run", child)) > 7 * DAY
    engine.end(again)
    engine.clock.advance(RETENTION + DAY + 1)
    while engine.prune():
        pass
    assert names(engine, "run_") | names(engine, "waitpoint_") | names(engine, "batch_") <= {
        "index_task", "index_status",
    }  # fmt: skip


def test_a_token_that_several_runs_waited_for_stays_for_the_last_of_them(engine: Engine) -> None:
    token = engine.token()
    grants = [engine.begin() for _ in range(3)]
    for grant in grants:
        engine.wait(grant, token)
    engine.complete(token)
    for grant in (grants[0], grants[2]):
        engine.end(grant)
    engine.clock.advance(RETENTION + 1)
    engine.prune()
    assert engine.read_token(token).status == "COMPLETED"
    engine.end(grants[1])
    engine.clock.advance(DAY + 1)
    engine.prune()
    assert names(engine, token) == set()


def test_a_child_of_a_run_that_has_ended_leaves_at_its_time(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, engine.new_run())
    engine.end(engine.take_one())
    engine.end(parent)
    engine.clock.advance(RETENTION + 1)
    assert engine.prune() == 2
    assert names(engine, child) == names(engine, parent.id) == set()


def test_a_batch_may_take_longer_than_the_retention_of_its_runs(engine: Engine) -> None:
    batch = engine.batch([engine.new_run(), engine.new_run(delay=30 * DAY)])
    first = engine.take_one()
    engine.end(first)
    engine.clock.advance(RETENTION + 1)
    engine.prune()
    assert engine.status(first.id) == ""
    engine.clock.advance(30 * DAY)
    engine.fire()
    engine.end(engine.take_one())
    assert engine.read_batch(batch).status == "COMPLETED"
