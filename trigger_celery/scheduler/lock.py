"""RedBeat's lock, held without ever blocking: who has it sends RedBeat's entries, the rest stand by."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from redis.exceptions import LockError

RENEWALS = 4
"""How often the lock is renewed within its time, at the least, while entries are sent."""


class BeatLock:
    """One beat's hold on the lock. *client* is asked for at each use: RedBeat may replace its own.

    The key and its form are RedBeat's: a beat of RedBeat's own and one of ours keep each other out.
    The token is the same for the life of the process, so a lock whose first reply was lost is
    still ours.
    """

    def __init__(self, client: Callable[[], Any], key: str | None, timeout: float) -> None:
        self._client = client
        self._key = key
        self._timeout = timeout
        self._token = uuid4().hex.encode()
        self._renewed = 0.0
        self.is_held = False

    def hold(self) -> bool:
        """Renew the lock, or take it if it is free; tell whether it is ours.

        Without a key there is no lock: every beat sends. Raises redis.RedisError.
        """
        if self._key is None:
            self.is_held = True
            return True
        self.is_held = False
        lock = self._lock()
        asked = time.monotonic()
        try:
            self.is_held = bool(lock.reacquire())
        except LockError:
            self.is_held = bool(lock.acquire(blocking=False, token=self._token))
        self._renewed = asked
        return self.is_held

    def keep(self) -> bool:
        """Renew the lock if it is about time; tell whether it is ours. Raises redis.RedisError."""
        if not self.is_held:
            return False
        if self._key is None or time.monotonic() - self._renewed < self._timeout / RENEWALS:
            return True
        return self.hold()

    def release(self) -> None:
        """Give the lock to the others at once. Raises redis.RedisError."""
        held, self.is_held = self.is_held, False
        if not held or self._key is None:
            return
        try:
            self._lock().release()
        except LockError:
            return  # somebody else's by now

    def __str__(self) -> str:
        return "none" if self._key is None else f"`{self._key}` ({self._timeout:g} s)"

    def _lock(self) -> Any:
        lock = self._client().lock(self._key, timeout=self._timeout, thread_local=False)
        lock.local.token = self._token
        return lock
