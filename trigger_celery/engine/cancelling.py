"""Cancels runs that have not started."""

from __future__ import annotations

from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.querying import not_found
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import CannotCancelError
from trigger_celery.model.ids import op_id
from trigger_celery.model.run import RunError, RunStatus
from trigger_celery.store.op import Flow


def cancel_run(scope: str, run_id: str, reason: str, retention: int) -> Flow[RunStatus]:
    """Cancel a run that has not started and return its status then.

    A final run is left as it is: its status is returned. Raises CannotCancelError when it
    executes and RunNotFoundError when there is none.
    """
    error = dump_error(RunError(None, reason, type="STRING_ERROR"))
    answer, status = yield SCRIPTS.cancel_run(
        scope, op_id=op_id(), run_id=run_id, error=error, retention=retention
    )
    if answer == b"gone":
        raise not_found(run_id)
    if answer == b"started":
        raise CannotCancelError(
            f"run {run_id} is {status.decode()}: only a run that has not started can be cancelled"
        )
    return RunStatus(status.decode())
