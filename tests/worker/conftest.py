"""Deployments of real workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.workers import POOLS, Deployment


@pytest.fixture
def deployment(tmp_path: Path, server_binary: str | None) -> Iterator[Deployment]:
    """A deployment of its own for one test; its store is in order at the end."""
    made = Deployment(tmp_path, binary=server_binary)
    yield made
    print(made.logs())
    made.close()


@pytest.fixture(scope="module", params=POOLS)
def pool(request: pytest.FixtureRequest) -> str:
    """Each pool in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def shared(
    pool: str, tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    """One deployment for all tests of a module on one pool, with a worker that sends events."""
    made = Deployment(tmp_path_factory.mktemp(pool), binary=server_binary)
    made.start_worker(pool, 1 if pool == "solo" else 2, arguments=("-E",))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def logs_are_shown(request: pytest.FixtureRequest) -> Iterator[None]:
    """What workers logged stands below a failed test."""
    yield
    if "shared" in request.fixturenames:
        print(request.getfixturevalue("shared").logs())
