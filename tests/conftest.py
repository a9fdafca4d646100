"""Fixtures that every test may use: one real server per process, one environment per test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from celery import Celery
from hypothesis import settings as hypothesis_settings

from tests import police, rabbitmq
from tests.driving import Clock, Engine
from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import keys
from trigger_celery.store.store import Store

pytest_plugins = ["pytest_trigger_celery"]

hypothesis_settings.register_profile("nightly", max_examples=1000, deadline=None)

_numbers = itertools.count(1)
_WATCHED = {"store", "trigger"}


def pytest_report_header() -> str:
    """Say which brokers this session covers."""
    found = rabbitmq.version()
    other = "RabbitMQ is not installed: its tests are skipped" if found is None else ""
    return f"brokers: Redis or Valkey; {other or f'RabbitMQ {found}'}"


@dataclass(frozen=True)
class Environment:
    """The environment of one test: nobody used it before."""

    project: str
    env: str

    @property
    def scope(self) -> str:
        return keys.scope(self.project, self.env)


@pytest.fixture(scope="session")
def server_binary() -> str | None:
    """The server program to test against; None means the one that is found."""
    return os.environ.get("TRIGGER_TEST_SERVER") or None


@pytest.fixture(scope="session")
def server(server_binary: str | None) -> Iterator[EmbeddedServer]:
    """A server that lives as long as this test process (one for each pytest-xdist worker)."""
    with EmbeddedServer(binary=server_binary) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    """A plain client of the server, to look behind the engine's back."""
    with redis.Redis.from_url(server.url) as plain:
        yield plain


@pytest.fixture
def environment(client: redis.Redis) -> Environment:
    """An environment on an empty server."""
    client.flushall()
    return Environment("test", f"e{next(_numbers)}")


@pytest.fixture
def store(server: EmbeddedServer, environment: Environment) -> Iterator[Store]:
    """A store on the empty server."""
    made = Store(server.url, environment.scope)
    yield made
    made.close()


@pytest.fixture
def clock(client: redis.Redis, environment: Environment) -> Clock:
    """The test clock: time passes when it is told to."""
    return Clock(client, environment.scope)


@pytest.fixture
def engine(store: Store, client: redis.Redis) -> Engine:
    """Drives the engine as workers and callers do."""
    return Engine(store, client)


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    """A Celery app without a broker."""
    made = Celery("shop", broker="memory://", set_as_current=False)
    yield made
    made.close()


@pytest.fixture
def registry() -> Iterator[None]:
    """No tasks, queues or configuration; what there was before comes back."""
    everything: list[dict[Any, Any]] = [
        REGISTRY.tasks, REGISTRY.queues, REGISTRY.config, REGISTRY.hooks,
    ]  # fmt: skip
    kept = [(one, dict(one)) for one in everything]
    REGISTRY.clear()
    yield
    for left in context.bound():
        left.unbind()
    for present, before in kept:
        present.clear()
        present.update(before)


@pytest.fixture
def trigger(
    app: Celery, server: EmbeddedServer, environment: Environment, registry: None
) -> Iterator[TriggerCelery]:
    """The app, bound to the empty server."""
    bound = TriggerCelery(
        app, redis_url=server.url, project=environment.project, env=environment.env
    )
    yield bound
    bound.unbind()


@pytest.fixture(autouse=True)
def order_is_kept(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test that used the store: the store is consistent, and nothing of it leaks."""
    if not _WATCHED & set(request.fixturenames):
        yield
        return
    environment: Environment = request.getfixturevalue("environment")
    client: redis.Redis = request.getfixturevalue("client")
    server: EmbeddedServer = request.getfixturevalue("server")
    yield
    police.inspect(client, environment.scope)
    with_store = Store(server.url, environment.scope)
    police.leave_nothing(client, with_store)
    with_store.close()
