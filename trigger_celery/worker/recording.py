"""What the log says about endings that wait, or that did not count."""

from __future__ import annotations

import logging

from trigger_celery.engine.attempts import Ending

logger = logging.getLogger("trigger_celery.worker")


def log_delay(problem: Exception, count: int) -> None:
    """Say that endings wait for the server."""
    logger.warning(
        "%d ending(s) wait for the store: %s",
        count,
        problem,
        extra={"action": "endings_wait", "count": count},
    )


def log_refusal(ending: Ending, answer: str) -> None:
    """Say that an ending did not count: somebody else owns or ended the run."""
    if answer not in ("ok", "crashed"):
        logger.warning(
            "the %s of run %s does not count: %s",
            ending.kind,
            ending.run_id,
            answer,
            extra={"action": "ending_refused", "run_id": ending.run_id, "answer": answer},
        )
