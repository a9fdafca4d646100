"""Two sides of one comparison: the same Celery project without the line, and with it.

Each side has its own database at the broker, its own workers and its own producer, on one server.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.waiting import wait_until
from tests.worker.workers import Deployment, WorkerProcess

START_TIMEOUT = 60.0
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Side:
    """One of the two: *line* says which."""

    def __init__(
        self,
        deployment: Deployment,
        folder: Path,
        database: int,
        *,
        line: bool,
        broker: str | None = None,
        conf: dict[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir()
        self.line = line
        self.ledger = folder / "ledger"
        self.ledger.touch()
        address = f"{deployment.server.broker_url}?virtual_host={database}"
        self.environment = {
            **deployment.environment(conf),
            "CELERY_BROKER_URL": broker or address,
            "CELERY_RESULT_BACKEND": address,
            "TEST_LEDGER": str(self.ledger),
            "TEST_LINE": "1" if line else "0",
        }
        self._deployment = deployment

    def start(self, *command: str, **environment: str) -> WorkerProcess:
        """Start a process of this side; the deployment ends it."""
        number = len(self._deployment.workers) + 1
        made = WorkerProcess(
            [sys.executable, *command],
            {**self.environment, **environment},
            self.folder / f"process-{number}.log",
        )
        self._deployment.workers.append(made)
        return made

    def start_worker(
        self, module: str, pool: str, *arguments: str, **environment: str
    ) -> WorkerProcess:
        """Start a worker and return at once."""
        return self.start(
            *(
                "-m",
                "celery",
                "-A",
                module,
                "worker",
                "-P",
                pool,
                "-l",
                "INFO",
                "-n",
                f"{pool}@tests",
            ),
            *("--without-gossip", "--without-mingle", *arguments),
            **environment,
            C_FORCE_ROOT="1",  # or Celery takes no pickle from tests in a container
        )

    def answer(self, process: WorkerProcess, timeout: float = 100.0) -> dict[str, Any]:
        """Return what a producer printed last, as JSON."""
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the producer does not end:\n{process.log}") from None
        assert code == 0, process.log
        answer: dict[str, Any] = json.loads(process.log.rstrip().rpartition("\n")[2])
        return answer


def ready(workers: Sequence[WorkerProcess]) -> None:
    """Return when all of them consume."""
    for worker in workers:
        wait_until(
            lambda worker=worker: " ready." in worker.log or not worker.is_running,
            "a worker is ready",
            timeout=START_TIMEOUT,
            interval=0.02,
        )
        assert worker.is_running, worker.log


def without_ids(value: Any) -> Any:
    """Return the value with ids replaced by the order in which they appear."""
    order: dict[str, str] = {}
    text = _UUID.sub(
        lambda found: order.setdefault(found[0], f"id-{len(order) + 1}"), json.dumps(value)
    )
    return json.loads(text)
