"""A worker with machines beside one without: who executes what, and what happens without memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment

pytestmark = pytest.mark.processes

BIG = "w2@tests"
MODULE = "tests.worker.memory_tasks"
CODE = "TASK_PROCESS_OOM_KILLED"
LARGE = {"machine": "large-1x", "where": BIG, "size": [4, 8]}


@pytest.fixture(scope="module")
def workers(
    tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("machines"), binary=server_binary)
    made.start_worker("prefork", 2, module=MODULE, wait=False)
    arguments = ("--machines", "large-1x,large-2x")
    made.start_worker("prefork", 1, module=MODULE, arguments=arguments, wait=False)
    made.start_worker(
        "asyncio", 2, module=MODULE, arguments=("-Q", "special"), machines="large-1x", wait=False
    )
    wait_until(lambda: len(made.sessions()) == 3, "the workers are there", timeout=40)
    yield made
    print(made.logs())
    made.close()


def test_runs_go_to_workers_that_declare_their_machine(workers: Deployment) -> None:
    ids = workers.batch("large", [None] * 6)
    assert workers.wait_all(ids) == {"COMPLETED": 6}
    assert [workers.get(run).output for run in ids] == [{**LARGE, "attempt": 1}] * 6
    assert workers.run("hungry", {}, machine="large-2x").output["where"] == BIG
    plain = workers.run("hungry", {}, machine="small-1x").output
    assert (plain["machine"], plain["size"]) == ("small-1x", [0.5, 0.5])
    unserved = workers.trigger("hungry", {}, machine="medium-1x")
    assert workers.status(unserved) == "QUEUED"


def moved(workers: Deployment, run: str, where: str = BIG) -> None:
    found = workers.wait(run)
    assert found.output == {**LARGE, "where": where, "attempt": 2}
    assert (found.machine, found.attempt_count) == ("large-1x", 2)
    assert [attempt.error.code for attempt in found.attempts] == [CODE]
    assert workers.ledger(run, "failure") == []


def crashed(workers: Deployment, run: str) -> None:
    found = workers.wait(run)
    assert (found.status, found.error.code, found.attempt_count) == ("CRASHED", CODE, 1)
    (failure,) = workers.wait_for("failure", run)
    assert failure.more["machine"] == found.machine


@pytest.mark.parametrize("what", ["raises", "python"])
def test_a_run_out_of_memory_moves_to_a_larger_machine(workers: Deployment, what: str) -> None:
    moved(workers, workers.trigger("grows", {"what": what}))


@pytest.mark.parametrize("what", ["raises", "python"])
def test_without_a_larger_machine_it_crashes_at_once(workers: Deployment, what: str) -> None:
    for task, options in (
        ("hungry", {}),  # no option
        ("grows", {"max_attempts": 1}),  # no attempts left
        ("grows", {"machine": "large-1x"}),  # it is there already
        ("grows", {"machine": "large-2x"}),  # it is on a larger one
    ):
        crashed(workers, workers.trigger(task, {"what": what, "always": True}, **options))


def test_the_kernel_kills_a_process_for_its_memory(workers: Deployment) -> None:
    payload = {"what": "kernel"}
    grows, hungry = (workers.trigger(task, payload) for task in ("grows", "hungry"))
    moved(workers, grows)
    crashed(workers, hungry)


def test_a_run_that_moved_fails_the_second_time(workers: Deployment) -> None:
    run = workers.run("grows", {"what": "raises", "always": True})
    assert (run.status, run.error.code, run.error.name) == ("CRASHED", CODE, "OutOfMemoryError")
    assert (run.machine, run.attempt_count) == ("large-1x", 2)


@pytest.mark.parametrize("what", ["raises", "python"])
def test_on_the_asyncio_pool(workers: Deployment, what: str) -> None:
    moved(workers, workers.trigger("grows-async", {"what": what}), "w3@tests")
