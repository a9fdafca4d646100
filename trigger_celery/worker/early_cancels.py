"""Cancels that came before their run: the mailbox may be faster than the reply that brings it."""

from __future__ import annotations

from trigger_celery.engine.attempts import Grant

MOST = 1000
"""Cancels that are remembered; the oldest goes first."""


class EarlyCancels:
    """Remembers which runs need not be begun when they come."""

    def __init__(self) -> None:
        self._epochs: dict[tuple[str, str], None] = {}

    def add(self, run_id: str, epoch: str) -> None:
        """Remember a cancel of a run that is not here."""
        self._epochs[run_id, epoch] = None
        if len(self._epochs) > MOST:
            del self._epochs[next(iter(self._epochs))]

    def __contains__(self, grant: Grant) -> bool:
        return (grant.id, grant.epoch) in self._epochs
