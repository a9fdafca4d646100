"""Random trees of tasks come to what a plain Python model says, though the workers die."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.faults import trees
from tests.waiting import wait_until
from tests.worker.workers import Deployment, Entry

pytestmark = pytest.mark.processes

MODULE = "tests.faults.faulty_tasks"
SEED = int(os.environ.get("TEST_SEED", "20240229"))
TREES = 500
TREES_OF_A_POOL = 40
WAVES = 3
KILLS = 2
"""In each wave: a run whose worker is lost a third time ends as CRASHED, and rightly so."""
CONCURRENCY = {"asyncio": 20, "prefork": 4, "threads": 8, "solo": 1}


def repeated(entries: list[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Return the steps that were executed more than once."""
    found = defaultdict(list)
    for entry in entries:
        found[entry.run, entry.more["name"]].append(entry)
    return {step: times for step, times in found.items() if len(times) > 1}


def kill_some(deployment: Deployment, ids: list[str], pool: str, pace: int) -> set[int]:
    """Kill two workers while they are at it, and start others; return the processes that died."""
    dead = set()
    for _ in range(KILLS):
        before = len(deployment.ledger(event="end"))
        wait_until(
            lambda before=before: (
                len(deployment.ledger(event="end")) >= before + pace
                or not deployment.unfinished(ids)
            ),
            "the workers get on",
            timeout=60,
            interval=0.05,
        )
        victim = next(worker for worker in deployment.workers if worker.is_running)
        dead |= {victim.pid, *victim.children()}
        victim.kill()
        start(deployment, pool, wait=False)
    return dead


def start(deployment: Deployment, pool: str = "asyncio", *, wait: bool) -> None:
    deployment.start_worker(pool, CONCURRENCY[pool], module=MODULE, wait=wait)


def check(deployment: Deployment, planted: list[trees.Node], ids: list[str], dead: set[int]) -> int:
    """Every tree came to what the model says; return how many steps were executed twice."""
    assert deployment.statuses(ids) == {"COMPLETED": len(ids)}
    for run, tree in zip(ids, planted, strict=True):
        assert deployment.get(run).output == trees.outcome(tree)
    twice = repeated(deployment.ledger(event="tally"))
    for step, times in twice.items():
        # Its process died before the result was stored: whoever does not die stores it.
        assert {entry.pid for entry in times[:-1]} <= dead, (step, times)
    return len(twice)


@pytest.mark.timeout(300)
def test_random_trees_in_a_kill_storm(deploy: Callable[..., Deployment]) -> None:
    rng = random.Random(SEED)  # noqa: S311 - the same trees every time
    grown = [trees.grow(rng) for _ in range(TREES)]
    deployment = deploy(worker_lease=1.0)
    began = time.monotonic()
    for number in range(3):
        start(deployment, wait=number == 2)
    ids: list[str] = []
    dead: set[int] = set()
    for wave in range(WAVES):
        made = deployment.batch("tree", grown[wave::WAVES])
        dead |= kill_some(deployment, made, "asyncio", 100)
        deployment.wait_all(made, timeout=60)
        ids += made
    planted = [tree for wave in range(WAVES) for tree in grown[wave::WAVES]]
    twice = check(deployment, planted, ids, dead)
    runs = sum(map(trees.nodes, grown))
    print(
        f"\n{TREES} random trees of {runs:,} runs, {WAVES * KILLS} kills, "
        f"{twice} steps executed twice, {time.monotonic() - began:.1f} s"
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_random_trees_on_another_pool(deploy: Callable[..., Deployment], pool: str) -> None:
    """They come to the same there, though the workers die."""
    rng = random.Random(SEED + 1)  # noqa: S311 - the same trees every time
    grown = [trees.grow(rng) for _ in range(TREES_OF_A_POOL)]
    deployment = deploy(worker_lease=1.0)
    began = time.monotonic()
    start(deployment, pool, wait=False)
    start(deployment, pool, wait=True)
    ids = deployment.batch("tree", grown)
    dead = kill_some(deployment, ids, pool, 20)
    deployment.wait_all(ids, timeout=60)
    twice = check(deployment, grown, ids, dead)
    runs = sum(map(trees.nodes, grown))
    print(
        f"\n{TREES_OF_A_POOL} random trees of {runs:,} runs on {pool}, {KILLS} kills, "
        f"{twice} steps executed twice, {time.monotonic() - began:.1f} s"
    )
