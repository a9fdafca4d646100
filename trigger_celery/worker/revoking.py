"""Celery's `revoke` reaches runs: every worker that is told of it cancels those that do not execute.

The broadcast comes to all workers, and whoever is first cancels the runs; to the others they are
final. Ids that are no runs' cost a look. What comes while a call is under way is done by the next.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from trigger_celery.engine.cancelling import revoke_runs
from trigger_celery.errors import StoreError
from trigger_celery.model.ids import run_id_of
from trigger_celery.worker.daemon_threads import call_later

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.worker")

MOST: Final = 10_000
"""Ids that wait to be looked at; more are dropped."""


class Revocations:
    """What this worker was told to revoke, until the store has been told."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger
        self._lock = threading.Lock()
        self._waiting: dict[str, bool] = {}
        self._under_way = False

    def add(self, app: Any, task_ids: Iterable[Any], terminate: bool) -> None:
        """Cancel the runs of Celery's ids soon, in another thread: a worker's loop may not wait."""
        if app is not self._trigger.app:
            return
        dropped = 0
        with self._lock:
            for task_id in task_ids:
                run_id = run_id_of(str(task_id))
                if run_id in self._waiting or len(self._waiting) < MOST:
                    self._waiting[run_id] = terminate or self._waiting.get(run_id, False)
                else:
                    dropped += 1
            begins = bool(self._waiting) and not self._under_way
            self._under_way |= begins
        if dropped:
            self._log(dropped, f"more than {MOST:,} ids wait")
        if begins:
            call_later(0.0, self._work)

    def _work(self) -> None:
        while waiting := self._take():
            try:
                self._cancel(waiting)
            except StoreError as problem:
                self._log(len(waiting), problem)
            except Exception:
                logger.exception("revoked runs", extra={"action": "revoke_failed"})

    def _take(self) -> dict[str, bool]:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            self._under_way = bool(waiting)
        return waiting

    def _cancel(self, waiting: dict[str, bool]) -> None:
        store, retention = self._trigger.store, self._trigger.settings.run_retention
        for terminate in set(waiting.values()):
            ids = [run_id for run_id, how in waiting.items() if how is terminate]
            flow = revoke_runs(store.scope, ids, "Revoked", retention, terminate=terminate)
            count = sum(store.run_blocking(flow))
            if count:
                logger.info(
                    "%d run(s) are cancelled, as Celery's revoke asked for",
                    count,
                    extra={"action": "runs_revoked", "count": count},
                )

    @staticmethod
    def _log(count: int, why: object) -> None:
        logger.warning(
            "up to %d run(s) that were revoked are not cancelled: %s",
            count,
            why,
            extra={"action": "revoke_failed", "count": count},
        )
