"""What a trigger returns: the handle of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunHandle:
    """The id of a triggered run, and its task."""

    id: str
    task_identifier: str

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class BatchHandle:
    """The id of a batch and its runs, in the order of its items."""

    id: str
    runs: tuple[RunHandle, ...]

    @property
    def batch_id(self) -> str:
        """The batch's id; the same as `id`."""
        return self.id

    @property
    def run_count(self) -> int:
        """How many runs were triggered."""
        return len(self.runs)
