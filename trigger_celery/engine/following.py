"""Follows something that changes: gives what is new, one after the other, through outages of the server.

A follower's state changes between two round trips only: one that is cancelled can go on.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from trigger_celery.errors import StoreUnavailableError
from trigger_celery.store.op import Flow, Sleep

T = TypeVar("T")

logger = logging.getLogger("trigger_celery.subscriptions")

PATIENCE = 60.0
"""Seconds for which a follower waits for a server that is away."""

_TRY_AGAIN = 0.2


def _nothing_to_check() -> None:
    """Return: the follower belongs to no run."""


class Follower(Generic[T]):
    """Gives one item after the other.

    *check* is called before each look; what it raises ends the wait.
    """

    def __init__(
        self, check: Callable[[], None] = _nothing_to_check, patience: float = PATIENCE
    ) -> None:
        self._ready: deque[T] = deque()
        self._over = False
        self._check = check
        self._patience = patience
        self._begun = False
        self._closed = False
        self._away_since: float | None = None

    def next(self) -> Flow[T | None]:
        """Return the next item, or None at the end.

        Raises StoreUnavailableError when the server is away: at once before the first look,
        later after a minute.
        """
        while not self._closed:
            self._check()
            if self._ready:
                return self._ready.popleft()
            if self._over:
                return None
            began = time.monotonic()
            try:
                yield from self._step()
            except StoreUnavailableError as problem:
                if not self._begun:
                    raise
                yield from self._endure(problem, began)
            else:
                self._begun = True
                self._away_since = None
        return None

    def _endure(self, problem: StoreUnavailableError, began: float) -> Flow[None]:
        if self._away_since is None:
            self._away_since = began
            logger.warning(
                "a subscription waits for the server: %s",
                problem,
                extra={"action": "subscription_waits"},
            )
        elif time.monotonic() - self._away_since > self._patience:
            self._away_since = None
            raise problem
        yield Sleep(_TRY_AGAIN)

    def _step(self) -> Flow[None]:
        raise NotImplementedError

    def close(self) -> None:
        """Come to the end. Ends a wait under way."""
        self._closed = True

    def rest(self) -> None:
        """Hold no connection until the next call."""
