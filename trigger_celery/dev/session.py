"""`trigger-celery dev`: one store, one worker that follows the code, one line for each event."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trigger_celery.bridge.project_app import broker_of
from trigger_celery.dev import state
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.dev.feed import Feed
from trigger_celery.dev.reload import can_watch, watch
from trigger_celery.dev.screen import JsonScreen, Screen
from trigger_celery.dev.worker_process import Inbox, WorkerProcess
from trigger_celery.engine.beats import read_waiting
from trigger_celery.engine.querying import server_version
from trigger_celery.errors import ConfigurationError, StoreUnavailableError
from trigger_celery.store.connection import mask
from trigger_celery.store.store import Store

GRACE = 10.0
LOOKS_UP = 1.5
"""Seconds after which a worker has seen that it was told to stop: Celery's loop turns each second."""
_UNUSABLE = frozenset({"NoAppError", "ConfigurationError", "SettingsError"})


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What `dev` was told."""

    version: str
    folder: Path
    watched: Sequence[Path]
    worker_arguments: Sequence[str]
    redis_url: str | None = None
    embedded: bool = False
    ephemeral: bool = False
    reload: bool = True
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Backend:
    """Where runs are stored for this session. `broker_url` None: the project's own."""

    redis_url: str
    broker_url: str | None
    value: str
    remark: str
    server: EmbeddedServer | None = None


class UnreachableError(StoreUnavailableError):
    """What the project configures does not answer, and nothing else is used in its place."""


class DevSession:
    """Runs until Ctrl-C. `run` returns the exit code."""

    def __init__(self, options: DevOptions) -> None:
        self._options = options
        self._screen: Screen = JsonScreen() if options.as_json else Screen()
        self._inbox: Inbox = queue.SimpleQueue()
        self._stop = threading.Event()
        self._workers: list[WorkerProcess] = []
        self._current: WorkerProcess | None = None
        self._candidate: WorkerProcess | None = None
        self._backend: Backend | None = None
        self._feed: Feed | None = None
        self._loaded: dict[str, Any] = {}
        self._started: dict[str, Any] = {}
        self._reason = ""
        self._greeted = False
        self._took = 0.0
        self._watches = options.reload and can_watch()

    def run(self) -> int:
        """Start everything and follow what happens."""
        _interrupt_on_signals()
        try:
            self._start_watching()
            self._spawn()
            while True:
                kind, worker, value = self._inbox.get()
                code = self._handle(kind, worker, value)
                if code is not None:
                    return code
        except KeyboardInterrupt:
            self._screen.note("stopping", "runs get 10 s to end; Ctrl-C again ends them now")
            return 0
        finally:
            self._finish()

    def _start_watching(self) -> None:
        if self._watches:
            arguments = (self._options.watched, self._inbox, self._stop)
            threading.Thread(target=watch, args=arguments, name="dev-reload", daemon=True).start()

    def _spawn(self) -> None:
        if self._candidate is not None:
            self._candidate.stop(signal.SIGKILL)
        self._candidate = WorkerProcess(
            self._options.worker_arguments,
            self._options.folder,
            len(self._workers) + 1,
            self._inbox,
            json_log=self._options.as_json,
        )
        self._workers.append(self._candidate)

    def _handle(self, kind: str, worker: WorkerProcess, value: Any) -> int | None:
        """React to one thing; an exit code ends the session."""
        if kind == "changed":
            self._reason = f"{', '.join(value[:3])}{' …' if len(value) > 3 else ''} changed"
            self._spawn()
        elif kind == "exit":
            return self._on_exit(worker, value)
        elif kind == "settled":
            self._on_settled(worker)
        elif worker is self._candidate and value["kind"] == "error":
            return self._on_error(value)
        elif worker is self._candidate and value["kind"] == "loaded":
            self._on_loaded(worker, value)
        elif worker is self._current and value["kind"] == "starting":
            self._on_starting(value)
        elif worker is self._current and value["kind"] == "ready":
            self._on_ready(worker)
        return None

    def _on_error(self, message: dict[str, Any]) -> int | None:
        self._candidate = None
        if self._current is None and self._backend is None and message["error"] in _UNUSABLE:
            raise ConfigurationError(message["message"])
        kept = "the worker with the code before goes on" if self._current else "no worker runs"
        if not self._watches:
            raise ConfigurationError(message["message"])
        self._screen.problem(f"{message['message']}\n{kept}; save the file to try again")
        return None

    def _on_loaded(self, worker: WorkerProcess, message: dict[str, Any]) -> None:
        """The new code is fine: it takes over, and the worker with the old one ends its runs."""
        if self._backend is None:
            self._backend = self._choose_backend(message["redis_url"], message["broker_url"])
        old, self._current, self._candidate = self._current, worker, None
        self._loaded = message
        if old is not None:
            old.stop()
        backend = self._backend
        worker.answer({"redis_url": backend.redis_url, "broker_url": backend.broker_url})

    def _on_starting(self, message: dict[str, Any]) -> None:
        self._started = message
        if self._feed is None and self._backend is not None:
            self._feed = Feed(self._backend.redis_url, message["scope"], self._screen)

    def _on_ready(self, worker: WorkerProcess) -> None:
        if self._greeted:
            self._took = worker.age
            threading.Thread(target=self._settle, args=(worker,), daemon=True).start()
        elif self._feed is not None:
            self._greeted = True
            self._banner()
            self._screen.ready(worker.age)
            self._feed.open()

    def _settle(self, worker: WorkerProcess) -> None:
        """A worker that was told to stop may still take a run until it looks up."""
        older = [one for one in self._workers if one is not worker and one.is_alive]
        deadline = time.monotonic() + LOOKS_UP
        for one in older:
            one.wait(max(0.0, deadline - time.monotonic()))
        self._inbox.put(("settled", worker, None))

    def _on_settled(self, worker: WorkerProcess) -> None:
        if self._feed is None or worker is not self._current:
            return
        older = self._feed.older_runs(worker.number)
        remark = f"{_count(older, 'run')} under way with the code before" if older else ""
        self._screen.note(f"{self._reason}   worker restarted in {self._took:.1f} s", remark)

    def _on_exit(self, worker: WorkerProcess, code: int) -> int | None:
        if worker is self._candidate:
            self._candidate = None
        elif worker is self._current:
            self._current = None
        else:
            return None
        if not self._watches:
            return code
        self._screen.problem(
            f"the worker ended with exit code {code}; save a file to start it again"
        )
        return None

    def _choose_backend(self, redis_url: str | None, broker_url: str | None) -> Backend:
        """Return the configured store, or start the embedded one when there is none."""
        options = self._options
        configured = options.redis_url or redis_url
        if configured is not None and not options.embedded:
            return _configured(configured, broker_url)
        folder = options.folder / state.FOLDER
        if not options.ephemeral:
            state.make_folder(options.folder)
        server = EmbeddedServer(data_dir=None if options.ephemeral else folder)
        server.start()
        own_broker = server.broker_url if options.embedded or broker_url is None else None
        state.write(
            options.folder,
            state.DevState(os.getpid(), server.url, own_broker or str(broker_url)),
        )
        kept = (
            "in memory, gone at the end"
            if options.ephemeral
            else f"data kept in {state.FOLDER}/ (--ephemeral to forget)"
        )
        name = f"{server.binary.product} {server.binary.version} embedded"
        return Backend(server.url, own_broker, name, kept, server)

    def _banner(self) -> None:
        assert self._backend is not None  # noqa: S101 - there is one before a worker is ready
        loaded, started, backend = self._loaded, self._started, self._backend
        counts = (
            f"{_count(len(started['tasks']), 'task')}, {_count(len(started['queues']), 'queue')}"
        )
        reload = "reloads on save" if self._watches else _why_no_reload(self._options.reload)
        concurrency = f" x{started['concurrency']}" if started["concurrency"] else ""
        facts = [
            ("app", loaded["app"], f"found {loaded['how']}"),
            ("store", backend.value, backend.remark),
            ("worker", f"{started['pool']}{concurrency}", f"{counts}   {reload}"),
            *_schedules(backend, started["scope"]),
        ]
        hint = ""
        if backend.server is not None:
            hint = f"export TRIGGER_REDIS_URL='{backend.redis_url}'"
            hint += f" CELERY_BROKER_URL='{backend.broker_url}'" if backend.broker_url else ""
        self._screen.banner(self._options.version, facts, hint)

    def _finish(self) -> None:
        """End the workers, then the store. A second Ctrl-C does not wait for runs."""
        self._stop.set()
        try:
            _end(self._workers, signal.SIGTERM, GRACE)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end(self._workers, signal.SIGQUIT, 3.0)
        _end(self._workers, signal.SIGKILL, 3.0)
        if self._feed is not None:
            self._feed.close()
        if self._backend is not None and self._backend.server is not None:
            state.forget(self._options.folder)
            self._backend.server.close()


