"""What inline mode keeps of runs, tokens and batches: in memory, in the form in which scripts answer."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from trigger_celery.engine.codec import run_of
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.run import Run, RunStatus


@dataclass(slots=True)
class InlineRun:
    """One run: what it was triggered with, and what became of it."""

    id: str
    task: str
    queue: str
    payload: Packet
    links: str = ""
    concurrency_key: str = ""
    priority_ms: int = 0
    due_ms: int | None = None
    max_attempts: int | None = None
    max_duration_ms: int | None = None
    batch: str = ""
    options: str = ""
    tags: list[str] = field(default_factory=list)
    metadata: str = ""
    changes: list[str] = field(default_factory=list)
    streams: dict[str, list[str]] = field(default_factory=dict)
    steps: dict[str, Packet] = field(default_factory=dict)
    status: str = RunStatus.QUEUED
    attempt: int = 0
    attempts: list[str] = field(default_factory=list)
    output: Packet = field(default_factory=lambda: Packet("", JSON))
    error: str = ""
    created_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    problem: BaseException | None = None
    """What its code raised, when it failed."""

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return RunStatus(self.status).is_final

    def fields(self) -> list[bytes]:
        """Return the fields and values of its record."""
        known = {
            "status": self.status,
            "task": self.task,
            "queue": self.queue,
            "ckey": self.concurrency_key,
            "prio": self.priority_ms or "",
            "tags": "\x1f".join(self.tags),
            "links": self.links,
            "batch": self.batch,
            "opts": self.options,
            "max": "" if self.max_attempts is None else self.max_attempts,
            "due": self.due_ms or "",
            "attempt": self.attempt or "",
            "created": self.created_ms,
            "queued": self.created_ms,
            "started": self.started_ms or "",
            "finished": self.finished_ms or "",
            "ptype": self.payload.type,
            "otype": self.output.type,
        }
        pairs = ((name, str(value)) for name, value in known.items() if value != "")
        return [part.encode() for pair in pairs for part in pair]

    def bodies(self) -> list[bytes | list[bytes]]:
        """Return what `read_run` answers beside the fields."""
        texts = (self.payload.data, self.output.data, self.error, self.metadata)
        attempts = [attempt.encode() for attempt in self.attempts]
        changes = [change.encode() for change in self.changes]
        return [*(text.encode() for text in texts), attempts, b"", changes]

    def seen(self) -> Run:
        """Return the run as its readers see it."""
        return run_of(self.id, self.fields(), self.bodies())

    def began(self, now: int) -> None:
        """An attempt begins."""
        self.status = RunStatus.EXECUTING
        self.attempt += 1
        self.started_ms = self.started_ms or now

    def failed_attempt(self, error: str, started: int, now: int) -> None:
        """An attempt failed."""
        known = {"number": self.attempt, "started": started, "finished": now}
        self.attempts.append(json.dumps({**known, "error": json.loads(error)}))

    def end(self, status: str, now: int) -> None:
        """It is final."""
        self.status = RunStatus(status)
        self.finished_ms = now


@dataclass(slots=True)
class InlineToken:
    """A waitpoint: a date, or a token."""

    id: str
    type: str
    created_ms: int
    due_ms: int
    key: str = ""
    tags: str = ""
    status: str = "WAITING"
    output: Packet | None = None

    def fields(self) -> list[bytes]:
        """Return the fields and values of its record."""
        known = {
            "type": self.type,
            "status": self.status,
            "created": str(self.created_ms),
            "due": str(self.due_ms),
            "key": self.key,
            "tags": self.tags,
            "otype": self.output.type if self.output is not None else "",
        }
        return [part.encode() for pair in known.items() if pair[1] for part in pair]


@dataclass(slots=True)
class Memory:
    """All that inline mode knows. Time is the machine's, and what was waited."""

    runs: dict[str, InlineRun] = field(default_factory=dict)
    tokens: dict[str, InlineToken] = field(default_factory=dict)
    batches: dict[str, Sequence[str]] = field(default_factory=dict)
    batch_errors: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """Idempotency keys of runs, and of waits, to what has them."""
    skipped_ms: int = 0

    def now(self) -> int:
        """Return the present in ms."""
        return int(time.time() * 1000) + self.skipped_ms

    def pass_until(self, due_ms: int) -> None:
        """Let time pass until then, at once."""
        self.skipped_ms += max(0, due_ms - self.now())
