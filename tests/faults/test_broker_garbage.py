"""Garbage in a broker's queue, and in our own mailboxes: thrown away with a line in the log.

Beside each pool of ours there is a worker of the same project without the library: what it does is
what ours do.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults import garbage
from tests.waiting import wait_until
from tests.worker.recorded.conftest import MODULE
from tests.worker.workers import Deployment, WorkerProcess
from trigger_celery import runs
from trigger_celery.engine import keys
from trigger_celery.engine.recording import read_unrecorded

pytestmark = pytest.mark.processes

OURS = ("asyncio", "prefork", "solo")
WITHOUT = "without"
EVERYBODY = (*OURS, WITHOUT)
REFUSED = (
    "unknown-task", "a-function", "ours-unknown", "pickle", "unknown-type", "eta", "expires",
)  # fmt: skip
"""Kinds that are recorded: somebody may have called the task."""
MAIL = (
    b"\xff\xfe\x00",
    b"",
    b"run ",
    b"run x\x1fy",
    b"run \xff",
    b"cancel \xff",
    b"dance run_1 x",
    b"{}",
)


class Brokers:
    """A queue for each worker, and what is in it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.client = deployment.client
        self.workers: dict[str, WorkerProcess] = {}

    def start(self, *names: str) -> None:
        """Start a worker for each queue, side by side."""
        for name in names:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("TEST_LINE", "0" if name == WITHOUT else "1")
                self.workers[name] = self.deployment.start_worker(
                    "prefork" if name == WITHOUT else name,
                    1,
                    module=MODULE,
                    arguments=("-Q", name),
                    wait=False,
                )
        for name in names:
            worker = self.workers[name]
            wait_until(
                lambda worker=worker: " ready." in worker.log, "a worker is ready", timeout=60
            )

    def push(self, queue: str, message: dict[str, Any] | bytes) -> str:
        """Put something behind what is in a queue; returns its task id."""
        raw = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.client.lpush(queue, raw)
        if isinstance(message, bytes):
            return ""
        return str((message["headers"] or {}).get("id", ""))

    def good(self, queue: str) -> str:
        return self.push(queue, garbage.envelope(queue, "good"))

    def state(self, task_id: str) -> str:
        """Return what Celery's result backend has."""
        found = self.client.get(f"celery-task-meta-{task_id}")
        return str(json.loads(found)["status"]) if found else ""

    def done(self, *task_ids: str) -> None:
        """Wait until good messages were executed."""
        for task_id in task_ids:
            wait_until(
                lambda task_id=task_id: self.state(task_id) == "SUCCESS", f"{task_id} was executed"
            )

    def left(self) -> int:
        """How many messages are in the queues, or fetched and not acknowledged."""
        return sum(map(self.client.llen, EVERYBODY)) + int(self.client.hlen("unacked"))

    def unrecorded(self) -> int:
        """How many facts the workers say they could not record."""
        deployment = self.deployment
        return deployment.binding.store.run_sync(read_unrecorded(deployment.scope)).count

    def recorded(self) -> dict[str, str]:
        """Return the statuses of all runs by Celery's ids."""
        found: dict[str, str] = {}
        cursor = None
        while True:
            page = runs.list(limit=100, cursor=cursor).sync()
            found |= {str(run.celery_task_id): str(run.status) for run in page}
            cursor = page.next_cursor
            if cursor is None:
                return found


@pytest.fixture(scope="module")
def brokers(
    tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Brokers]:
    """A worker on each pool, and one without the library."""
    made = Deployment(tmp_path_factory.mktemp("garbage"), binary=server_binary)
    found = Brokers(made)
    found.start(*EVERYBODY)
    yield found
    print(made.logs())
    made.close()