def _configured(redis_url: str, broker_url: str | None) -> Backend:
    store = Store(redis_url, "", timeout=2.0, retry_for=0.5)
    try:
        version = store.run_sync(server_version())
    except StoreUnavailableError as problem:
        raise UnreachableError(
            f"{problem}\n  It is what the project configures, so nothing else is used in its place; "
            "`trigger-celery dev --embedded` brings a server along."
        ) from problem
    finally:
        store.close()
    own_broker = broker_of(redis_url) if broker_url is None else None
    return Backend(redis_url, own_broker, f"{version} at {mask(redis_url)}", "as configured")


def _schedules(backend: Backend, scope: str) -> list[tuple[str, str, str]]:
    """Return the banner's line about schedules, if there are any."""
    store = Store(backend.redis_url, scope)
    try:
        waiting = store.run_sync(read_waiting(scope))
    finally:
        store.close()
    if waiting.next_at is None:
        return []
    first = waiting.next_at.astimezone().strftime("%Y-%m-%d %H:%M")
    return [("beat", _count(waiting.count, "schedule"), f"next at {first}")]


def _end(workers: Sequence[WorkerProcess], number: signal.Signals, seconds: float) -> None:
    alive = [worker for worker in workers if worker.is_alive]
    for worker in alive:
        worker.stop(number)
    for worker in alive:
        worker.wait(seconds)


def _interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the session as Ctrl-C does, also where SIGINT was ignored."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def _why_no_reload(wanted: bool) -> str:
    return 'pip install "trigger-celery[dev]" to reload on save' if wanted else "no reload"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
