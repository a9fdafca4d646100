"""The test clock: what the scripts take for the present, ahead of the server's by as much as a test says."""

from __future__ import annotations

from trigger_celery.engine import keys
from trigger_celery.store.op import command
from trigger_celery.store.store import Store


class Clock:
    """Moves the clock of one environment. It only goes forward."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = keys.key(store.scope, "clock")

    def now(self) -> int:
        """Return the present in ms, as the scripts see it."""
        (seconds, micros), ahead = self._store.send(command("TIME"), command("GET", self._key))
        return int(seconds) * 1000 + int(micros) // 1000 + int(ahead or 0)

    def advance(self, ms: int) -> None:
        """Let *ms* pass at once."""
        self._store.send(command("INCRBY", self._key, max(0, ms)))