def test_what_is_no_message_is_thrown_away(brokers: Brokers) -> None:
    before = {name: len(worker.log) for name, worker in brokers.workers.items()}
    expected: Counter[str] = Counter()
    good: list[str] = []
    thrown: dict[str, str] = {}
    for queue in EVERYBODY:
        for name, said, message in garbage.kinds(queue):
            thrown[brokers.push(queue, message)] = name
            good.append(brokers.good(queue))
            expected[said] += queue == WITHOUT
    brokers.done(*good)
    wait_until(lambda: brokers.left() == 0, "nothing is left on the broker")
    for name, worker in brokers.workers.items():
        assert worker.is_running, name
        log = worker.log[before[name] :]
        said = {what: log.count(what) for what in expected}
        print(f"\n{name}: {sum(said.values())} kinds of garbage, {said}")
        assert said == expected, name
        assert "raised unexpected" not in log, name
    refused = {one for one in thrown if thrown[one] in REFUSED}
    ours = set(good[: len(good) // len(EVERYBODY) * len(OURS)])
    due = Counter({"COMPLETED": len(ours), "SYSTEM_FAILURE": len(REFUSED) * len(OURS)})
    wait_until(
        lambda: Counter(brokers.recorded().values()) == due, "what was no garbage is recorded"
    )
    recorded = brokers.recorded()
    assert {one for one in recorded if recorded[one] == "COMPLETED"} == ours
    assert {one for one in recorded if recorded[one] == "SYSTEM_FAILURE"} < refused


def test_odd_messages_end_as_they_do_without_the_library(brokers: Brokers) -> None:
    ended: dict[str, dict[str, str]] = {}
    sent: dict[str, dict[str, str]] = {}
    for queue in EVERYBODY:
        sent[queue] = {
            name: brokers.push(queue, message) for name, message in garbage.failing(queue)
        }
        brokers.done(brokers.good(queue))
    for queue, ids in sent.items():
        ended[queue] = {name: brokers.state(task_id) for name, task_id in ids.items()}
    assert ended[WITHOUT]["huge"] == "FAILURE"
    for queue in OURS:
        assert ended[queue] == ended[WITHOUT]
        assert brokers.workers[queue].is_running
    wait_until(lambda: brokers.left() == 0, "nothing is left on the broker")
    due = {
        task_id: status
        for queue in OURS
        for task_id, status in (
            (sent[queue]["huge"], "FAILED"),
            (sent[queue]["our-names"], "COMPLETED"),
        )
    }
    wait_until(lambda: due.items() <= brokers.recorded().items(), "both are recorded")
    # Of what says that its parent is no text no run can be made: that is counted.
    assert not {sent[queue]["odd"] for queue in OURS} & set(brokers.recorded())
    wait_until(lambda: brokers.unrecorded() == len(OURS), "the odd ones are counted")


def test_nonsense_for_the_remote_control(brokers: Brokers) -> None:
    """Of kombu's own messages, which are told to all workers."""
    control = brokers.deployment.app.control
    for raw in (b"\xff\xfe", b"half", b""):
        heard = brokers.client.publish("/0.celery.pidbox", raw)
        assert heard == len(EVERYBODY)
    control.broadcast("no-such-command", {"a": 1})
    control.broadcast("revoke", {"nonsense": []})
    control.broadcast("rate_limit", {"task_name": ["x"], "rate_limit": {}})
    answers = control.ping(timeout=20, limit=len(EVERYBODY))
    assert len(answers) == len(EVERYBODY)


@pytest.mark.parametrize("pool", OURS)
def test_nonsense_in_a_workers_mailbox(brokers: Brokers, pool: str) -> None:
    """The reader outlives it, so that it hears of the next run."""
    worker = brokers.workers[pool]
    session = brokers.deployment.session_of(worker)
    assert session is not None
    mailbox = keys.key(brokers.deployment.scope, "mailbox", session)
    for count, message in enumerate(MAIL, 1):
        brokers.client.rpush(mailbox, message)
        text = f"{count} so far in this process"
        wait_until(lambda text=text: text in worker.log, f"{message!r} is thrown away")
    brokers.done(brokers.good(pool))


def test_nonsense_on_the_channel_of_who_waits(brokers: Brokers) -> None:
    """It says nothing, and what is announced after it is heard."""
    waits = brokers.deployment.trigger("nobody-has-it")
    ended: list[Any] = []
    poll = threading.Thread(target=lambda: ended.append(runs.poll(waits).sync()))
    poll.start()
    pattern = brokers.deployment.scope.replace("[", "\\[") + ":news:*"
    (channel, *_) = wait_until(lambda: brokers.client.pubsub_channels(pattern), "it listens")
    for raw in (b"\xff\xfe", b"", b"[]", b"x" * 100_000):
        brokers.client.publish(channel, raw)
    runs.cancel(waits).sync()
    poll.join(30)
    assert ended[0].status == "CANCELED"


def test_what_kombu_cannot_read_ends_any_worker_and_nothing_else(brokers: Brokers) -> None:
    """Of the transport itself: with the library it is as without. What starts next goes on."""
    mine = ("prefork", WITHOUT)
    for queue in mine:
        brokers.push(queue, b"\xff\xfe garbage")
    codes = {queue: brokers.workers[queue].wait(30) for queue in mine}
    assert codes["prefork"] == codes[WITHOUT] != 0
    assert not brokers.deployment.session_of(brokers.workers["prefork"])
    assert brokers.left() == 0
    good = brokers.good("prefork")
    brokers.start("prefork")
    brokers.done(good)
