"""RabbitMQ carries plain tasks; runs and results are in Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, group

from tests import rabbitmq
from tests.rabbitmq import RabbitServer
from tests.waiting import wait_until
from tests.worker.celery_api.calling import MODULE, PATIENCE, Api
from tests.worker.recorded.conftest import OldProject
from tests.worker.workers import Deployment
from trigger_celery.scheduler import TriggerScheduler

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A RabbitMQ server for the tests here."""
    program = rabbitmq.find_server()
    if program is None:
        pytest.skip("RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)")
    server = RabbitServer(program, tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.wait()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def api(
    broker: RabbitServer, tmp_path_factory: pytest.TempPathFactory, server_binary: str | None
) -> Iterator[Api]:
    """A worker that consumes from RabbitMQ, and its tasks."""
    made = Deployment(
        tmp_path_factory.mktemp("deployment"), binary=server_binary, broker=broker.url
    )
    made.start_worker("prefork", 2, module=MODULE)
    yield Api(made)
    print(made.logs())
    made.close()


@pytest.fixture
def old(api: Api) -> OldProject:
    return OldProject(api.deployment)


def test_runs(api: Api) -> None:
    with api.app.connection_for_read() as connection:
        assert connection.transport.driver_type == "amqp"
    assert api.deployment.run("double", 4).output == 8
    assert api.ours.rough.delay(5).get(timeout=PATIENCE) == 6


def test_plain_tasks_are_recorded(api: Api, old: OldProject) -> None:
    result = api.plain.add.delay(1, 2)
    assert result.get(timeout=PATIENCE) == 3
    recorded = old.status(result.id, "COMPLETED")
    assert (recorded.output, recorded.queue, recorded.attempt_count) == (3, "celery", 1)


def test_tasks_that_are_taken_over(api: Api) -> None:
    assert api.taken.add.delay(8, 2).get(timeout=PATIENCE) == 10


def test_chains_groups_and_chords_of_both(api: Api) -> None:
    parts = [api.ours.double.s(3), api.plain.add.s(4), api.ours.add_ten.s(), api.plain.add.s(1)]
    assert chain(*parts)().get(timeout=PATIENCE) == 21
    both = group(api.plain.add.s(2), api.ours.double.s(1))()
    assert both.get(timeout=PATIENCE) == [3, 2]
    header = [api.ours.double.s(1), api.plain.add.s(3), api.taken.add.s(4)]
    assert chord(header)(api.plain.total.s()).get(timeout=PATIENCE) == 11


def test_what_was_revoked_is_cancelled(api: Api, old: OldProject) -> None:
    revoked = str(uuid4())
    (answer,) = api.app.control.revoke(revoked, reply=True, timeout=PATIENCE, limit=1)
    assert "ok" in next(iter(answer.values()))
    api.plain.add.apply_async((1, 2), task_id=revoked)
    old.status(revoked, "CANCELED")
    ours = api.ours.double.apply_async((1,), countdown=600)
    ours.revoke()
    assert ours.state == "REVOKED"


def test_garbage_is_thrown_away(api: Api, old: OldProject) -> None:
    """Bytes and headers of all kinds; in Redis there are more, see `tests/faults`."""
    worker = api.deployment.workers[0]
    headers = {"task": "plain.add", "id": "garbage", "root_id": "garbage"}
    pickle = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}
    kinds: list[tuple[bytes, dict[str, Any], str]] = [
        (b"\xff\xfe", {"content_type": "application/json", "headers": headers}, "Can't decode"),
        (b"[" * 100_000, {"content_type": "application/json", "headers": headers}, "Can't decode"),
        (b"\x80\x04N.", {**pickle, "headers": headers}, "invalid task message"),
        (b"[]", {"content_type": "application/x-nothing", "headers": headers}, "invalid task"),
        (b'"hello"', {"content_type": "application/json"}, "unknown message"),
        (b"[]", {"headers": {"task": "os.system", "id": "x"}}, "unregistered task"),
    ]
    before = len(worker.log)
    with api.app.connection_for_write() as connection, connection.Producer() as producer:
        for body, options, _ in kinds:
            given = {"content_type": "text/plain", "content_encoding": "utf-8", **options}
            producer.publish(body, routing_key="celery", **given)
    assert api.plain.add.delay(1, 2).get(timeout=PATIENCE) == 3
    log = worker.log[before:]
    for _, _, said in kinds:
        assert said in log
    assert old.get("garbage") is None


def test_a_beat_publishes(api: Api) -> None:
    api.app.conf.redbeat_key_prefix = "redbeat:"
    api.app.conf.beat_schedule = {
        "plain": {"task": "plain.add", "schedule": 0.5, "args": [700, 7]},
        "run": {"task": "notes", "schedule": 0.5, "args": ["by beat"]},
    }
    beat = TriggerScheduler(app=api.app)
    ledger = api.deployment.ledger

    def executed() -> bool:
        beat.tick()
        plain = [entry.more["values"] for entry in ledger(event="plain-add")]
        return [700, 7] in plain and any(
            entry.more["payload"] == "by beat" for entry in ledger(event="noted")
        )

    try:
        wait_until(executed, "both were executed", timeout=30)
    finally:
        beat.close()


def test_runs_go_on_when_the_broker_is_gone(api: Api, broker: RabbitServer) -> None:
    """On the asyncio pool; others get and give their work through the loop that Celery stops."""
    for worker in api.deployment.workers:
        worker.terminate()
    worker = api.deployment.start_worker("asyncio", 2, module=MODULE)
    broker.kill()
    wait_until(lambda: "onnection" in worker.log.partition(" ready.")[2], "it misses the broker")
    assert api.deployment.run("rough", 1).output == 2
    assert worker.is_running
