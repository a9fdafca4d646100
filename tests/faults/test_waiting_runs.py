"""Runs that wait outlive workers and the server, and hold no slot."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.faults.conftest import LEASE
from tests.faults.test_many_runs import most_at_once
from tests.waiting import wait_until
from tests.worker.workers import Deployment, WorkerProcess
from trigger_celery import Run, batch, runs, wait
from trigger_celery.engine import keys

pytestmark = pytest.mark.processes

MODULE = "tests.faults.faulty_tasks"
GRACE = 5.0
"""Seconds that a worker with nothing but waiting runs gets to end."""


def start(deployment: Deployment, concurrency: int = 100, *, wait: bool = True) -> WorkerProcess:
    return deployment.start_worker(concurrency=concurrency, module=MODULE, wait=wait)


def all_wait(deployment: Deployment, ids: Sequence[str]) -> None:
    wait_until(
        lambda: deployment.statuses(ids) == {"WAITING": len(ids)},
        f"all wait: {deployment.statuses(ids)}",
        timeout=60,
        interval=0.02,
    )


def tokens(deployment: Deployment, ids: Sequence[str], number: int) -> list[str]:
    """Return the first or second token of each run; in replays they are the same ones."""
    made: dict[str, set[str]] = {}
    for entry in deployment.ledger(event="tokens"):
        made.setdefault(entry.run, set()).add(entry.more["tokens"][number])
    assert all(len(made[run]) == 1 for run in ids)
    return [made[run].pop() for run in ids]


def complete(made: Sequence[str]) -> None:
    assert all(wait.complete_token(token, "yes").sync() for token in made)


def check(deployment: Deployment, ids: Sequence[str], name: str) -> None:
    """Every run ended in its first attempt; steps, children and tokens were made once."""
    lost = sum(deployment.unfinished(ids).values())
    found: list[Run] = [deployment.get(run) for run in ids]
    for run in found:
        assert run.payload is not None
        expected = [value for n in (0, 1) for value in (2 * (run.payload + n), run.payload, "yes")]
        assert (run.status, run.output, run.attempt_count) == ("COMPLETED", expected, 1)
    charged = Counter((e.run, e.more["amount"]) for e in deployment.ledger(event="charge"))
    again = sum(times > 1 for times in charged.values())
    children = Counter(entry.run for entry in deployment.ledger(event="run"))
    replays = len(deployment.ledger(event="begin")) - len(ids)
    print(
        f"\n{name}: {len(ids):,} runs, {lost} lost, {replays:,} replays, "
        f"{len(charged):,} steps, {again} executed twice, {len(children):,} children"
    )
    assert lost == 0
    assert len(charged) == len(children) == 2 * len(ids)
    assert again == 0
    assert set(children.values()) == {1}


def test_kill_9_of_a_worker_with_a_thousand_runs_that_wait_twice(deployment: Deployment) -> None:
    began = time.monotonic()
    worker = start(deployment)
    ids = deployment.batch("parked", list(range(1000)))
    all_wait(deployment, ids)
    for number in (0, 1):
        made = tokens(deployment, ids, number)
        worker.kill()
        # Half of them before anybody knows that their worker is dead.
        complete(made[:500])
        worker = start(deployment)
        complete(made[500:])
        if number == 0:
            wait_until(
                lambda: len(deployment.ledger(event="charge")) == 2000,
                "all are at their second token",
                timeout=60,
                interval=0.1,
            )
            all_wait(deployment, ids)
    assert deployment.wait_all(ids, timeout=60) == {"COMPLETED": 1000}
    check(deployment, ids, f"2 x kill -9 with 1,000 waiting, {time.monotonic() - began:.1f} s")
    assert sum(1 for _ in all_tokens()) == 2000


def all_tokens() -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = wait.list_tokens(tags="parked", limit=100, cursor=cursor).sync()
        found += [token.id for token in page]
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_a_warm_shutdown_with_runs_that_wait(deployment: Deployment) -> None:
    """It does not wait for them: they go on elsewhere."""
    worker = start(deployment)
    ids = deployment.batch("parked", list(range(200)))
    all_wait(deployment, ids)
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    worker.wait(GRACE)
    took = time.monotonic() - began
    assert not deployment.sessions()
    assert deployment.statuses(ids) == {"WAITING": 200}
    first, second = tokens(deployment, ids, 0), tokens(deployment, ids, 1)
    complete(first)
    complete(second)
    start(deployment)
    deployment.wait_all(ids)
    check(deployment, ids, f"SIGTERM with 200 waiting, the worker ended in {took:.2f} s")


def test_the_server_is_killed_and_restarted_while_runs_wait(
    deploy: Callable[..., Deployment],
) -> None:
    deployment = deploy(keep=True)
    deployment.server.stop()
    deployment.server.start()
    worker = start(deployment)
    ids = deployment.batch("parked", list(range(100)))
    rested = deployment.batch("naps", [0.5] * 50)
    all_wait(deployment, ids)
    made = tokens(deployment, ids, 0)
    deployment.server.kill()
    deployment.server.start()
    complete(made)
    wait_until(
        lambda: len(deployment.ledger(event="charge")) == 200, "all are at their second token"
    )
    all_wait(deployment, ids)
    made = tokens(deployment, ids, 1)
    complete(made[:50])
    deployment.server.kill()
    deployment.server.start()
    complete(made[50:])
    assert deployment.wait_all([*ids, *rested]) == {"COMPLETED": 150}
    assert worker.is_running
    check(deployment, ids, "server killed twice while 100 wait")
    assert deployment.count("and 50 naps", rested)["executed_twice"] == 0


def test_messages_that_are_lost_are_made_up_for(deployment: Deployment) -> None:
    """Of runs that may go on, and of runs that were cancelled: the audit sees the difference."""
    worker = start(deployment)
    ids = deployment.batch("parked", list(range(50)))
    all_wait(deployment, ids)
    asleep = [deployment.trigger("work", {"seconds": 3600}) for _ in range(5)]
    deployment.wait_for("begin", asleep[-1])
    made = [*tokens(deployment, ids, 0), *tokens(deployment, ids, 1)]
    mailbox = keys.key(deployment.scope, "mailbox", deployment.session_of(worker) or "")
    worker.pause()
    complete(made)
    for run in asleep:
        runs.cancel(run).sync()
    lost = deployment.client.llen(mailbox)
    deployment.client.delete(mailbox)
    worker.resume()
    began = time.monotonic()
    assert deployment.wait_all(ids, timeout=30) == {"COMPLETED": 50}
    took = time.monotonic() - began
    assert lost >= 50
    check(deployment, ids, f"{lost} messages lost, put right after {took:.1f} s, lease {LEASE} s")
    wait_until(lambda: "not ours" in worker.log, "the cancels are put right")


def test_a_limit_of_three_on_two_workers_with_parents_that_wait(deployment: Deployment) -> None:
    start(deployment, 6, wait=False)
    start(deployment, 6)
    ids = deployment.batch("shift", [2] * 60)
    assert deployment.wait_all(ids, timeout=60) == {"COMPLETED": 60}
    assert {deployment.get(run).output for run in ids} == {9}
    ledger = deployment.ledger()
    most = most_at_once(ledger)
    pids = {entry.pid for entry in ledger}
    print(f"\nlimit 3, {len(pids)} workers, 180 runs in 540 shifts, {most} at most at once")
    assert most <= 3
    assert sum(entry.event == "begin" for entry in ledger) == 540
    assert len(pids) == 2


def test_a_batch_ends_although_its_worker_died(deployment: Deployment) -> None:
    worker = start(deployment)
    made = batch.trigger([{"id": "naps", "payload": 0.3}] * 500).sync()
    ids = [handle.id for handle in made.runs]
    wait_until(lambda: deployment.statuses(ids)["WAITING"] > 100, "many wait")
    second = start(deployment, wait=False)
    worker.kill()
    deployment.wait_all(ids, timeout=40)
    assert second.is_running
    assert batch.retrieve(made).sync().status == "COMPLETED"
