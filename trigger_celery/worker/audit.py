"""Finds runs that a session owns and never got: the message that handed them over was lost."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from trigger_celery.engine.attempts import Ending
from trigger_celery.engine.sessions import Owned

logger = logging.getLogger("trigger_celery.worker")


class Audit:
    """Compares what the store says with what the worker knows, at each renewal of the lease."""

    def __init__(self) -> None:
        self._suspects: set[tuple[str, str]] = set()

    def missing(self, owned: Mapping[str, Owned], known: Collection[str]) -> list[Ending]:
        """Return endings that give back what was unknown this time and the time before.

        Once is not enough: a run may have ended, or be on its way, while the store was asked.
        """
        unknown = {(run_id, run.epoch) for run_id, run in owned.items() if run_id not in known}
        lost = unknown & self._suspects
        self._suspects = unknown - lost
        for run_id, _ in lost:
            logger.warning(
                "run %s was handed to this worker and did not arrive: given back",
                run_id,
                extra={"action": "run_not_arrived", "run_id": run_id},
            )
        return [Ending(run_id, epoch, "back", "", "") for run_id, epoch in sorted(lost)]
