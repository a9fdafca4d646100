"""A deployment whose callers know the tasks, as a web process does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.worker.celery_api.calling import MODULE, Api
from tests.worker.workers import Deployment


@pytest.fixture(scope="module", params=["asyncio", "prefork"])
def pool(request: pytest.FixtureRequest) -> str:
    """Each pool in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def shared(
    pool: str, tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    """One worker for all tests of a module on one pool."""
    made = Deployment(tmp_path_factory.mktemp(pool), binary=server_binary)
    made.start_worker(pool, 1 if pool == "solo" else 3, module=MODULE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def api(shared: Deployment) -> Api:
    """The deployment and its tasks."""
    return Api(shared)
