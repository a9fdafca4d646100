"""How `dev` and the worker process it starts speak to each other: lines of JSON over two pipes.

The worker imports the project, says what it found, is told where to store runs, and says when it
is ready. So the project's code is imported once, in the process that executes it, and `dev`
itself never holds a stale copy.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from trigger_celery.bridge import project_app
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.worker_command import choose_pool, leave_output_alone, when_ready
from trigger_celery.errors import TriggerError

ORPHAN_GRACE = 3.0
"""Seconds a worker without `dev`, and so often without a store, gets to end its runs."""


class Worker:
    """The worker's end. *channel* is the numbers of two descriptors: `read,write`."""

    def __init__(self, channel: str) -> None:
        reading, writing = map(int, channel.split(","))
        for descriptor in (reading, writing):
            os.set_inheritable(descriptor, False)
        self._input = os.fdopen(reading, "r", encoding="utf-8")
        self._output = os.fdopen(writing, "w", encoding="utf-8", buffering=1)

    def run(
        self,
        load: Callable[[], TriggerCelery],
        described: Callable[[], Mapping[str, str]],
        pool: str | None,
    ) -> None:
        """Load the project, report it, and take over the addresses that `dev` answers with."""
        try:
            trigger = load()
            found = project_app.addresses(trigger)
            project_app.import_tasks(trigger.app)
        except TriggerError as problem:
            self.send({"kind": "error", "message": str(problem), "error": type(problem).__name__})
            raise SystemExit(1) from None
        self.send({"kind": "loaded", **described(), "redis_url": found.redis_url,
                   "broker_url": found.broker_url})  # fmt: skip
        answer = self._receive()
        project_app.point_at(trigger, answer["redis_url"], answer["broker_url"])
        leave_output_alone(trigger.app)
        logging.getLogger("trigger_celery.task").setLevel(logging.INFO)
        name = choose_pool(trigger.app, pool)
        self.send({"kind": "starting", **_summary(trigger, name)})
        when_ready(lambda: self.send({"kind": "ready"}))
        threading.Thread(target=self._end_with_parent, name="dev-watch", daemon=True).start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message. A `dev` that is gone does not matter."""
        try:
            self._output.write(json.dumps(message) + "\n")
        except OSError:
            return

    def _receive(self) -> dict[str, Any]:
        line = self._input.readline()
        if not line:
            raise SystemExit(0)
        message: dict[str, Any] = json.loads(line)
        return message

    def _end_with_parent(self) -> None:
        """The pipe ends when `dev` does, however it does: then nobody wants this worker."""
        while self._input.readline():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHAN_GRACE)
        os._exit(1)


def _summary(trigger: TriggerCelery, pool: str) -> dict[str, Any]:
    settings = trigger.settings
    return {
        "scope": trigger.scope,
        "pool": pool,
        "concurrency": trigger.app.conf.get("worker_concurrency"),
        "tasks": sorted(REGISTRY.tasks),
        "queues": sorted(REGISTRY.queues),
        "environment": f"{settings.project}/{settings.env}",
    }
