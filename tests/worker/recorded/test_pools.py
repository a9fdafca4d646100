"""Old tasks on the other pools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.waiting import wait_until
from tests.worker.recorded.conftest import MODULE, OldProject
from tests.worker.workers import Deployment

pytestmark = pytest.mark.processes

POOLS = ("asyncio", "threads", "solo")


@pytest.fixture(scope="module")
def pools(
    tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[OldProject]:
    """A worker of the old project on each of the pools, each with a queue of its own."""
    made = Deployment(tmp_path_factory.mktemp("pools"), binary=server_binary)
    workers = [
        made.start_worker(pool, 1, module=MODULE, arguments=("-Q", pool), wait=False)
        for pool in POOLS
    ]
    for worker in workers:
        wait_until(lambda worker=worker: " ready." in worker.log, "a worker is ready", timeout=60)
    yield OldProject(made)
    print(made.logs())
    made.close()


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_records(pools: OldProject, pool: str) -> None:
    done = pools.run("add", 1, 2, queue=pool)
    assert (done.output, done.queue, done.attempt_count) == (3, pool, 1)
    tried = pools.run("flaky", 1, 0.1, queue=pool, attempts=2)
    assert [attempt.retry_delay for attempt in tried.attempts] == [0.1, None]
    failed = pools.run("fail", "no", status="FAILED", queue=pool)
    assert failed.error is not None
    assert failed.error.message == "no"
