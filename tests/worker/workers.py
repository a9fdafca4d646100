"""A deployment for tests: a server of its own and real worker processes, with a ledger beside it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from tests import forking, police
from tests.waiting import wait_until
from trigger_celery import Run, runs, tasks
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import keys, querying

ROOT = Path(__file__).resolve().parents[2]
POOLS = ("asyncio", "prefork", "threads", "solo")
START_TIMEOUT = 40.0


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    event: str
    run: str
    attempt: int
    epoch: str
    pid: int
    at: float
    more: dict[str, Any]


def _entry(line: str) -> Entry:
    fields = json.loads(line)
    names = ("event", "run", "attempt", "epoch", "pid", "at")
    return Entry(*(fields.pop(name) for name in names), more=fields)


def _stands_still(stat: Path) -> bool:
    """Whether a thread is stopped, or gone."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "TtZX"
    except FileNotFoundError:
        return True


class WorkerProcess:
    """A worker in a process group of its own. *fork*: without the price of a new interpreter."""

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str],
        log: Path,
        *,
        fork: bool = False,
    ) -> None:
        self.log_path = log
        self._environment = environment
        self._command = command
        self.process: subprocess.Popen[bytes] | forking.Process
        with log.open("wb") as output:
            start = forking.start if fork else forking.start_interpreter
            self.process = start(command, env=environment, cwd=ROOT, stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def children(self) -> list[int]:
        """Return the live pool processes."""
        listing = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in listing.read_text().split()] if listing.exists() else []

    def kill(self, *, whole: bool = True) -> None:
        """End it with SIGKILL: the whole group, or only the main process."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(self.pid, signal.SIGKILL)
        self.process.wait(10)

    def pause(self) -> None:
        """Freeze the whole group; returns when it stands still, which is not at once."""
        os.killpg(self.pid, signal.SIGSTOP)
        for pid in (self.pid, *self.children()):
            threads = Path(f"/proc/{pid}/task")
            wait_until(
                lambda threads=threads: all(map(_stands_still, threads.glob("*/stat"))),
                f"process {pid} stands still",
                interval=0.001,
            )

    def resume(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the main process."""
        self.process.send_signal(number)

    def terminate(self, timeout: float = 20.0) -> int:
        """Shut down warm and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 20.0) -> int:
        return self.process.wait(timeout)

    def end(self) -> None:
        """Whatever state it is in: leave nothing of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)


