"""Bulk actions: carries out what was announced, 100 runs a tick."""

from __future__ import annotations

import logging
from collections.abc import Callable

from trigger_celery.engine.bulk import Claim, SendAgain, carry_on, claim_bulk
from trigger_celery.engine.triggering import Placement
from trigger_celery.store.op import Flow

LOOK_EVERY = 2.0

logger = logging.getLogger("trigger_celery.bulk")


class BulkActions:
    """Takes one action at a time and does piece after piece; another worker goes on if it dies."""

    name = "bulk"

    def __init__(
        self,
        scope: str,
        retention: int,
        place_of: Callable[[str], Placement],
        send_again: SendAgain | None = None,
    ) -> None:
        self._scope = scope
        self._retention = retention
        self._place_of = place_of
        self._send_again = send_again
        self._claim: Claim | None = None

    def tick(self) -> Flow[float]:
        """Do at most 100 runs."""
        # What fails is not known to be done: somebody takes it over when the lease has lapsed.
        claim, self._claim = self._claim, None
        if claim is None:
            claim = yield from claim_bulk(self._scope)
            if claim is None:
                return LOOK_EVERY
        step = yield from carry_on(
            self._scope, claim, self._place_of, self._retention, self._send_again
        )
        self._claim = step.claim
        if step.ended is not None:
            logger.info(
                "bulk action %s is %s",
                claim.id,
                step.ended,
                extra={"action": "bulk_ended", "bulk_id": claim.id, "status": str(step.ended)},
            )
        return 0.0
