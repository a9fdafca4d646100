"""Sweeper: takes over the runs of workers that are gone."""

from __future__ import annotations

import logging
from collections.abc import Callable

from trigger_celery.engine import sessions
from trigger_celery.engine.recording import sweep_recorded
from trigger_celery.store.op import Flow

logger = logging.getLogger("trigger_celery.sweeper")


class Sweeper:
    """Looks for lapsed leases every sixth of a lease, at most every 5 s."""

    name = "sweeper"

    def __init__(
        self,
        scope: str,
        lease_ms: int,
        retention: int,
        on_crashed: Callable[[str], None] | None = None,
    ) -> None:
        self._on_crashed = on_crashed
        self._scope = scope
        self._lease_ms = lease_ms
        self._retention = retention
        self.interval_ms = max(50, min(5000, lease_ms // 6))

    def tick(self) -> Flow[float]:
        """Take over at most 100 runs, and look at 100 recorded ones that nobody speaks of."""
        done = yield from sessions.sweep(
            self._scope, self._lease_ms, self.interval_ms, self._retention
        )
        for run_id, status in done.taken:
            logger.warning(
                "run %s lost its worker, now %s",
                run_id,
                status,
                extra={"action": "run_lost_worker", "run_id": run_id, "status": status},
            )
            if status == "CRASHED" and self._on_crashed is not None:
                self._on_crashed(run_id)
        if done.sessions_ended:
            logger.warning(
                "%d worker session(s) lapsed and were ended",
                done.sessions_ended,
                extra={"action": "session_lapsed", "count": done.sessions_ended},
            )
        recorded = yield from sweep_recorded(self._scope, self._lease_ms, self._retention)
        for run_id in recorded.lost:
            logger.warning(
                "the process that executed the recorded run %s is silent",
                run_id,
                extra={"action": "recorded_run_silent", "run_id": run_id},
            )
        return 0.0 if done.more or recorded.more else self.interval_ms / 1000