class Deployment:
    """One server, one environment, one ledger, any number of workers.

    The test's process triggers by task id: it does not import the tasks.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: str | None = None,
        keep: bool = False,
        broker: str | None = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        # What it acknowledged is on the disk, however busy that is when the server is killed.
        self.server = EmbeddedServer(
            binary=binary,
            data_dir=folder / "data" if keep else None,
            arguments=("--appendfsync", "always"),
        )
        self.server.start()
        self.broker_url = broker or self.server.broker_url
        self.settings = {"project": "test", "env": "workers", **settings}
        self.ledger_path = folder / "ledger"
        self.ledger_path.touch()
        self.workers: list[WorkerProcess] = []
        self._registry = {
            name: dict(getattr(REGISTRY, name)) for name in ("tasks", "queues", "config")
        }
        REGISTRY.clear()
        self.app = Celery(
            "client",
            broker=self.broker_url,
            backend=self.server.broker_url,
            set_as_current=False,
        )
        self.binding = self._bind()
        self.client = redis.Redis.from_url(self.server.url, socket_timeout=5)
        self.scope = keys.scope(self.settings["project"], self.settings["env"])

    def _bind(self) -> TriggerCelery:
        return TriggerCelery(self.app, redis_url=self.server.url, **self.settings)

    def suspend(self) -> None:
        """Let tests of something else have this process; the workers go on."""
        self.binding.unbind()
        self._give_registry_back()

    def resume(self) -> None:
        """Be what this process triggers for again."""
        REGISTRY.clear()
        self.binding = self._bind()

    # Workers

    def environment(self, conf: dict[str, Any] | None = None, **settings: Any) -> dict[str, str]:
        """Return the environment of a process of this deployment."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "CELERY_BROKER_URL": self.broker_url,
            "CELERY_RESULT_BACKEND": self.server.broker_url,
            "CELERY_CUSTOM_WORKER_POOL": "trigger_celery.worker.pool:TaskPool",
            "TEST_LEDGER": str(self.ledger_path),
            "TEST_CELERY_CONF": json.dumps(conf or {}),
            "TRIGGER_REDIS_URL": self.server.url,
        }
        for setting, value in {**self.settings, **settings}.items():
            environment[f"TRIGGER_{setting.upper()}"] = str(value)
        return environment

    def start_worker(
        self,
        pool: str = "asyncio",
        concurrency: int = 4,
        *,
        module: str = "tests.worker.app_tasks",
        arguments: Sequence[str] = (),
        conf: dict[str, Any] | None = None,
        wait: bool = True,
        fork: bool = True,
        **settings: Any,
    ) -> WorkerProcess:
        """Start a worker and return when its session is registered and the broker connected.

        *fork*: whether it may be (`tests.forking`); not with what patches Celery on import, and
        not for variables that are read on import.
        """
        number = len(self.workers) + 1
        name = f"w{number}@tests"
        environment = self.environment(conf, **settings)
        command = [
            *(sys.executable, "-m", "celery", "-A", module, "worker", "-n", name, "-l", "INFO"),
            *("-P", "custom" if pool == "asyncio" else pool, "-c", str(concurrency)),
            *("--without-gossip", "--without-mingle"),
            *arguments,
        ]
        log = self.folder / f"worker-{number}.log"
        worker = WorkerProcess(command, environment, log, fork=fork and pool in POOLS)
        self.workers.append(worker)
        if wait:
            wait_until(
                lambda: not worker.is_running or " ready." in worker.log,
                f"worker {number} is ready",
                timeout=START_TIMEOUT,
                interval=0.02,
            )
            assert worker.is_running, f"the worker ended:\n{worker.log}"
            wait_until(lambda: self.session_of(worker), f"worker {number} has a session")
        return worker

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Return the registered sessions and what they said of themselves."""
        found = self.client.zrange(keys.key(self.scope, "workers"), 0, -1)
        names = [name.decode() for name in found]
        stored = [self.client.hget(keys.key(self.scope, "worker", name), "info") for name in names]
        return {name: json.loads(info) for name, info in zip(names, stored, strict=True) if info}

    def session_of(self, worker: WorkerProcess) -> str | None:
        """Return the session of a worker process."""
        return next(
            (name for name, info in self.sessions().items() if info["pid"] == worker.pid), None
        )

    # Runs

    def trigger(self, task: str, payload: Any = None, **options: Any) -> str:
        return tasks.trigger(task, payload, **options).sync().id

    def batch(self, task: str, payloads: Sequence[Any], **options: Any) -> list[str]:
        """Trigger one run a payload, in batches of at most 1,000."""
        ids: list[str] = []
        for start in range(0, len(payloads), 1000):
            items = [
                {"payload": payload, "options": options}
                for payload in payloads[start : start + 1000]
            ]
            ids += [handle.id for handle in tasks.batch_trigger(task, items).sync().runs]
        return ids

    def get(self, run: str) -> Run:
        return runs.retrieve(run).sync()

    def status(self, run: str) -> str:
        found = self.client.hget(keys.key(self.scope, "run", run), "status")
        return found.decode() if found else ""

    def epoch(self, run: str) -> str:
        """Return the epoch of the last execution of a run: another one has another."""
        found = self.client.hget(keys.key(self.scope, "run", run), "epoch")
        return found.decode() if found else ""

    def is_in_memory(self, run: str) -> bool:
        """Whether a worker has the run."""
        return bool(self.client.hexists(keys.key(self.scope, "run", run), "owner"))

    def statuses(self, ids: Sequence[str]) -> Counter[str]:
        pipe = self.client.pipeline(transaction=False)
        for run in ids:
            pipe.hget(keys.key(self.scope, "run", run), "status")
        return Counter(value.decode() if value else "" for value in pipe.execute())

    def unfinished(self, ids: Sequence[str]) -> Counter[str]:
        """Return the statuses of those that have not ended; a server that is away counts as one."""
        final = {str(status) for status in querying.RunStatus if status.is_final}
        try:
            found = self.statuses(ids)
        except redis.RedisError:
            return Counter({"server away": 1})
        return Counter({status: n for status, n in found.items() if status not in final})

    def wait(self, run: str, timeout: float = 30.0) -> Run:
        """Return the run once it has ended."""
        self.wait_all([run], timeout)
        return self.get(run)

    def wait_all(self, ids: Sequence[str], timeout: float = 30.0) -> Counter[str]:
        """Return how many ended in which status, once all have."""
        try:
            wait_until(
                lambda: not self.unfinished(ids), "every run ended", timeout=timeout, interval=0.02
            )
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.unfinished(ids)}") from None
        return self.statuses(ids)

    def run(self, task: str, payload: Any = None, **options: Any) -> Run:
        """Trigger and wait."""
        return self.wait(self.trigger(task, payload, **options))

    # The ledger

    def ledger(self, run: str | None = None, event: str | None = None) -> list[Entry]:
        lines = self.ledger_path.read_text().split("\n")[:-1]  # the last is empty, or half written
        return [
            entry
            for entry in map(_entry, lines)
            if run in (None, entry.run) and event in (None, entry.event)
        ]

    def wait_for(self, event: str, run: str | None = None, count: int = 1) -> list[Entry]:
        """Return the entries once there are *count* of them."""
        return wait_until(
            lambda: found if len(found := self.ledger(run, event)) >= count else None,
            f"{count} x {event!r} in the ledger",
            timeout=30,
            interval=0.01,
        )

    def count(self, name: str, ids: Sequence[str], event: str = "begin") -> dict[str, int]:
        """Print what became of the runs and return it."""
        wanted = set(ids)
        begun = Counter(e.run for e in self.ledger(event=event) if e.run in wanted)
        left = sum(self.unfinished(ids).values())
        figures = {
            "runs": len(ids),
            "lost": left,
            "never_executed": len(wanted - set(begun)),
            "executed_twice": sum(1 for times in begun.values() if times > 1),
        }
        print(f"\n{name}: " + ", ".join(f"{what} {n}" for what, n in figures.items()))
        return figures

    # The end

    def check_order(self) -> None:
        """Fail if the store is out of order. No worker may be in the middle of a script."""
        police.inspect(_without_celery(self.client, self.scope), self.scope)

    def close(self) -> None:
        """End every worker the hard way; whatever they were at, the store is in order."""
        for worker in self.workers:
            worker.end()
        try:
            if self.server.is_running and not self._is_in_order():
                # What a killed worker had sent is executed after its death.
                with contextlib.suppress(AssertionError):
                    wait_until(self._is_in_order, "the store is in order", timeout=5)
                self.check_order()
        finally:
            self._close()

    def _is_in_order(self) -> bool:
        try:
            self.check_order()
        except AssertionError:
            return False
        return True

    def _close(self) -> None:
        self.suspend()
        self.client.close()
        self.app.close()
        self.server.close()

    def _give_registry_back(self) -> None:
        for name, before in self._registry.items():
            getattr(REGISTRY, name).clear()
            getattr(REGISTRY, name).update(before)

    def logs(self) -> str:
        """Return the end of every worker's log."""
        return "\n".join(
            f"--- worker {number} ({worker.process.poll()})\n"
            f"{(worker.log.partition('[tasks]')[2] or worker.log)[-6000:]}"
            for number, worker in enumerate(self.workers, 1)
        )


def _without_celery(client: redis.Redis, scope: str) -> redis.Redis:
    """Take the broker's keys away, so that only the environment is left to look at."""
    for name in client.scan_iter(count=1000):
        if not name.decode().startswith(scope):
            client.delete(name)
    return client
