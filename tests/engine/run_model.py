"""What the engine should do, as plain Python: runs, sessions and timers in dicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from trigger_celery.model.run import RunStatus
from trigger_celery.model.transitions import FINAL, allowed

S = RunStatus
MAX_LOSSES = 3
REQUEUE_FROM_MS = 30_000


@dataclass
class ModelRun:
    """One run. `due`: it is in the timers; `lane`: it is in its lane."""

    id: str
    task: str
    queue: str
    key: str
    max_attempts: int | None
    status: RunStatus | None = None
    attempt: int = 0
    epoch: int = 0
    lost: int = 0
    begins: int = 0
    owner: str = ""
    due: int | None = None
    lane: bool = False

    def go(self, after: RunStatus, *, at_once: RunStatus | None = None) -> None:
        """Change the status, by way of *at_once* if one call takes two steps."""
        if at_once is not None:
            self.go(at_once)
        assert self.status is after or allowed(self.status, after), f"{self.status} -> {after}"
        self.status = after
        self.due, self.lane = None, after is S.QUEUED
        if after not in (S.DEQUEUED, S.EXECUTING):
            self.owner = ""

    def wait_until(self, due: int) -> None:
        """Stay out of the lane until *due*."""
        self.due, self.lane = due, False

    @property
    def holds_slot(self) -> bool:
        return self.status in (S.DEQUEUED, S.EXECUTING)


@dataclass
class ModelSession:
    """A worker session."""

    deadline: int
    tasks: frozenset[str]


@dataclass
class Model:
    """The environment. All times are in ms of the test clock."""

    lease: int
    now: int = 0
    runs: dict[str, ModelRun] = field(default_factory=dict)
    sessions: dict[str, ModelSession] = field(default_factory=dict)
    attempts_of: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    environment_limit: int | None = None
    swept: int | None = None
    hold: int = 0

    def create(self, run: ModelRun, delay: int) -> None:
        self.runs[run.id] = run
        run.go(S.DELAYED if delay else S.QUEUED)
        if delay:
            run.wait_until(self.now + delay)

    def register(self, session: str, tasks: dict[str, int]) -> None:
        self.sessions[session] = ModelSession(self.now + self.lease, frozenset(tasks))
        self.attempts_of.update(tasks)
        for run in self.runs.values():
            if run.status is S.PENDING_VERSION and run.task in tasks:
                run.go(S.QUEUED)

    def renew(self, session: str) -> bool:
        if session in self.sessions:
            self.sessions[session].deadline = self.now + self.lease
        return session in self.sessions

    def take(self, run: ModelRun, session: str, epoch: int, *, start: bool) -> None:
        assert run.lane, f"{run} was handed out and did not wait"
        run.go(S.DEQUEUED)
        assert epoch > run.epoch
        run.owner, run.epoch = session, epoch
        if start:
            self.begin(run)

    def begin(self, run: ModelRun) -> None:
        run.go(S.EXECUTING)
        run.attempt += 1

    def start(self, run: ModelRun, epoch: int) -> int | None:
        if run.epoch != epoch or run.status is not S.DEQUEUED:
            return None
        self.begin(run)
        return run.attempt

    def end(self, run: ModelRun, epoch: int, kind: str, delay: int | None) -> str:
        """End an attempt and return the answer."""
        if run.status in FINAL:
            return "final"
        early = kind in ("back", "unknown")
        fits = run.status is S.EXECUTING or (early and run.status is S.DEQUEUED)
        if run.epoch != epoch or not fits:
            return "stale"
        if early:
            self._give_back(run, kind)
        elif kind == "lost":
            run.lost += 1
            if run.lost >= MAX_LOSSES or delay is None:
                run.go(S.CRASHED)
            else:
                self._retry(run, delay)
        elif kind == "retry":
            self._retry(run, delay or 0)
        else:
            run.go(S.COMPLETED if kind == "done" else S.FAILED)
        return "ok"

    def _give_back(self, run: ModelRun, kind: str) -> None:
        owner = run.owner
        run.attempt -= run.status is S.EXECUTING
        run.go(S.QUEUED)
        if kind == "unknown":
            known = any(
                run.task in session.tasks
                for name, session in self.sessions.items()
                if name != owner
            )
            if known:
                run.wait_until(self.now + 500)
            else:
                run.go(S.PENDING_VERSION)

    def _retry(self, run: ModelRun, delay: int) -> None:
        if delay < REQUEUE_FROM_MS:
            run.attempt += 1
            run.begins = self.now + delay
        else:
            run.go(S.QUEUED)
            run.wait_until(self.now + delay)

    def cancel(self, run: ModelRun) -> RunStatus:
        """Cancel and return the status then."""
        assert run.status is not None
        if run.status not in FINAL:
            run.go(S.CANCELED)
            run.epoch += 1
        return run.status

    def fire(self) -> int:
        due = [run for run in self.runs.values() if run.due is not None and run.due <= self.now]
        for run in due:
            run.go(S.QUEUED)
        return len(due)

    def close(self, session: str) -> int:
        given_back = self._recover(session, counted=False)
        self.sessions.pop(session, None)
        return given_back

    def sweep(self, gap: int) -> int:
        if self.swept is None or self.now - self.swept > gap:
            self.hold = self.now + self.lease
        self.swept = self.now
        if self.now < self.hold:
            return 0
        lapsed = [name for name, session in self.sessions.items() if session.deadline <= self.now]
        taken = sum(self._recover(name, counted=True) for name in lapsed)
        for name in lapsed:
            del self.sessions[name]
        return taken

    def _recover(self, session: str, *, counted: bool) -> int:
        owned = [run for run in self.runs.values() if run.owner == session and run.holds_slot]
        for run in owned:
            run.epoch += 1
            if run.status is S.EXECUTING and run.begins > self.now:
                run.attempt -= 1
                run.go(S.QUEUED)
                run.wait_until(run.begins)
                continue
            if run.status is S.EXECUTING:
                run.lost += counted
                allowed_attempts = run.max_attempts or self.attempts_of.get(run.task, 1)
                if run.lost >= MAX_LOSSES or run.attempt >= allowed_attempts:
                    run.go(S.CRASHED)
                    continue
            run.go(S.QUEUED)
        return len(owned)

    def held(self, queue: str | None = None, key: str = "") -> int:
        """Count the slots that are held in the environment, or in a queue for one key."""
        return sum(
            run.holds_slot and (queue is None or (run.queue, run.key) == (queue, key))
            for run in self.runs.values()
        )

    def room(self, queue: str, key: str) -> float:
        limit = self.limits.get(queue)
        return float("inf") if limit is None else limit - self.held(queue, key)

    def open(self) -> float:
        limit = self.environment_limit
        return float("inf") if limit is None else limit - self.held()
