"""Cancels runs in any state that is not final, with their descendants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.querying import not_found
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.ids import op_id
from trigger_celery.model.run import RunError, RunStatus
from trigger_celery.store.op import Flow

CANCELS_PER_CALL: Final = 25


def cancel_run(scope: str, run_id: str, reason: str, retention: int) -> Flow[RunStatus]:
    """Cancel a run and return its status then. Of a final or recorded run nothing changes.

    The worker that executes it is told. Its descendants follow through timers, so that the
    cascade does not depend on the caller. Raises RunNotFoundError when there is none.
    """
    error = dump_error(RunError(None, reason, type="STRING_ERROR"))
    answer, status = yield SCRIPTS.cancel_run(
        scope, op_id=op_id(), run_id=run_id, error=error, retention=retention
    )
    if answer == b"gone":
        raise not_found(run_id)
    return RunStatus(status.decode())


def revoke_runs(
    scope: str, run_ids: Sequence[str], reason: str, retention: int, *, terminate: bool = False
) -> Flow[list[bool]]:
    """Cancel those runs that are not under way, or with *terminate* all; says which it cancelled.

    One pipeline. Runs that are final, recorded or unknown stay as they are.
    """
    if not run_ids:
        return []
    error = dump_error(RunError(None, reason, type="STRING_ERROR"))
    replies: list[list[bytes]] = yield [
        SCRIPTS.revoke_runs(
            scope,
            run_ids[start : start + CANCELS_PER_CALL],
            None,
            op_id=op_id(),
            all="1" if terminate else "0",
            error=error,
            retention=retention,
        )
        for start in range(0, len(run_ids), CANCELS_PER_CALL)
    ]
    return [answer == b"ok" for reply in replies for answer in reply]
