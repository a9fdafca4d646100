"""A bulk action as its readers see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from trigger_celery.model.instant import iso
from trigger_celery.model.status import Status


class BulkType(Status):
    """What a bulk action does to each run; equal to its own name in any letter case."""

    CANCEL = "CANCEL"
    REPLAY = "REPLAY"


class BulkStatus(Status):
    """Where a bulk action is in its life; equal to its own name in any letter case."""

    PENDING = "PENDING"  # waits for a worker, or is being carried out
    COMPLETED = "COMPLETED"  # every run was done, whatever came of it
    ABORTED = "ABORTED"  # stopped before its end


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A snapshot of a bulk action; reading it again may show another. Times are in UTC.

    `success_count`: runs that it cancelled, or made. `failure_count`: runs that had ended before, or
    could not be triggered again. `total` is None until it is known: at the start for a list of
    runs, at the end for a filter.
    """

    id: str
    type: BulkType
    status: BulkStatus
    name: str | None = None
    total: int | None = None
    success_count: int = 0
    failure_count: int = 0
    created_at: datetime | None = None
    completed_at: datetime | None = None

    @property
    def done_count(self) -> int:
        """The runs that were done so far."""
        return self.success_count + self.failure_count

    @property
    def is_completed(self) -> bool:
        """True when nothing more happens: COMPLETED and ABORTED."""
        return self.status != BulkStatus.PENDING

    def to_dict(self) -> dict[str, Any]:
        """Return the action as JSON-ready values under snake_case names."""
        return {
            name: iso(value) if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }
