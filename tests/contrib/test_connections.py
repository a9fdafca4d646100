"""Connections of the database around attempts, hooks and waits."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

import tests.contrib.here  # noqa: F401 - sets Django up
from tests.waiting import wait_until
from trigger_celery.contrib.django import connections as module
from trigger_celery.contrib.django.connections import Connections
from trigger_celery.worker.daemon_threads import DaemonThreads


@pytest.fixture
def connections() -> Connections:
    return Connections(2)


@pytest.fixture(autouse=True)
def nothing_is_open() -> Iterator[None]:
    connection.close()
    yield
    connection.close()


def is_open() -> bool:
    return connection.connection is not None


def use() -> str:
    """Use the database, and return the thread."""
    connection.ensure_connection()
    return threading.current_thread().name


def test_sync_code_begins_and_ends_without_old_connections(connections: Connections):
    use()
    with connections.around():
        assert not is_open()
        use()
        connections.rest()
        assert not is_open()
        use()
        assert is_open()
    assert not is_open()


def test_a_transaction_is_left_alone(connections: Connections):
    with connections.around(), transaction.atomic():
        connections.rest()
        assert is_open()


async def test_async_code_has_one_thread_and_leaves_nothing_open_in_it(connections: Connections):
    with connections.around():
        first, second = await sync_to_async(use)(), await sync_to_async(use)()
        assert first == second != threading.current_thread().name
        assert await sync_to_async(is_open)()
        connections.rest()
        assert not await sync_to_async(is_open)()
        await sync_to_async(use)()
    one = Connections(1)
    with one.around():
        await sync_to_async(use)()
    with one.around():
        assert not await sync_to_async(is_open)()


async def test_a_connection_that_became_old_between_attempts_is_not_used():
    def keep(until: float | None) -> None:
        connection.close_at = until

    connections = Connections(1)
    with connections.around():
        await sync_to_async(use)()
        await sync_to_async(keep)(None)
    with connections.around():
        assert await sync_to_async(is_open)()
    DaemonThreads.submit(connections._threads[0], keep, 0.0).result(10)
    with connections.around():
        assert not await sync_to_async(is_open)()


async def test_attempts_share_the_threads_evenly(connections: Connections):
    async def attempt(barrier: asyncio.Barrier) -> str:
        with connections.around():
            await barrier.wait()
            name = await sync_to_async(use)()
            await barrier.wait()
            return name

    barrier = asyncio.Barrier(4)
    names = await asyncio.gather(*[attempt(barrier) for _ in range(4)])
    assert sorted(names.count(name) for name in set(names)) == [2, 2]


async def test_what_goes_on_after_its_attempt_keeps_its_thread(connections: Connections):
    go_on = asyncio.Event()

    async def late() -> str:
        await go_on.wait()
        return await sync_to_async(use)()

    with connections.around():
        name = await sync_to_async(use)()
        left = asyncio.create_task(late())
        await asyncio.sleep(0)
    go_on.set()
    assert await left == name


async def test_threads_are_made_when_somebody_uses_them(connections: Connections):
    before = threading.active_count()
    with connections.around():
        await asyncio.sleep(0)
    assert threading.active_count() == before


def test_a_connection_that_cannot_be_closed_fails_nothing(
    connections: Connections, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fails(**_: object) -> None:
        raise RuntimeError("the line is cut")

    monkeypatch.setattr(module, "close_old_connections", fails)
    with caplog.at_level(logging.ERROR), connections.around():
        connections.rest()
    assert {record.action for record in caplog.records} == {"connection_not_closed"}


async def test_it_waits_for_nobody(connections: Connections):
    release = threading.Event()
    with connections.around():
        slow = asyncio.ensure_future(sync_to_async(release.wait)(20))
        await asyncio.sleep(0)
    # The loop goes on though the thread is still busy.
    release.set()
    assert await slow
    wait_until(lambda: not any(one.attempts for one in connections._threads), "all are left")
