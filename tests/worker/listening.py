"""Celery's events, as a monitor receives them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.worker.workers import Deployment


class Listener:
    """Celery's event receiver."""

    def __init__(self) -> None:
        self.connection: Any = None
        self.kinds: dict[str, list[str]] = defaultdict(list)
        self.events: list[dict[str, Any]] = []

    def take(self, event: dict[str, Any]) -> None:
        if event["type"].startswith("task-"):
            self.events.append(event)
            self.kinds[event["uuid"]].append(event["type"])

    def wait_for(self, run: str, last: str) -> list[str]:
        deadline = time.monotonic() + 15
        while last not in self.kinds[run] and time.monotonic() < deadline:
            self.drain()
        return self.kinds[run]

    def drain(self) -> None:
        with suppress(TimeoutError):
            self.connection.drain_events(timeout=0.2)


@contextmanager
def listening(deployment: Deployment) -> Iterator[Listener]:
    with deployment.app.connection_for_read() as connection:
        listener = Listener()
        receiver = deployment.app.events.Receiver(connection, handlers={"*": listener.take})
        with receiver.consumer_context(wakeup=False) as (listener.connection, _, _):
            listener.drain()  # it subscribes with its first look
            yield listener
