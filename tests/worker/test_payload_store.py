"""Workers with a payload store: what is large comes from there and goes there, in every pool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery import wait
from trigger_celery.engine import admission, keys, offloading
from trigger_celery.model.duration import Delay
from trigger_celery.model.packet import JSON, Packet

pytestmark = pytest.mark.processes

LARGE = "ä" * 70_000
NOBODY = "run_" + "0" * 26


@pytest.fixture(scope="module", params=("asyncio", "prefork"))
def shared(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    server_binary: str | None,
) -> Iterator[Deployment]:
    """A deployment with a payload store, in which somebody left an object two hours ago."""
    folder = tmp_path_factory.mktemp(request.param)
    made = Deployment(
        folder,
        binary=server_binary,
        wait_hold=0.2,
        store_retry=0.5,
        payload_store=(folder / "payloads").as_uri(),
    )
    left = offloading.put_away(made.scope, [(NOBODY, Packet("x" * 200_000, JSON))])
    made.binding.store.run_sync(left)
    made.client.incrby(keys.key(made.scope, "clock"), 7_200_000)
    made.start_worker(request.param, 2, module="tests.worker.stored_tasks")
    yield made
    made.close()


@pytest.fixture
def root(shared: Deployment) -> Path:
    return shared.folder / "payloads"


def files_of(root: Path, owner: str) -> list[Path]:
    return [path for path in root.rglob("*") if path.parent.name == owner]


def begin_now(shared: Deployment, run: str) -> None:
    """Begin a delayed run without reading it, as `runs.reschedule` does."""
    flow = admission.reschedule_run(shared.scope, run, Delay(0, None))
    assert shared.binding.store.run_sync(flow) == "ok"


@contextmanager
def out_of_order(root: Path) -> Iterator[None]:
    """The payload store cannot be used meanwhile."""
    aside = root.with_name("aside")
    root.rename(aside)
    root.write_text("no directory")
    try:
        yield
    finally:
        root.unlink()
        aside.rename(root)


def test_a_run_carries_large_things(shared: Deployment, root: Path) -> None:
    token = wait.create_token().sync()
    payload = {"text": LARGE, "token": token.id}
    run = shared.trigger("carry", payload)
    pool = shared.folder.name
    if pool.startswith("prefork"):  # it is given up, and executed again from the top
        record = keys.key(shared.scope, "run", run)
        waits = keys.key(shared.scope, "waiters", token.id)
        wait_until(
            lambda: shared.client.exists(waits) and not shared.client.hexists(record, "owner"),
            "the run has lost its memory",
        )
    wait.complete_token(token, [LARGE]).sync()
    assert shared.wait(run).output == {"child": True, "several": True, "answer": [LARGE]}
    assert len(shared.ledger(run, "step")) == 1
    assert (len(shared.ledger(run, "begin")) > 1) is pool.startswith("prefork")
    # its payload, its step, its output: nothing of it in Redis
    assert len(files_of(root, run)) == 3
    large = [
        name for name in shared.client.scan_iter() if shared.client.memory_usage(name) > 90_000
    ]
    assert large == []


def test_a_payload_that_is_gone_fails_the_run(shared: Deployment, root: Path) -> None:
    run = shared.trigger("give-back", LARGE, delay="1h")
    [file] = files_of(root, run)
    data = file.read_bytes()
    file.unlink()
    begin_now(shared, run)
    shared.wait_all([run])
    file.write_bytes(data)
    found = shared.get(run)
    assert (found.status, found.attempt_count, found.payload) == ("FAILED", 1, LARGE)
    assert found.error is not None
    assert (found.error.name, found.error.code) == ("PayloadLostError", "TASK_INPUT_ERROR")


def test_a_payload_that_cannot_be_read_now_is_read_later(shared: Deployment, root: Path) -> None:
    run = shared.trigger("give-back", LARGE, delay="1h")
    with out_of_order(root):
        begin_now(shared, run)
        attempts = keys.key(shared.scope, "attempts", run)
        wait_until(lambda: shared.client.llen(attempts) >= 2, "two attempts failed")
    assert shared.wait(run).output == LARGE


def test_an_output_that_cannot_be_written_stays_in_redis(shared: Deployment, root: Path) -> None:
    with out_of_order(root):
        run = shared.run("grow", 200_000)
        assert run.output == "x" * 200_000
    assert files_of(root, run.id) == []
    assert f"the output of run {run.id} is kept in Redis" in shared.workers[0].log


def test_a_worker_deletes_what_nobody_needs(shared: Deployment, root: Path) -> None:
    wait_until(lambda: not files_of(root, NOBODY), "the object is deleted")
