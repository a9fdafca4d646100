"""A worker holds its runs by a lease. When it lapses, any other worker's sweeper takes over."""

from __future__ import annotations

import pytest

from tests.driving import DAY, LEASE, Engine
from trigger_celery.engine.services.sweeper import Sweeper
from trigger_celery.model.ids import token


def test_a_session_lives_as_long_as_it_renews(engine: Engine) -> None:
    engine.register()
    engine.sweep()
    for _ in range(10):
        engine.clock.advance(LEASE // 3)
        assert engine.renew()
        assert engine.sweep().sessions_ended == 0


def test_a_session_that_was_ended_cannot_renew_and_gets_no_runs(engine: Engine) -> None:
    engine.register()
    engine.create()
    assert engine.let_lapse().sessions_ended == 1
    assert not engine.renew()
    assert engine.dequeue().runs is None


def test_a_lapsed_session_that_renews_before_the_sweep_keeps_its_runs(engine: Engine) -> None:
    engine.register()
    run = engine.create()
    grant = engine.take_one()
    engine.clock.advance(LEASE + 1)
    assert engine.renew()
    assert engine.end(grant) == "ok"
    assert engine.status(run) == "COMPLETED"


def test_an_unknown_session_cannot_renew(engine: Engine) -> None:
    assert not engine.renew("nobody")
    assert engine.client.dbsize() == 0


def test_a_session_says_what_it_is(engine: Engine) -> None:
    engine.register(worker_queues=("celery", "video"))
    record = engine.client.hgetall(engine.key("worker", "w1"))
    assert record[b"serves"].decode().split() == [token("celery"), token("video")]
    assert record[b"lease"] == b"30000"
    assert 0 < engine.client.pttl(engine.key("worker", "w1")) <= DAY


def test_a_started_run_of_a_lost_worker_gets_a_new_attempt(engine: Engine) -> None:
    engine.register("w1")
    engine.register("w2")
    run = engine.create()
    engine.take_one("w1")
    done = engine.let_lapse("w2")
    assert done.taken == ((run, "QUEUED"),)
    again = engine.take_one("w2")
    assert (again.id, again.attempt) == (run, 2)
    (lost,) = engine.read(run).attempts
    assert lost.error is not None
    assert lost.error.code == "TASK_RUN_WORKER_LOST"


def test_an_unstarted_run_goes_back_to_its_place_without_an_attempt_used(engine: Engine) -> None:
    engine.register("w1")
    engine.register("w2")
    first = engine.create()
    engine.take_one("w1", start=False)
    engine.clock.advance(1)
    second = engine.create()
    engine.let_lapse("w2")
    assert [(g.id, g.attempt) for g in engine.take("w2")] == [(first, 1), (second, 1)]
    assert engine.read(first).attempts == ()


def test_a_zombie_cannot_write(engine: Engine) -> None:
    engine.register("w1")
    engine.register("w2")
    run = engine.create()
    zombie = engine.take_one("w1")
    engine.let_lapse("w2")
    assert engine.end(zombie) == "stale"
    heir = engine.take_one("w2")
    for write in (engine.end, engine.fail, engine.back, engine.unknown):
        assert write(zombie) == "stale"
    assert engine.start(zombie) is None
    assert engine.end(heir, data='"heir"') == "ok"
    assert engine.read(run).output == "heir"


def test_a_worker_lost_in_the_last_attempt_ends_the_run_as_crashed(engine: Engine) -> None:
    engine.register("w1", {"t": 1})
    engine.register("w2", {"t": 1})
    run = engine.create()
    engine.take_one("w1")
    engine.let_lapse("w2")
    crashed = engine.read(run)
    assert crashed.status == "CRASHED"
    assert crashed.error is not None
    assert crashed.error.code == "TASK_RUN_WORKER_LOST"
    assert engine.take("w2") == []


def test_the_runs_own_number_of_attempts_comes_first(engine: Engine) -> None:
    engine.register("w1", {"t": 5})
    engine.register("w2", {"t": 5})
    run = engine.create(max_attempts=1)
    engine.take_one("w1")
    engine.let_lapse("w2")
    assert engine.status(run) == "CRASHED"


def test_the_third_lost_worker_ends_the_run_as_crashed(engine: Engine) -> None:
    engine.register("safe", {"t": 100})
    run = engine.create()
    for number, wanted in ((1, "QUEUED"), (2, "QUEUED"), (3, "CRASHED")):
        engine.register(f"w{number}", {"t": 100})
        engine.take_one(f"w{number}")
        engine.let_lapse("safe")
        assert engine.status(run) == wanted


def test_the_slots_of_a_dead_worker_are_free_within_70_seconds(engine: Engine) -> None:
    engine.register("w1", queues={"q": 1}, limit=1)
    engine.create_many(2, queue="q")
    engine.take_one("w1")
    engine.register("w2", queues={"q": 1}, limit=1)
    sweeper = Sweeper(engine.scope, LEASE, 1000)
    waited = 0.0
    while not (runs := engine.take("w2")):
        pause = engine.run(sweeper.tick())
        engine.clock.advance(round(pause * 1000))
        waited += pause
        engine.renew("w2")
        assert waited <= 70
    assert len(runs) == 1


def test_hundreds_of_runs_are_taken_over_in_bounded_steps(engine: Engine) -> None:
    engine.register("w1")
    runs = engine.create_many(250)
    engine.take("w1", 250)
    engine.register("w1", lease=29_000)
    for _ in range(3):
        engine.sweep()
        engine.clock.advance(10_000)
    sweeps = [engine.sweep() for _ in range(4)]
    assert [len(sweep.taken) for sweep in sweeps] == [100, 100, 50, 0]
    assert [sweep.more for sweep in sweeps] == [True, True, False, False]
    assert set(engine.statuses(runs)) == {"QUEUED"}


def test_nothing_is_taken_for_one_lease_after_the_first_sweep(engine: Engine) -> None:
    engine.register()
    engine.create()
    engine.take_one()
    engine.clock.advance(10 * LEASE)
    assert engine.sweep().held_ms > LEASE - 1000
    for _ in range(2):
        engine.clock.advance(10_000)
        assert engine.sweep().taken == ()
    engine.clock.advance(10_001)
    assert len(engine.sweep().taken) == 1


def test_after_an_outage_live_workers_have_a_lease_to_come_back(engine: Engine) -> None:
    engine.register()
    engine.create()
    grant = engine.take_one()
    engine.sweep()
    engine.clock.advance(10_000)
    engine.sweep()
    engine.clock.advance(600_000)  # the server was away: nobody could renew, nobody could sweep
    assert engine.sweep().taken == ()
    assert engine.renew()
    for _ in range(4):
        engine.clock.advance(10_000)
        assert engine.renew()
        assert engine.sweep().taken == ()
    assert engine.end(grant) == "ok"


def test_a_clock_that_went_back_is_an_outage(engine: Engine) -> None:
    engine.register()
    engine.sweep()
    engine.clock.advance(-100_000)
    assert engine.sweep().held_ms > 0


def test_two_sweepers_take_every_run_once(engine: Engine) -> None:
    engine.register("w1")
    runs = engine.create_many(5)
    engine.take("w1")
    taken = engine.let_lapse().taken + engine.sweep().taken
    assert sorted(taken) == [(run, "QUEUED") for run in runs]


def test_closing_gives_every_run_back(engine: Engine) -> None:
    engine.register("w1")
    engine.register("w2")
    started, unstarted = engine.create_many(2)
    engine.take_one("w1")
    engine.take_one("w1", start=False)
    assert engine.close("w1") == 2
    assert [(g.id, g.attempt) for g in engine.take("w2")] == [(started, 2), (unstarted, 1)]
    (lost,) = engine.read(started).attempts
    assert lost.error is not None
    assert lost.error.code == "TASK_RUN_WORKER_SHUTDOWN"


def test_closing_hundreds_of_runs(engine: Engine) -> None:
    engine.register("w1")
    engine.create_many(250)
    engine.take("w1", 250)
    assert engine.close("w1") == 250
    assert engine.client.zcard(engine.key("slots")) == 0


def test_a_shutdown_does_not_count_as_a_lost_worker(engine: Engine) -> None:
    run = engine.create(max_attempts=10)
    for number in range(4):
        engine.register(f"w{number}")
        engine.take_one(f"w{number}")
        engine.close(f"w{number}")
    assert engine.status(run) == "QUEUED"


@pytest.mark.parametrize("end", ["close", "sweep"])
def test_nothing_is_left_of_a_session(engine: Engine, end: str) -> None:
    engine.register()
    assert engine.take() == []
    engine.create()
    if end == "close":
        engine.close()
        engine.close()
    else:
        engine.let_lapse()
    assert not [name for name in engine.client.scan_iter() if b"w1" in name]
    assert engine.members("workers") == engine.members("idle", token("celery")) == []


def test_registering_again_after_the_lease_was_lost(engine: Engine) -> None:
    engine.register()
    engine.let_lapse()
    engine.register()
    run = engine.create()
    assert engine.take_one().id == run
    assert engine.renew()


def test_the_sweeper_looks_every_sixth_of_a_lease_and_at_once_when_there_is_more(
    engine: Engine,
) -> None:
    assert engine.run(Sweeper(engine.scope, 30_000, 1000).tick()) == 5.0
    assert engine.run(Sweeper(engine.scope, 3_000, 1000).tick()) == 0.5
    assert engine.run(Sweeper(engine.scope, 60, 1000).tick()) == 0.05
