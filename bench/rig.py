"""The bench's server and workers, and what the benchmarks need around their measurements."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import redis

from bench import pools
from bench.pools import Pool
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import sessions
from trigger_celery.worker.session import declare_queue

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 240.0
"""Seconds after which a measurement counts as stuck."""


class Worker:
    """A worker process under way, and the series of notes that its tasks write."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self._folder = folder
        self._read = 0

    def memory(self) -> int:
        """Return the bytes of memory that the process has resident."""
        command = ["ps", "-o", "rss=", "-p", str(self.process.pid)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout) * 1024

    def series(self, patience: float = PATIENCE) -> list[Any]:
        """Wait for the next complete series of notes and return it."""
        path = self._folder / f"{self._read}.json"
        wait_until(path.exists, patience, alive=self._check)
        self._read += 1
        notes: list[Any] = json.loads(path.read_text())
        return notes

    def until(self, done: Callable[[], Any]) -> None:
        """Wait until *done* says so."""
        wait_until(done, alive=self._check)

    def _check(self) -> None:
        if self.process.poll() is not None:
            raise RuntimeError(f"the worker ended:\n{(self._folder / 'log').read_text()[-2000:]}")


def wait_until(
    done: Callable[[], Any], patience: float = PATIENCE, alive: Callable[[], None] | None = None
) -> None:
    """Wait until *done* says so. Raises TimeoutError after *patience* seconds."""
    end = time.monotonic() + patience
    while not done():
        if alive is not None:
            alive()
        if time.monotonic() > end:
            raise TimeoutError(f"nothing after {patience:g} s")
        time.sleep(0.005)


class Rig:
    """One server, the two apps bound to it, and workers on demand."""

    def __init__(self, scale: float, say: Callable[[str], None]) -> None:
        self.say = say
        self._scale = scale
        self._closing = ExitStack()
        self._best: dict[str, Pool] = {}

    def __enter__(self) -> Self:
        self.server = self._closing.enter_context(EmbeddedServer())
        self._scratch = Path(self._closing.enter_context(tempfile.TemporaryDirectory()))
        self.client = redis.Redis.from_url(self.server.url)
        self._closing.callback(self.client.close)
        os.environ |= {"BENCH_URL": self.server.url, "BENCH_BROKER": self.server.broker_url}
        self.ours = importlib.import_module("bench.apps.ours")
        self.plain = importlib.import_module("bench.apps.plain")
        self.trigger = self.ours.trigger
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.trigger.store.close()
        self._closing.close()

    def count(self, most: int, step: int = 1) -> int:
        """Return how many to measure: *most*, or less at a smaller scale, in multiples of *step*."""
        return max(step, round(most * self._scale / step) * step)

    def reset(self) -> None:
        """Empty the server. Only while no worker runs."""
        self.client.execute_command("FLUSHALL", "SYNC")  # by default memory is freed later
        self._declare()

    def _declare(self) -> None:
        """Leave what a worker of ours declares, as in a deployment that had one before."""
        scope, store = self.trigger.scope, self.trigger.store
        tasks = [
            sessions.TaskDeclaration(
                name, definition.queue.name, self.trigger.worker_queue(definition, name), 1, {}
            )
            for name, definition in REGISTRY.tasks.items()
        ]
        queues = [declare_queue(queue) for queue in REGISTRY.queues.values()]
        declared = sessions.SessionDeclaration("before", 30_000, {}, [], tasks, queues, None)
        store.run_blocking(sessions.register(scope, declared))
        store.run_blocking(sessions.close(scope, "before", 1000))

    @contextmanager
    def our_worker(self, *series: int, concurrency: int = 100, pool: str = "") -> Iterator[Worker]:
        """Run a worker of ours; *pool* '' is the asyncio pool."""
        arguments = ["-P", pool] if pool else []
        env = {} if not pool else {"BENCH_POOL": pool}
        with self._worker("bench.apps.ours", arguments, concurrency, series, env) as worker:
            yield worker

    @contextmanager
    def celery_worker(
        self, pool: Pool, *series: int, app: str = "bench.apps.plain"
    ) -> Iterator[Worker]:
        """Run a plain Celery worker."""
        env = {"BENCH_PREFETCH": str(pool.prefetch)}
        arguments = ["-P", pool.name, "--without-heartbeat"]
        with self._worker(app, arguments, pool.size, series, env) as worker:
            yield worker

    @contextmanager
    def _worker(
        self,
        app: str,
        arguments: list[str],
        size: int,
        series: tuple[int, ...],
        env: dict[str, str],
    ) -> Iterator[Worker]:
        command = ["worker", "-c", str(size), "--without-gossip", "--without-mingle", *arguments]
        with self._process(
            app, command, {**env, "BENCH_SERIES": ",".join(map(str, series))}
        ) as one:
            yield one

    @contextmanager
    def beat(self, app: str, scheduler: str, *arguments: str) -> Iterator[Worker]:
        """Run a beat."""
        with self._process(app, ["beat", "-S", scheduler, *arguments], {}) as one:
            yield one

    @contextmanager
    def _process(self, app: str, command: list[str], env: dict[str, str]) -> Iterator[Worker]:
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        log = folder / "log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "celery",
                    "-A",
                    app,
                    *command,
                    "-l",
                    "ERROR",
                ],
                cwd=ROOT,
                env={**os.environ, **env, "BENCH_NOTES": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            yield Worker(process, folder)
        finally:
            _end(process)

    def best_pool(self, purpose: str) -> Pool:
        """Return Celery's best single-process pool for a purpose; found out once."""
        if purpose not in self._best:
            self._best[purpose] = pools.find_best(self, purpose)
        return self._best[purpose]

    def server_time(self) -> float:
        """Return the µs the server has spent in scripts."""
        stats: dict[str, Any] = self.client.info("commandstats")  # type: ignore[assignment]
        return sum(stats.get(f"cmdstat_{name}", {}).get("usec", 0) for name in ("eval", "evalsha"))

    def runs_in(self, status: str) -> int:
        """Return how many of our runs have a status."""
        found: int = self.client.zcard(f"{self.trigger.scope}:index_status:{status}")
        return found

    def used_memory(self) -> int:
        """Return the bytes that the server's data takes."""
        memory: dict[str, Any] = self.client.info("memory")  # type: ignore[assignment]
        return int(memory["used_memory"])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
