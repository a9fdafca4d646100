"""Runs on real workers tell how far they are, on every pool, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.worker.workers import Deployment
from trigger_celery import runs, streams

pytestmark = pytest.mark.processes

MODULE = "tests.worker.progress_tasks"


@pytest.fixture(scope="module", params=["asyncio", "prefork"])
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def shared(
    pool: str, tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp(pool), binary=server_binary, wait_hold=0.1)
    made.start_worker(pool, 3, module=MODULE)
    yield made
    made.close()


def test_the_example_of_the_seed(shared: Deployment) -> None:
    run = shared.trigger("my-task", {"some": "data"})
    parts = list(runs.subscribe_to_run(run).with_streams())
    chunks = [part["chunk"] for part in parts if part["type"] == "processing"]
    assert chunks == [f"Processing chunk {number}" for number in range(10)]
    last = parts[-1]["run"]
    assert (last.status, last.output, last.metadata) == (
        "COMPLETED",
        {"ok": True},
        {"progress": 0.1},
    )


@pytest.mark.parametrize("kind", ["busy", "busy-sync"])
def test_ten_thousand_changes_are_stored_at_the_end_and_cost_little(
    shared: Deployment, kind: str
) -> None:
    shared.client.config_resetstat()
    run = runs.poll(shared.trigger(kind, 10_000), timeout=60).sync()
    statistics = shared.client.info("commandstats")
    rpushes = statistics["cmdstat_rpush"]["calls"]  # one a flush; and news for the worker
    assert run.metadata == {"progress": 9999, "done": 10_000}
    assert run.output == 10_000
    assert run.tags == ("busy",)
    assert rpushes <= 20
    assert list(streams.read(run, "late")) == [0, 1, 2]


def test_metadata_survives_retries(shared: Deployment) -> None:
    run = runs.poll(shared.trigger("fails"), timeout=60).sync()
    assert (run.output, run.metadata, run.attempt_count) == (3, {"attempts": 3}, 3)


def test_children_count_on_their_parent_and_a_replay_changes_nothing_twice(
    shared: Deployment,
) -> None:
    run = runs.poll(shared.trigger("watches-children", 5), timeout=60).sync()
    assert run.metadata == run.output == {"total": 6, "done": 5}
    assert sorted(streams.read(run, "children")) == [0, 1, 2, 3, 4]
