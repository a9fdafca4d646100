"""What happened to runs, read from the feed of changes: one event for each step of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from trigger_celery.engine import keys
from trigger_celery.engine.querying import read_runs
from trigger_celery.model.instant import iso
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.store.op import Flow, command

T = TypeVar("T")

BLOCK_MS = 1000
MOST = 500
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the feed."""

    at: datetime
    run_id: str
    status: RunStatus


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One step of a run.

    `what` is queued, delayed, started, waiting, resumed, retry, requeued or a final status.
    """

    at: datetime
    what: str
    attempt: int
    run: Run

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON-ready values."""
        run = self.run
        final = run.is_completed and self.what == run.status.value.lower()
        found: dict[str, Any] = {
            "event": "run",
            "at": iso(self.at),
            "what": self.what,
            "run": run.id,
            "task": run.task_identifier,
            "queue": run.queue,
            "attempt": self.attempt,
        }
        if final:
            shown = run.to_dict()
            found |= {name: shown[name] for name in ("output", "error", "duration_ms")}
        return found


def newest(scope: str) -> Flow[str]:
    """Return the id of the newest entry, to read what comes after it."""
    reply = yield command("XREVRANGE", keys.key(scope, "changes"), "+", "-", "COUNT", 1)
    return reply[0][0].decode() if reply else "0-0"


def next_changes(scope: str, after: str) -> Flow[tuple[str, list[Change]]]:
    """Return the changes behind *after* and where to go on; waits up to a second for one."""
    feed = keys.key(scope, "changes")
    reply = yield command("XREAD", "COUNT", MOST, "BLOCK", BLOCK_MS, "STREAMS", feed, after)
    entries = reply[0][1] if reply else []
    changes = [
        _change(entry_id.decode(), flat) for entry_id, flat in entries if b"data" not in flat[::2]
    ]
    return (entries[-1][0].decode() if entries else after), changes


def _change(entry_id: str, flat: Sequence[bytes]) -> Change:
    texts = [part.decode() for part in flat]
    fields = dict(zip(texts[::2], texts[1::2], strict=True))
    at = datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC)
    return Change(at, fields["run"], RunStatus(fields["status"]))


class EventReader:
    """Turns changes into events; remembers how often each run under way has started, and which wait."""

    def __init__(self) -> None:
        self._starts: dict[str, int] = {}
        self._waiting: dict[str, None] = {}

    def read(self, scope: str, changes: Sequence[Change]) -> Flow[list[RunEvent]]:
        """Return the events of the changes, with the runs as they are now."""
        ids = list(dict.fromkeys(change.run_id for change in changes))
        runs = yield from read_runs(scope, ids)
        return list(self._events(changes, runs))

    def _events(self, changes: Sequence[Change], runs: dict[str, Run]) -> Iterator[RunEvent]:
        for change in changes:
            run = runs.get(change.run_id)
            if run is None:
                continue
            what = self._what(change, run)
            attempt = self._starts.get(run.id, 0)
            if change.status.is_final:
                self._starts.pop(run.id, None)
                self._waiting.pop(run.id, None)
            if what:
                yield RunEvent(change.at, what, attempt, run)

    def _what(self, change: Change, run: Run) -> str:
        status = change.status
        if status is RunStatus.WAITING:
            _remember(self._waiting, run.id, None)
        elif run.id in self._waiting and not status.is_final:
            if status is not RunStatus.EXECUTING:
                return ""  # it queues for its slot, or for a worker
            del self._waiting[run.id]
            return "resumed"
        if status is RunStatus.EXECUTING:
            starts = self._starts.pop(run.id, 0) + 1
            _remember(self._starts, run.id, starts)
            return "started" if starts == 1 else "retry"
        if status is RunStatus.DEQUEUED:
            return ""
        if status is RunStatus.PENDING_VERSION:
            self._starts.pop(run.id, None)  # that start found no task: it counts as none
        if status is RunStatus.QUEUED and run.id in self._starts:
            return "requeued"
        return status.value.lower()


def _remember(known: dict[str, T], run_id: str, value: T) -> None:
    known[run_id] = value
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]
