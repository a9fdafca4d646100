"""A reply that gets lost on the wire changes nothing, whichever reply it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests import police
from tests.conftest import Environment
from tests.engine.lifecycle import Life, state_of
from tests.engine.lifecycle_data import Data
from tests.engine.lifecycle_keys import Keys
from tests.engine.lifecycle_schedules import Schedules
from tests.engine.lifecycle_waits import Waits
from tests.faultproxy import FaultProxy, reply_end
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.store.op import Flow
from trigger_celery.store.store import Store


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[FaultProxy]:
    with FaultProxy(str(server.socket_path)) as made:
        yield made


def flow_of(life: str, scope: str) -> Flow[list[Any]]:
    if life == "schedules":
        return Schedules(scope, 0).flow()
    if life in ("keys", "data"):
        return (Keys if life == "keys" else Data)(scope, 0).flow()
    return Life(scope, 0).flow() if life == "runs" else Waits(scope, [], 0).flow()


def live(
    proxy: FaultProxy, client: redis.Redis, scope: str, runner: str, life: str
) -> tuple[Any, Any]:
    """Live a whole life through the proxy and return the answers and what is stored then."""
    client.flushall()
    client.script_flush()  # every life also meets a server that does not know the scripts
    store = Store(proxy.url, scope)
    flow = flow_of(life, scope)

    async def asynchronously() -> Any:
        try:
            return await store.run_async(flow)
        finally:
            await store.aclose()

    answers = store.run_sync(flow) if runner == "sync" else asyncio.run(asynchronously())
    store.close()
    return answers, state_of(police.inspect(client, scope))


@pytest.mark.parametrize("half", [0, 1])  # so that two processes of tests can share the work
@pytest.mark.parametrize(
    ("runner", "life"),
    [
        ("sync", "runs"),
        ("asyncio", "runs"),
        ("sync", "waits"),
        ("asyncio", "waits"),
        ("sync", "keys"),
        ("sync", "data"),
        ("sync", "schedules"),
    ],
)
def test_any_one_lost_reply_of_a_whole_life_changes_nothing(
    proxy: FaultProxy,
    client: redis.Redis,
    environment: Environment,
    runner: str,
    life: str,
    half: int,
) -> None:
    scope = environment.scope
    proxy.lose(0)
    answers, stored = live(proxy, client, scope, runner, life)
    replies = proxy.replies
    assert replies > 30
    for number in range(1 + half, replies + 1, 2):
        proxy.lose(number)
        found = live(proxy, client, scope, runner, life)
        assert proxy.lost, f"the {number}th reply was not lost"
        assert found == (answers, stored), f"the loss of reply {number} is seen"
    proxy.lose(0)
    assert live(proxy, client, scope, runner, life) == (answers, stored)


@pytest.mark.parametrize(
    "reply",
    [b"+OK\r\n", b"-ERR no\r\n", b":7\r\n", b"$-1\r\n", b"$0\r\n\r\n", b"$3\r\na\r\n\r\n", b"*-1\r\n",
     b"*0\r\n", b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n"],
)  # fmt: skip
def test_the_proxy_knows_where_a_reply_ends(reply: bytes) -> None:
    assert reply_end(reply + b"+more", 0) == len(reply)
    for cut in range(len(reply)):
        assert reply_end(reply[:cut], 0) is None
