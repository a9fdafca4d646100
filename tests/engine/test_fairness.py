"""Lanes of a worker queue take turns: a tenant's thousand runs do not hold up another's one."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.driving import Engine


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def test_one_run_of_a_tenant_does_not_wait_behind_a_thousand_of_another(engine: Engine) -> None:
    engine.create_many(1000, queue="q", key="large")
    engine.take(want=10)
    small = engine.create(queue="q", key="small")
    assert small in [grant.id for grant in engine.take(want=10)]


def test_lanes_take_turns_one_by_one(engine: Engine) -> None:
    for key in ("a", "b", "c"):
        engine.create_many(10, queue="q", key=key)
    turns = [engine.take_one().concurrency_key for _ in range(30)]
    for start in range(0, 30, 3):
        assert set(turns[start : start + 3]) == {"a", "b", "c"}


def test_a_large_dequeue_is_shared_out(engine: Engine) -> None:
    for key in ("a", "b", "c", "d"):
        engine.create_many(100, queue="q", key=key)
    counts = Counter(grant.concurrency_key for grant in engine.take(want=40))
    assert all(count >= 5 for count in counts.values())
    assert len(counts) == 4
    for _ in range(9):
        counts.update(grant.concurrency_key for grant in engine.take(want=40))
    assert counts == {"a": 100, "b": 100, "c": 100, "d": 100}


def test_over_time_every_lane_gets_the_same_share(engine: Engine) -> None:
    for key in ("a", "b"):
        engine.create_many(200, queue="q", key=key)
    counts: Counter[str] = Counter()
    for want in (7, 1, 30, 2, 10, 50):
        counts.update(grant.concurrency_key for grant in engine.take(want=want))
    assert abs(counts["a"] - counts["b"]) <= 50


def test_a_lane_that_empties_and_refills_cannot_starve_the_others(engine: Engine) -> None:
    engine.create_many(100, queue="q", key="patient")
    engine.create(queue="q", key="greedy")
    counts: Counter[str] = Counter()
    for _ in range(60):
        grant = engine.take_one()
        counts[grant.concurrency_key] += 1
        if grant.concurrency_key == "greedy":
            engine.create(queue="q", key="greedy")
    assert counts["patient"] >= 29
    assert counts["greedy"] >= 29


def test_a_lane_that_is_always_full_cannot_starve_the_others(engine: Engine) -> None:
    engine.register(queues={"limited": 1})
    engine.create_many(100, queue="limited")
    engine.create_many(100, queue="free")
    counts: Counter[str] = Counter()
    for _ in range(60):
        grant = engine.take_one()
        counts[grant.queue] += 1
        engine.end(grant)
    assert counts == {"limited": 30, "free": 30}


def test_a_lane_that_comes_late_does_not_get_the_time_it_missed(engine: Engine) -> None:
    engine.create_many(200, queue="q", key="old")
    engine.take(want=100)
    engine.create_many(200, queue="q", key="new")
    counts = Counter(engine.take_one().concurrency_key for _ in range(40))
    assert counts["old"] >= 10 or counts["old"] + counts["new"] == 40
    assert counts["new"] >= 19


def test_worker_queues_are_served_in_the_order_the_worker_names_them(engine: Engine) -> None:
    engine.register(worker_queues=("urgent", "celery"))
    late = engine.create(queue="a", worker_queue="celery")
    soon = engine.create(queue="b", worker_queue="urgent")
    assert [g.id for g in engine.take(worker_queues=("urgent", "celery"))] == [soon, late]
