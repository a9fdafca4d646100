"""Deployments that faults are done to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worker.workers import Deployment

LEASE = 2.0
"""Seconds; the sweepers look every sixth of it."""


@pytest.fixture
def deploy(tmp_path: Path, server_binary: str | None) -> Iterator[Callable[..., Deployment]]:
    """Makes the deployment of a test, with a short lease unless another is given."""
    made: list[Deployment] = []

    def make(**options: Any) -> Deployment:
        options.setdefault("worker_lease", LEASE)
        made.append(Deployment(tmp_path, binary=server_binary, **options))
        return made[-1]

    yield make
    for deployment in made:
        print(deployment.logs())
        deployment.close()


@pytest.fixture
def deployment(deploy: Callable[..., Deployment]) -> Deployment:
    """A deployment with a lease of two seconds."""
    return deploy()
