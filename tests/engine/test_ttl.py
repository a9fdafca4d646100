"""A run that is not begun within its TTL expires; DELAYED runs can be rescheduled."""

from __future__ import annotations

import pytest

from tests.driving import DAY, HOUR, LEASE, Engine
from trigger_celery.engine import admission, sessions
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.triggering import NewRun
from trigger_celery.model.duration import Delay
from trigger_celery.model.idempotency import scoped_key

TTL = 60_000


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def mortal(engine: Engine, ttl: int = TTL, **options: object) -> NewRun:
    return engine.new_run(extras=Extras(ttl_ms=ttl), **options)  # type: ignore[arg-type]


def expire_timers(engine: Engine) -> list[str]:
    return [name for name in engine.members("timers") if name.startswith("expire:")]


def pass_time(engine: Engine, ms: int) -> None:
    engine.clock.advance(ms)
    engine.fire()


def test_a_run_that_nobody_begins_expires(engine: Engine) -> None:
    run = engine.trigger(mortal(engine, metadata="{}", payload='"' + "x" * 99 + '"')).id
    pass_time(engine, TTL - 500)
    assert engine.status(run) == "QUEUED"
    pass_time(engine, 501)
    found = engine.read(run)
    assert (found.status, found.ttl) == ("EXPIRED", "1m")
    assert found.expired_at == found.finished_at is not None
    assert found.error is not None
    assert found.error.message == "Run expired because the TTL (1m) was reached"
    assert engine.take() == []


@pytest.mark.parametrize("start", [True, False])
def test_a_run_that_was_taken_does_not_expire_any_more(engine: Engine, start: bool) -> None:
    run = engine.trigger(mortal(engine)).id
    grant = engine.take_one(start=start)
    assert expire_timers(engine) == []
    if start:
        engine.retry(grant, LEASE)
        pass_time(engine, LEASE)
    else:
        engine.back(grant)
    assert engine.status(run) == "QUEUED"
    assert expire_timers(engine) == []
    pass_time(engine, 2 * TTL)
    assert engine.status(run) == "QUEUED"


def test_a_run_is_not_begun_after_its_ttl_though_nobody_has_ended_it_yet(engine: Engine) -> None:
    late = [engine.trigger(mortal(engine)).id for _ in range(2)]
    good = engine.trigger(engine.new_run()).id
    engine.clock.advance(TTL)
    assert [grant.id for grant in engine.take()] == [good]
    engine.fire()
    assert {engine.status(run) for run in late} == {"EXPIRED"}


def test_a_run_handed_over_at_once_has_no_timer(engine: Engine) -> None:
    engine.register(direct=True)
    assert engine.take() == []
    run = engine.trigger(mortal(engine)).id
    assert engine.status(run) == "EXECUTING"
    assert engine.members("timers") == []


