"""The thread of `dev` that follows the feed of changes and hands events to the screen."""

from __future__ import annotations

import threading

from trigger_celery.dev.events import EventReader, newest, next_changes
from trigger_celery.dev.screen import Screen
from trigger_celery.engine.querying import WorkerState, list_workers
from trigger_celery.errors import StoreError
from trigger_celery.store.store import Store

_PAUSE = 1.0


class Feed:
    """Follows one environment until it is closed."""

    def __init__(self, redis_url: str, scope: str, screen: Screen) -> None:
        self._store = Store(redis_url, scope, timeout=5.0, retry_for=1.0)
        self._scope = scope
        self._screen = screen
        self._stop = threading.Event()
        self._open = threading.Event()
        self._after = self._store.run_sync(newest(scope))
        self._thread = threading.Thread(target=self._follow, name="dev-feed", daemon=True)
        self._thread.start()

    def older_runs(self, number: int) -> int:
        """Return how many runs are in the hands of workers other than the one with this number."""
        workers = self._store.run_sync(list_workers(self._scope))
        return sum(worker.busy for worker in workers if not _is_number(worker, number))

    def open(self) -> None:
        """Begin to print; what happened meanwhile comes first."""
        self._open.set()

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._open.set()
        self._thread.join(3)
        self._store.close()

    def _follow(self) -> None:
        reader = EventReader()
        self._open.wait()
        away = False
        while not self._stop.is_set():
            try:
                self._after, changes = self._store.run_sync(next_changes(self._scope, self._after))
                events = self._store.run_sync(reader.read(self._scope, changes))
            except StoreError as problem:
                if not away and not self._stop.is_set():
                    self._screen.problem(f"events are not shown: {problem}")
                away = True
                self._stop.wait(_PAUSE)
                continue
            away = False
            self._screen.events(events)


def _is_number(worker: WorkerState, number: int) -> bool:
    return worker.hostname.partition("@")[0] == f"dev{number}"
