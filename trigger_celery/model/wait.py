"""What a run waits for, as hooks see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class WaitInfo:
    """One wait. Which of the fields are set follows from the type.

    duration: `date`; token: `token`; task: `run_id`; batch: `batch_id` and `run_count`.
    """

    type: Literal["duration", "token", "task", "batch"]
    date: datetime | None = None
    token: str | None = None
    run_id: str | None = None
    batch_id: str | None = None
    run_count: int | None = None
