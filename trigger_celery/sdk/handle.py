"""What a trigger returns: the handle of a run, and how runs are named in calls."""

from __future__ import annotations

from dataclasses import dataclass

from trigger_celery.engine.querying import not_found
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.ids import GivenRunId, is_run_id
from trigger_celery.model.run import Run


@dataclass(frozen=True, slots=True)
class RunHandle:
    """The id of a triggered run, and its task.

    `is_cached`: the run was there before, found by an idempotency key or a debounce key.
    """

    id: str
    task_identifier: str
    is_cached: bool = False

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class BatchHandle:
    """The id of a batch and its runs, in the order of its items.

    `is_cached`: the batch was there before, found by its idempotency key.
    """

    id: str
    runs: tuple[RunHandle, ...]
    is_cached: bool = False

    @property
    def batch_id(self) -> str:
        """The batch's id; the same as `id`."""
        return self.id

    @property
    def run_count(self) -> int:
        """How many runs were triggered."""
        return len(self.runs)


def id_of(run: str | RunHandle | Run) -> str:
    """Return the id of a run that is given in any form. Raises RunNotFoundError.

    The id of a task of Celery's stands for the run that was recorded of it.
    """
    run_id = getattr(run, "id", run)
    if not isinstance(run_id, str):
        raise InvalidOptionError(
            f"{run!r} is not a run: pass the id that trigger returned (run_…), a handle or a Run"
        )
    if not is_run_id(run_id) and (not run_id or run_id.startswith("run_")):
        # Nothing with such a name can exist: the answer is the same as for an unknown run.
        raise not_found(run_id)
    return run_id if is_run_id(run_id) else GivenRunId(run_id)
