"""Runs as they were at each of their changes, made from the record as it is now.

The feed of changes says when a run got which status. Whoever reads it late finds a record that is
further on: a snapshot of an earlier change shows nothing that came after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from trigger_celery.engine.codec import run_of
from trigger_celery.model.run import Run, RunStatus

_AT_WORK = frozenset({RunStatus.EXECUTING, RunStatus.WAITING})


class Change(NamedTuple):
    """An entry of the feed. Without a status: whatever the run is by now."""

    run: str
    status: RunStatus | None = None
    n: int = 0
    at: datetime | None = None
    data: bool = False
    """Something else than the status changed: metadata or tags."""


class Record(NamedTuple):
    """A run as it is now, and the number of its last change."""

    n: int
    run: Run


class Seen(NamedTuple):
    """What the last snapshot of a run showed. `resumes`: it is queued to go on after a wait."""

    n: int
    status: RunStatus
    attempt: int
    failed: int
    resumes: bool


def change_of(entry: Sequence[Any]) -> Change:
    """Return a change from the reply of a script: entry, run, status, change number, data."""
    at = datetime.fromtimestamp(int(entry[0].partition(b"-")[0]) / 1000, UTC)
    status = RunStatus(entry[2].decode())
    return Change(entry[1].decode(), status, int(entry[3]), at, entry[4] == b"1")


def record_of(run_id: str, reply: Sequence[Any]) -> Record | None:
    """Return the record from the reply of `read_run`, or None when there is no such run."""
    if not reply:
        return None
    flat = reply[0]
    return Record(int(flat[2 * flat[::2].index(b"n") + 1]), run_of(run_id, flat, reply[1:]))


def as_of(change: Change, record: Record, seen: Seen | None) -> Run:
    """Return the run as it was at the change; *seen* is what is known of the change before."""
    run, status = record.run, change.status
    if status is None or change.n >= record.n or status.is_final:
        return run
    attempt, failed = _attempts(status, run, seen, change.data)
    return replace(
        run,
        status=status,
        output=None,
        error=None,
        finished_at=None,
        expired_at=None,
        duration_ms=0,
        updated_at=change.at,
        queued_at=None if status is RunStatus.DELAYED else run.queued_at,
        started_at=run.started_at if attempt else None,
        attempt_count=attempt,
        attempts=run.attempts[:failed],
    )


def _attempts(
    status: RunStatus, run: Run, seen: Seen | None, data: bool = False
) -> tuple[int, int]:
    """Return how many attempts had begun, and how many of them had failed."""
    if seen is None:
        return (1, 0) if status in _AT_WORK else (0, 0)
    attempt, failed = seen.attempt, seen.failed
    if data:
        return attempt, failed
    if seen.status is RunStatus.EXECUTING and (
        status is RunStatus.EXECUTING
        or (status is RunStatus.QUEUED and any(one.number == attempt for one in run.attempts))
    ):
        failed += 1
    if status is RunStatus.EXECUTING and seen.status is not RunStatus.WAITING and not seen.resumes:
        attempt = max(1, min(attempt + 1, run.attempt_count))
    return attempt, failed


def seen_of(n: int, run: Run, before: Seen | None) -> Seen:
    """Return what a snapshot shows."""
    resumes = False
    if run.status.is_queued or run.status is RunStatus.DEQUEUED:
        resumes = before is not None and (before.resumes or before.status is RunStatus.WAITING)
    return Seen(n, run.status, run.attempt_count, len(run.attempts), resumes)