def test_the_ttl_counts_after_the_delay(engine: Engine) -> None:
    run = engine.trigger(mortal(engine, delay=HOUR)).id
    assert expire_timers(engine) == []
    pass_time(engine, HOUR + TTL // 2)
    assert (engine.status(run), expire_timers(engine)) == ("QUEUED", [f"expire:{run}"])
    pass_time(engine, TTL // 2 + 1)
    assert engine.status(run) == "QUEUED", "it was queued later than it was due"
    pass_time(engine, TTL)
    assert engine.status(run) == "EXPIRED"


def test_a_cancelled_run_leaves_no_timer(engine: Engine) -> None:
    run = engine.trigger(mortal(engine)).id
    engine.cancel(run)
    assert engine.members("timers") == []


def test_a_parent_goes_on_when_its_child_expires(engine: Engine) -> None:
    parent = engine.begin()
    child = engine.child(parent, mortal(engine))
    assert engine.wait(parent, child) == "parked"
    engine.clock.advance(TTL + 1)
    engine.renew()
    engine.fire()
    assert engine.status(parent.id) == "EXECUTING"


def test_an_expired_run_gives_its_idempotency_key_away(engine: Engine) -> None:
    key = scoped_key(["k"], "global")
    new = engine.new_run(extras=Extras(ttl_ms=TTL, key=key))
    run = engine.trigger(new).id
    pass_time(engine, TTL + 1)
    assert engine.status(run) == "EXPIRED"
    assert engine.trigger(engine.new_run(extras=Extras(key=key))).is_cached is False


def test_the_ttl_counts_anew_when_a_worker_comes_that_knows_the_task(engine: Engine) -> None:
    run = engine.trigger(mortal(engine, task="new", declared=False)).id
    assert engine.status(run) == "PENDING_VERSION"
    pass_time(engine, 2 * TTL)
    assert engine.status(run) == "PENDING_VERSION"
    engine.register("w2", ["new"])
    assert expire_timers(engine) == [f"expire:{run}"]
    pass_time(engine, TTL + 1)
    assert engine.status(run) == "EXPIRED"


def declare(engine: Engine, defaults: dict[str, object]) -> None:
    """Let a worker declare the task `t` with an own TTL or machine."""
    declared = sessions.TaskDeclaration(
        "t", "task/t", "celery", 3, {"description": '"defaults":{', "defaults": defaults}
    )
    engine.client.hset(engine.key("tasks"), "t", declared.packed())


@pytest.mark.parametrize(
    ("given", "own", "wanted"),
    [(0, (), "10m"), (TTL, (), "10m"), (TTL, ("ttl",), "1m"), (0, ("ttl",), None)],
)
def test_who_does_not_know_a_task_uses_the_ttl_that_workers_declared(
    engine: Engine, given: int, own: tuple[str, ...], wanted: str | None
) -> None:
    declare(engine, {"ttl": [600_000, "10m"], "machine": "micro"})
    extras = Extras(ttl_ms=given, own=frozenset(own)) if given or own else None
    run = engine.read(engine.trigger(engine.new_run(declared=False, extras=extras)).id)
    assert (run.ttl, run.machine) == (wanted, "micro")
    assert bool(expire_timers(engine)) is (wanted is not None)


def test_a_task_without_a_ttl_is_no_ttl_for_who_does_not_know_it(engine: Engine) -> None:
    declare(engine, {"ttl": [0, "0s"]})
    new = engine.new_run(declared=False, extras=Extras(ttl_ms=TTL))
    assert engine.read(engine.trigger(new).id).ttl is None
    assert expire_timers(engine) == []


def reschedule(engine: Engine, run: str, after: int | None = None, at: int | None = None) -> str:
    return engine.run(admission.reschedule_run(engine.scope, run, Delay(after, at)))


def test_a_delayed_run_starts_later_or_earlier(engine: Engine) -> None:
    run = engine.create(delay=HOUR)
    assert reschedule(engine, run, DAY) == "ok"
    pass_time(engine, HOUR + 1)
    assert engine.status(run) == "DELAYED", "the old time does nothing"
    assert reschedule(engine, run, at=engine.clock.now() + HOUR) == "ok"
    found = engine.read(run)
    assert found.delayed_until is not None
    assert abs(found.delayed_until.timestamp() * 1000 - engine.clock.now() - HOUR) < 1000
    pass_time(engine, HOUR + 1)
    assert engine.status(run) == "QUEUED"


def test_a_moment_in_the_past_is_now(engine: Engine) -> None:
    run = engine.create(delay=HOUR)
    assert reschedule(engine, run, at=1) == "ok"
    engine.fire()
    assert engine.status(run) == "QUEUED"


def test_only_a_delayed_run_is_rescheduled(engine: Engine) -> None:
    run = engine.create()
    assert reschedule(engine, run, HOUR) == "QUEUED"
    grant = engine.take_one()
    assert reschedule(engine, run, HOUR) == "EXECUTING"
    engine.end(grant)
    assert reschedule(engine, run, HOUR) == "COMPLETED"
    assert reschedule(engine, "run_" + "0" * 26, HOUR) == "gone"


def test_a_delayed_run_of_a_task_that_nobody_knows_is_rescheduled(engine: Engine) -> None:
    run = engine.create("new", delay=DAY, declared=False)
    assert engine.status(run) == "PENDING_VERSION"
    assert reschedule(engine, run, HOUR) == "ok"
    engine.register("w2", ["new"])
    assert engine.status(run) == "DELAYED"
    pass_time(engine, HOUR + 1)
    assert engine.status(run) == "QUEUED"


def test_of_a_run_that_was_parked_counts_from_its_release_although_it_comes_back(
    engine: Engine,
) -> None:
    run = engine.trigger(engine.new_run("new", declared=False, extras=Extras(ttl_ms=TTL))).id
    pass_time(engine, HOUR)
    engine.register("w2", ["new"])
    engine.unknown(engine.take_one(start=False))
    pass_time(engine, 600)
    assert engine.status(run) == "QUEUED"
    pass_time(engine, TTL)
    assert engine.status(run) == "EXPIRED"


def test_a_key_that_is_half_a_character_stops_no_timer(engine: Engine) -> None:
    extras = Extras(key=scoped_key(["\ud83d"], "global"), ttl_ms=TTL)
    run = engine.trigger(engine.new_run(extras=extras)).id
    pass_time(engine, TTL + 1)
    assert engine.read(run).status == "EXPIRED"
    assert engine.read(run).idempotency_key == "?"
