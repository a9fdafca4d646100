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
TREES = 500
WAVES = 3
KILLS = 2
"""In each wave: a run whose worker is lost a third time ends as CRASHED, and rightly so."""


def repeated(entries: list[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Return the steps that were executed more than once."""
    found = defaultdict(list)
    for entry in entries:
        found[entry.run, entry.more["name"]].append(entry)
    return {step: times for step, times in found.items() if len(times) > 1}


def kill_some(deployment: Deployment, ids: list[str]) -> set[int]:
    """Kill two workers while they are at it, and start others."""
    dead = set()
    for _ in range(KILLS):
        before = len(deployment.ledger(event="end"))
        wait_until(
            lambda before=before: (
                len(deployment.ledger(event="end")) >= before + 100
                or not deployment.unfinished(ids)
            ),
            "the workers get on",
            timeout=60,
            interval=0.05,
        )
        victim = next(worker for worker in deployment.workers if worker.is_running)
        victim.kill()
        dead.add(victim.pid)
        start(deployment, wait=False)
    return dead


def start(deployment: Deployment, *, wait: bool) -> None:
    deployment.start_worker(concurrency=20, module=MODULE, wait=wait)


@pytest.mark.timeout(300)
def test_random_trees_in_a_kill_storm(deploy: Callable[..., Deployment]) -> None:
    seed = int(os.environ.get("TEST_SEED", "20240229"))
    rng = random.Random(seed)  # noqa: S311 - the same trees every time
    grown = [trees.grow(rng) for _ in range(TREES)]
    deployment = deploy(worker_lease=1.0)
    began = time.monotonic()
    for number in range(3):
        start(deployment, wait=number == 2)
    ids: list[str] = []
    dead: set[int] = set()
    for wave in range(WAVES):
        made = deployment.batch("tree", grown[wave::WAVES])
        dead |= kill_some(deployment, made)
        deployment.wait_all(made, timeout=60)
        ids += made
    statuses = deployment.statuses(ids)
    twice = repeated(deployment.ledger(event="tally"))
    runs = sum(map(trees.nodes, grown))
    print(
        f"\n{TREES} random trees of {runs:,} runs, {len(dead)} kills, {dict(statuses)}, "
        f"{len(twice)} steps executed twice, {time.monotonic() - began:.1f} s"
    )
    assert statuses == {"COMPLETED": TREES}
    planted = [tree for wave in range(WAVES) for tree in grown[wave::WAVES]]
    for run, tree in zip(ids, planted, strict=True):
        assert deployment.get(run).output == trees.outcome(tree)
    for step, times in twice.items():
        # Its process died before the result was stored: whoever does not die stores it.
        assert {entry.pid for entry in times[:-1]} <= dead, (step, times)
