"""A pipeline keeps its order when the server has forgotten some of its scripts."""

from __future__ import annotations

import asyncio

import pytest

from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.store.op import Call, Flow, command
from trigger_celery.store.scripts import Script
from trigger_celery.store.store import Store

ADD = Script("add", "return redis.call('HSETNX', KEYS[1], 'field', 'value')", (), False)
LOOK = Script("look", "return redis.call('HGET', KEYS[1], 'field') or 'nothing'", (), False)


def add_then_look(key: str) -> Flow[list[object]]:
    replies: list[object] = yield [Call(ADD, key, ()), Call(LOOK, key, ())]
    return replies


@pytest.mark.parametrize("runner", ["sync", "asyncio"])
def test_what_follows_a_forgotten_script_sees_its_effect(
    server: EmbeddedServer, runner: str
) -> None:
    store = Store(server.url, "{pipeline}")
    key = f"{{pipeline}}:{runner}"
    store.send(command("SCRIPT", "FLUSH"))
    store.send(Call(LOOK, key, ()))  # known to the server from here on; ADD is not
    if runner == "sync":
        replies = store.run_sync(add_then_look(key))
    else:
        replies = asyncio.run(_on_a_loop(store, key))
    assert replies == [1, b"value"]
    store.send(command("DEL", key))
    store.close()


async def _on_a_loop(store: Store, key: str) -> list[object]:
    try:
        return await store.run_async(add_then_look(key))
    finally:
        await store.aclose()
