"""The two runners behind one face, for tests that hold for both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.store.op import Flow
from trigger_celery.store.store import Store

T = TypeVar("T")


class Driver:
    """Runs flows through one of the runners; asyncio in one loop that lives as long as this."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._runner = asyncio.Runner() if kind == "asyncio" else None
        self._stores: list[Store] = []

    def store(self, url: str, scope: str = "{scope}", **options: float) -> Store:
        made = Store(url, scope, **options)
        self._stores.append(made)
        return made

    def run(self, store: Store, flow: Flow[T]) -> T:
        if self._runner is None:
            return store.run_sync(flow)
        return self._runner.run(store.run_async(flow))

    def close(self) -> None:
        for store in self._stores:
            store.close()
            if self._runner is not None:
                self._runner.run(store.aclose())
        if self._runner is not None:
            self._runner.close()


@pytest.fixture(params=["sync", "asyncio"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """Both runners, one after the other."""
    made = Driver(request.param)
    yield made
    made.close()


@pytest.fixture
def start_server(server_binary: str | None) -> Iterator[Callable[..., EmbeddedServer]]:
    """Starts further servers, which the test may break."""
    started: list[EmbeddedServer] = []

    def start(*arguments: str) -> EmbeddedServer:
        one = EmbeddedServer(binary=server_binary, arguments=arguments)
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.close()
