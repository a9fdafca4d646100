"""Gevent's pool: coroutines beside greenlets, in one thread of the system."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.worker.recorded.conftest import OldProject
from tests.worker.workers import Deployment
from trigger_celery import runs, wait

pytest.importorskip("gevent")
pytestmark = pytest.mark.processes

KINDS = ("", "-sync")


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Deployment]:
    """One worker with eight greenlets for all tests here."""
    made = Deployment(tmp_path_factory.mktemp("gevent"), binary=server_binary)
    made.start_worker(
        "gevent", 8, module="tests.worker.green_tasks", wait_hold=0.2, shutdown_grace=0.5
    )
    yield made
    made.close()


def test_the_session_names_the_pool(shared: Deployment) -> None:
    (session,) = shared.sessions().values()
    assert (session["pool"], session["concurrency"]) == ("gevent", 8)


@pytest.mark.parametrize("kind", KINDS)
def test_payload_output_and_retries(shared: Deployment, kind: str) -> None:
    assert shared.run(f"echo{kind}", {"snow": "☃"}).output == {"snow": "☃"}
    tried = shared.run(f"fail{kind}", {"what": "no luck", "until": 2})
    assert (tried.output, [attempt.number for attempt in tried.attempts]) == (3, [1, 2])
    failed = shared.run(f"fail{kind}", {"what": "abort"})
    assert (failed.status, failed.error.name) == ("FAILED", "AbortTaskRunError")


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_of_waits_is_replayed(shared: Deployment, kind: str) -> None:
    run = shared.trigger(f"program{kind}", {"amount": 7})
    (token,) = shared.wait_for("token", run)
    wait_until(
        lambda: shared.status(run) == "WAITING" and not shared.is_in_memory(run),
        "its memory is given up",
    )
    assert wait.complete_token(token.more["token"], {"by": "Ada"}).sync()
    ended = shared.wait(run)
    assert ended.output == {
        "approval": {"by": "Ada"},
        "child": {"cost": 21},
        "gathered": ["one", [0, 1, 2], 6],
        "mixed": [True, False],
    }
    assert ended.attempt_count == 1
    assert len(shared.ledger(run, "step price")) == 2
    assert len(shared.ledger(run, "begin")) >= 2


def test_a_coroutine_is_cancelled(shared: Deployment) -> None:
    run = shared.trigger("stubborn", {"seconds": 60, "cleanup": 0})
    shared.wait_for("begin", run)
    runs.cancel(run).sync()
    shared.wait_for("cancelled", run)
    assert shared.wait(run).status == "CANCELED"


def test_many_runs_keep_their_context(shared: Deployment) -> None:
    ids = shared.batch("look", [None] * 16)
    shared.wait_all(ids)
    assert {tuple(shared.get(run).output) for run in ids} == {(True,) * 6}


def test_sync_code_goes_on_while_a_coroutine_blocks(shared: Deployment, tmp_path: Path) -> None:
    gate = {"gate": str(tmp_path / "gate")}
    blocked = shared.trigger("blocks", gate)
    shared.wait_for("begin", blocked)
    called = shared.run("calls", gate)
    assert called.status == "COMPLETED", called.error
    assert shared.wait(called.output).output == gate
    assert shared.wait(blocked).output is True


def test_a_loop_and_threads_of_a_tasks_own(shared: Deployment) -> None:
    own = shared.trigger("own-loop", 4)
    beside = shared.batch("look", [None] * 3)
    assert shared.wait(own).output == [0, 1, 2, 3]
    shared.wait_all(beside)
    assert {tuple(shared.get(run).output) for run in beside} == {(True,) * 6}
    assert shared.wait(shared.run("threads-of-its-own", 5).output).output == 5


def test_a_run_is_terminated(shared: Deployment) -> None:
    run = shared.trigger("work", {"seconds": 60})
    shared.wait_for("begin", run)
    shared.app.control.revoke(run, terminate=True)
    assert shared.wait(run).status == "CANCELED"
    assert shared.run("echo", 1).output == 1


def test_a_time_limit(shared: Deployment) -> None:
    run = shared.run("limited-hard", {"seconds": 60}, max_attempts=1)
    assert (run.status, run.error.name) == ("FAILED", "Timeout")
    assert shared.run("echo", 1).output == 1


def test_plain_tasks_are_recorded(shared: Deployment) -> None:
    result = shared.app.send_task("plain-add", (1, 2), ignore_result=False)
    assert result.get(timeout=20) == 3
    recorded = OldProject(shared).status(result.id, "COMPLETED")
    assert recorded.output == 3


def test_what_does_not_end_in_the_grace_time_is_given_back(shared: Deployment) -> None:
    ids = [shared.trigger(f"work{kind}", {"seconds": 60}) for kind in KINDS]
    for run in ids:
        shared.wait_for("begin", run)
    (worker,) = shared.workers
    worker.signal(signal.SIGTERM)
    wait_until(lambda: shared.statuses(ids) == {"QUEUED": 2}, "they are given back", timeout=30)
    assert worker.wait(30) == 0
