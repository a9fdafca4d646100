"""Who waits for something hears of it at once, and looks again when the news may be lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis

from tests.store.conftest import Driver
from tests.waiting import wait_until
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.store.op import Await, Flow, Listen, Sleep
from trigger_celery.store.store import Store


def waited(announce: Callable[[str], None], seconds: float, topics: int = 1) -> Flow[float]:
    """Listen, announce, wait; return how long the wait took."""
    found = []
    for number in range(topics):
        found.append((yield Listen(f"topic{number}")))
    began = time.monotonic()
    announce(found[-1].channel)
    yield Await(found[-1], seconds)
    return time.monotonic() - began


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trigger-news"]


def test_an_announcement_ends_the_wait(
    driver: Driver, server: EmbeddedServer, client: redis.Redis
) -> None:
    store = driver.store(server.url)
    for _ in range(3):
        took = driver.run(store, waited(lambda channel: client.publish(channel, "topic0"), 10))
        assert took < 5


def test_an_announcement_of_another_topic_does_not(
    driver: Driver, server: EmbeddedServer, client: redis.Redis
) -> None:
    store = driver.store(server.url)
    for name in ("topic0", "unknown"):
        took = driver.run(store, waited(lambda c, n=name: client.publish(c, n), 0.05, topics=2))
        assert took >= 0.05


def test_everybody_who_listens_hears_it(
    driver: Driver, server: EmbeddedServer, client: redis.Redis
) -> None:
    """What one has heard is still news to another, who was busy when it came."""
    store = driver.store(server.url)

    def flow() -> Flow[float]:
        one, other = (yield Listen("topic0")), (yield Listen("topic0"))
        client.publish(one.channel, "topic0")
        yield Await(one, 10)
        began = time.monotonic()
        yield Await(other, 10)
        return time.monotonic() - began

    assert driver.run(store, flow()) < 5


def test_a_lost_subscription_lets_everybody_look_for_himself(
    driver: Driver, server: EmbeddedServer, client: redis.Redis
) -> None:
    store = driver.store(server.url)
    cut = driver.run(
        store, waited(lambda _: client.client_kill_filter(_type="pubsub", skipme=True), 10)
    )
    assert cut < 5

    def until_subscribed_again() -> Flow[bool]:
        topic = yield Listen("topic0")
        for _ in range(500):
            if client.publish(topic.channel, "topic0"):
                return True
            yield Sleep(0.01)
        return False

    assert driver.run(store, until_subscribed_again())
    assert driver.run(store, waited(lambda channel: client.publish(channel, "topic0"), 10)) < 5


def test_a_closed_store_listens_no_more_and_may_be_used_again(
    server: EmbeddedServer, client: redis.Redis
) -> None:
    store = Store(server.url, "{scope}")
    before = len(listeners())
    for _ in range(2):
        assert store.run_sync(waited(lambda c: client.publish(c, "topic0"), 10)) < 5
        assert len(listeners()) == before + 1
        store.close()
        wait_until(lambda: len(listeners()) == before, "the listening thread has ended")


def test_listening_does_not_fail_when_the_server_is_away(tmp_path: Path) -> None:
    store = Store(f"unix://{tmp_path}/nobody.sock", "{scope}")
    assert store.run_sync(waited(lambda _: None, 0.01)) < 5
    store.close()
