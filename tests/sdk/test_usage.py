"""`usage` and `heartbeats`; on real pools: `tests/worker/waits/test_logs.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.driving import ERROR, Engine
from trigger_celery import InvalidOptionError, RunCanceledError, TriggerCelery, heartbeats, usage
from trigger_celery.bridge import context
from trigger_celery.bridge.durable import Durable


class Active:
    """Stands for how a pool keeps a run: this process executes none."""

    stopped = None
    post = ""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.gave_way_at = 0.0
        self.problem: Exception | BaseException | None = None

    def active_seconds(self) -> float:
        return self.seconds

    def check(self) -> None:
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def active(trigger: TriggerCelery, engine: Engine) -> Iterator[Active]:
    """The second attempt of a run, active for two seconds; the first took one."""
    trigger.configure(cost_per_second=0.5, cost_per_run=3)
    engine.register()
    engine.create()
    grant = engine.take_one()
    engine.clock.advance(1000)
    engine.retry(grant, 0)
    durable = Durable(grant.id, grant.epoch, 2, "")
    parking: Any = Active(2.0)
    durable.parking = parking
    token = context.current_scope.set(durable.root)
    yield parking
    context.current_scope.reset(token)
    engine.end(grant, "failed", "FAILED", ERROR)


def test_what_a_run_has_used(active: Active) -> None:
    used = usage.get_current().sync()
    assert (used.compute.attempt.duration_ms, used.compute.attempt.cost_in_cents) == (2000, 1)
    assert 3000 <= used.compute.total.duration_ms < 3200
    assert used.compute.total.cost_in_cents == pytest.approx(1.5, abs=0.1)
    assert used.base_cost_in_cents == 3
    assert used.total_cost_in_cents == pytest.approx(4.5, abs=0.1)
    with pytest.deprecated_call():  # the old names
        assert (used.duration_ms, used.cost_in_cents) == (2000, 1)


def test_outside_of_a_run_nothing_is_used(trigger: TriggerCelery) -> None:
    trigger.configure(cost_per_second=0.5, cost_per_run=3)
    used = usage.get_current().sync()
    assert (used.compute.attempt, used.compute.total) == (usage.Compute(), usage.Compute())
    assert used.total_cost_in_cents == 0


def test_a_function_is_measured_by_the_active_time_of_the_run(active: Active) -> None:
    def work(seconds: float, *, result: str) -> str:
        active.seconds += seconds
        return result

    async def work_async(seconds: float) -> None:
        active.seconds += seconds
        await asyncio.sleep(0)

    measured = usage.measure(work, 4.0, result="done")
    assert (measured.result, measured.compute.duration_ms, measured.compute.cost_in_cents) == (
        "done", 4000, 2,
    )  # fmt: skip

    async def measure() -> float:
        return (await usage.measure(work_async, 1.0)).compute.duration_ms

    assert asyncio.run(measure()) == 1000


def test_measuring_outside_of_a_run_costs_nothing_and_lets_errors_through() -> None:
    measured = usage.measure(sum, [1, 2])
    assert (measured.result, measured.compute.cost_in_cents) == (3, 0)
    assert measured.compute.duration_ms < 1000
    with pytest.raises(ZeroDivisionError):
        usage.measure(lambda: 1 / 0)
    with pytest.raises(InvalidOptionError, match="pass the function"):
        usage.measure(3)  # type: ignore[call-overload]


def test_giving_way_notices_that_the_run_is_stopped(active: Active) -> None:
    heartbeats.yield_().sync()
    assert active.gave_way_at > 0
    active.problem = RunCanceledError("run cancelled")
    with pytest.raises(RunCanceledError):
        heartbeats.yield_().sync()


async def test_giving_way_lets_others_have_a_turn(trigger: TriggerCelery) -> None:
    turns: list[int] = []

    async def other() -> None:
        turns.append(1)

    task = asyncio.create_task(other())
    await heartbeats.yield_()
    assert turns == [1]
    await task
    await trigger.store.aclose()


def test_the_last_heartbeat_is_the_worker_s(active: Active, engine: Engine) -> None:
    beat = heartbeats.get_last_heartbeat().sync()
    assert beat is not None
    before = engine.clock.now() / 1000 - beat.timestamp()
    assert 1 <= before < 3
    assert engine.renew("w1")
    after = heartbeats.get_last_heartbeat().sync()
    assert after is not None
    assert after > beat
    engine.client.delete(f"{engine.scope}:worker:w1")
    assert heartbeats.get_last_heartbeat().sync() is None
    engine.register()


def test_outside_of_a_run_there_is_no_heartbeat(trigger: TriggerCelery) -> None:
    assert heartbeats.get_last_heartbeat().sync() is None
