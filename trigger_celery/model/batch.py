"""A batch as its readers see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from trigger_celery.model.instant import iso
from trigger_celery.model.status import Status


class BatchStatus(Status):
    """Where a batch is in its life; equal to its own name in any letter case."""

    PROCESSING = "PROCESSING"  # runs are still to be created or to end
    COMPLETED = "COMPLETED"  # all runs are final, whatever their outcomes
    PARTIAL_FAILED = "PARTIAL_FAILED"  # all are final; some items could not be triggered
    ABORTED = "ABORTED"  # its runs were not all created within 30 minutes


@dataclass(frozen=True, slots=True)
class BatchItemError:
    """An item of a batch that could not be triggered."""

    index: int
    task_identifier: str
    error: str
    error_code: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A snapshot of a batch; reading it again may show another. Times are in UTC.

    `runs` are run ids in the order of the items. `is_sealed`: all of them have been created.
    """

    id: str
    status: BatchStatus
    run_count: int
    runs: tuple[str, ...] = ()
    errors: tuple[BatchItemError, ...] = ()
    parent_id: str | None = None
    created_at: datetime | None = None
    completed_at: datetime | None = None
    idempotency_key: str | None = None
    is_sealed: bool = True

    @property
    def is_completed(self) -> bool:
        """True when nothing more happens to it."""
        return self.status is not BatchStatus.PROCESSING

    def to_dict(self) -> dict[str, Any]:
        """Return the batch as JSON-ready values; times are ISO 8601 in UTC."""
        return {
            "id": self.id,
            "status": str(self.status),
            "run_count": self.run_count,
            "runs": list(self.runs),
            "errors": [asdict(error) for error in self.errors],
            "parent_id": self.parent_id,
            "idempotency_key": self.idempotency_key,
            "created_at": None if self.created_at is None else iso(self.created_at),
            "completed_at": None if self.completed_at is None else iso(self.completed_at),
        }
