"""Many runs wait for one thing, or there are many things to wait for: no call grows with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.driving import DAY, HOUR, RETENTION, Engine
from trigger_celery.engine import keys
from trigger_celery.engine.services.promoter import Promoter


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def commands_of(engine: Engine, call: Callable[[], object]) -> int:
    """Return the number of commands that the server executes for *call*, inside scripts too."""

    def executed() -> int:
        stats = engine.client.info("commandstats")
        return sum(
            stat["calls"]
            for name, stat in stats.items()
            if name.split("|")[0] not in ("cmdstat_info", "cmdstat_config")
        )

    before = executed()
    call()
    return executed() - before


def test_one_token_wakes_a_thousand_runs(engine: Engine) -> None:
    engine.create_many(1000)
    grants = engine.take(want=1000)
    target = engine.token()
    for grant in grants:
        assert engine.wait(grant, target) == "parked"
    engine.mail()
    first = commands_of(engine, lambda: engine.complete(target))
    promoter = Promoter(engine.scope, RETENTION)
    ticks = []
    while engine.waiters(target):
        ticks.append(commands_of(engine, lambda: engine.run(promoter.tick())))
    assert len(ticks) == 9
    assert max(first, *ticks) < 3_000
    assert set(engine.statuses([grant.id for grant in grants])) == {"EXECUTING"}
    woken = [message for message in engine.mail() if message != "timer"]
    assert sorted(woken) == sorted(f"resume {grant.id} {target}" for grant in grants)


def test_a_promoter_does_not_sleep_while_there_are_runs_to_wake(engine: Engine) -> None:
    engine.create_many(150)
    target = engine.token()
    for grant in engine.take(want=150):
        engine.wait(grant, target)
    engine.complete(target)
    assert "timer" in engine.mail()
    promoter = Promoter(engine.scope, RETENTION)
    engine.run(promoter.tick())
    assert engine.waiters(target) == set()


def test_a_run_that_ends_wakes_hundreds_that_wait_for_it(engine: Engine) -> None:
    waited = engine.begin()
    engine.create_many(250)
    for grant in engine.take(want=250):
        engine.wait(grant, waited.id)
    engine.end(waited)
    while engine.fire():
        pass
    assert engine.waiters(waited.id) == set()


def test_runs_that_are_cancelled_before_their_turn_to_be_woken(engine: Engine) -> None:
    engine.create_many(150)
    target = engine.token()
    grants = engine.take(want=150)
    for grant in grants:
        engine.wait(grant, target)
    engine.complete(target)
    for run in engine.waiters(target):
        engine.cancel(run)
    assert engine.fire() == 1
    statuses = engine.statuses([grant.id for grant in grants])
    assert (statuses.count("EXECUTING"), statuses.count("CANCELED")) == (100, 50)


def test_parents_of_hundreds_of_children_are_cancelled_in_bounded_steps(engine: Engine) -> None:
    parent = engine.begin()
    engine.batch([engine.new_run() for _ in range(500)], parent)
    assert commands_of(engine, lambda: engine.cancel(parent.id)) < 60
    promoter = Promoter(engine.scope, RETENTION)
    assert commands_of(engine, lambda: engine.run(promoter.tick())) < 200 * 45
    while engine.run(promoter.tick()) == 0.0:
        pass
    assert engine.client.zcard(engine.key("index_status", "CANCELED")) == 501


def hundred_thousand_waitpoints(engine: Engine) -> None:
    """Write them as create_waitpoint does, behind its back: that is a hundred times faster."""
    now, scope = engine.clock.now(), engine.scope
    pipe = engine.client.pipeline(transaction=False)
    for number in range(100_000):
        name = f"waitpoint_{number:026}"
        fields: dict[Any, Any] = {
            "type": "TOKEN",
            "status": "WAITING",
            "created": now,
            "due": now + DAY + number,
        }
        pipe.hset(keys.key(scope, "waitpoint", name), mapping=fields)
        pipe.zadd(keys.key(scope, "tokens"), {name: now})
        pipe.zadd(keys.key(scope, "timers"), {f"waitpoint:{name}": now + DAY + number})
        if number % 5_000 == 4_999:
            pipe.execute()


def test_a_hundred_thousand_waitpoints_cost_an_operation_nothing(engine: Engine) -> None:
    promoter = Promoter(engine.scope, RETENTION)

    def everything() -> None:
        grant = engine.begin()
        target, date = engine.token(), engine.date(HOUR)
        engine.wait(grant, target)
        engine.complete(target)
        engine.wait(grant, date)
        engine.clock.advance(HOUR + 1)
        engine.run(promoter.tick())
        engine.list_tokens(limit=10)
        engine.end(grant)

    def server_time(call: Callable[[], None]) -> int:
        engine.client.config_resetstat()
        call()
        stats = engine.client.info("commandstats")
        return int(sum(s["usec"] for n, s in stats.items() if n == "cmdstat_evalsha"))

    everything()
    few = commands_of(engine, everything)
    few_us = min(server_time(everything) for _ in range(5))
    hundred_thousand_waitpoints(engine)
    assert commands_of(engine, everything) <= few + 60  # ten more tokens are in the list
    assert min(server_time(everything) for _ in range(5)) < 3 * few_us + 1_000
    engine.client.flushall()


def test_thousands_of_dates_reached_at_once_are_worked_off_in_bounded_steps(
    engine: Engine,
) -> None:
    for _ in range(1_000):
        engine.date(HOUR)
    engine.clock.advance(HOUR + 1_000)
    promoter = Promoter(engine.scope, RETENTION)
    costs = [commands_of(engine, lambda: engine.run(promoter.tick())) for _ in range(6)]
    assert max(costs) < 200 * 12
    assert engine.client.exists(engine.key("timers")) == 0
