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
    """The runs of a batch, in the order of its items."""

    runs: tuple[RunHandle, ...]

    @property
    def run_count(self) -> int:
        """How many runs were triggered."""
        return len(self.runs)
