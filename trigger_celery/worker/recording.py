"""Records endings from sync code, and does not give up while the lease may still hold."""

from __future__ import annotations

import logging
import time

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.engine import attempts
from trigger_celery.engine.attempts import Ending
from trigger_celery.errors import StoreError
from trigger_celery.model.ids import op_id

logger = logging.getLogger("trigger_celery.worker")


def finish_until_recorded(trigger: TriggerCelery, ending: Ending) -> str:
    """Record one ending; repeats the same call while the server is away.

    Gives up after two leases: by then the run has been taken over. Returns ok, stale, final or
    gone, or `lost` when it gave up.
    """
    operation = op_id()
    deadline = time.monotonic() + 2 * trigger.settings.worker_lease
    while True:
        try:
            answer = trigger.store.run_blocking(
                attempts.finish(trigger.scope, operation, [ending], trigger.settings.run_retention)
            )[0]
        except StoreError as problem:
            log_delay(problem, 1)
            if time.monotonic() > deadline:
                return "lost"
            time.sleep(0.5)
            continue
        log_refusal(ending, answer)
        return answer


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
    if answer != "ok":
        logger.warning(
            "the %s of run %s does not count: %s",
            ending.kind,
            ending.run_id,
            answer,
            extra={"action": "ending_refused", "run_id": ending.run_id, "answer": answer},
        )
