"""Deployments whose workers have the tasks that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worker.workers import POOLS, Deployment

MODULE = "tests.worker.waiting_tasks"
HOLD = 0.2
"""Seconds that pools which cannot park keep a waiting run in memory."""


@pytest.fixture(scope="session", params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """Each pool in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def farm(
    pool: str, tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    """One deployment for all tests here on one pool: starting a worker takes seconds."""
    made = Deployment(tmp_path_factory.mktemp(pool), binary=server_binary, wait_hold=HOLD)
    made.start_worker(pool, 1 if pool == "solo" else 4, module=MODULE)
    made.suspend()
    yield made
    made.resume()
    made.close()


@pytest.fixture
def shared(farm: Deployment) -> Iterator[Deployment]:
    """The deployment of all tests, as what this test triggers for."""
    farm.resume()
    yield farm
    farm.suspend()


@pytest.fixture(autouse=True)
def logs_are_shown(request: pytest.FixtureRequest) -> Iterator[None]:
    """What workers logged in a test stands below it when it fails."""
    if "farm" not in request.fixturenames:
        yield
        return
    farm: Deployment = request.getfixturevalue("farm")
    before = [len(worker.log) for worker in farm.workers]
    yield
    for worker, length in zip(farm.workers, before, strict=True):
        print(worker.log[length:][-6000:])


@pytest.fixture
def start(deployment: Deployment) -> Callable[..., Any]:
    """Starts a worker with the tasks that wait, and a short lease."""

    def begin(pool: str = "asyncio", concurrency: int = 4, **options: Any) -> Any:
        options = {"worker_lease": 1.0, "wait_hold": HOLD, **options}
        return deployment.start_worker(pool, concurrency, module=MODULE, **options)

    return begin


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file; work goes on when it is there, at the end of the test at the latest."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def side_by_side(pool: str) -> None:
    """For tests of two runs that execute at once."""
    if pool == "solo":
        pytest.skip("solo executes one run at a time")
