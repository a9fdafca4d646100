"""What the engine should do, as plain Python: runs, sessions and timers in dicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from trigger_celery.model.run import RunStatus
from trigger_celery.model.transitions import FINAL, allowed

S = RunStatus
MAX_LOSSES = 3
MAX_UNSURE = 10
REQUEUE_FROM_MS = 30_000
GIVE_KEYS_AWAY = {S.FAILED, S.CRASHED, S.SYSTEM_FAILURE, S.TIMED_OUT, S.EXPIRED}


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
    parent: str = ""
    waits: set[str] = field(default_factory=set)
    noted: bool = False
    """The attempt made durable calls."""
    resume: bool = False
    """When it is executed next, it goes on as the attempt that it was."""
    resumed: bool = False
    resuming: bool = False
    """It may go on, is in its worker's memory, and waits for a slot."""
    told: int | None = None
    unsure: int = 0
    ttl: int = 0
    queued: int = 0
    expires: int | None = None
    """When it ends if nobody has begun it by then."""

    def go(self, after: RunStatus, *, at_once: RunStatus | None = None) -> None:
        """Change the status, by way of *at_once* if one call takes two steps."""
        if at_once is not None:
            self.go(at_once)
        assert self.status is after or allowed(self.status, after), f"{self.status} -> {after}"
        self.status = after
        self.due, self.lane = None, after is S.QUEUED
        if after is not S.QUEUED:
            self.expires = None
        if after not in (S.DEQUEUED, S.EXECUTING, S.WAITING):
            self.owner = ""
        if after in FINAL:
            self.forget_waits()
            self.resuming = False

    def forget_waits(self) -> None:
        """The attempt is over."""
        self.waits.clear()
        self.noted = self.resume = self.resumed = False
        self.told = None

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
    seen: int
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
    tokens: dict[str, int | None] = field(default_factory=dict)
    """When each token times out; None: it has ended."""
    to_cancel: set[str] = field(default_factory=set)
    keyed: dict[tuple[str, str], str] = field(default_factory=dict)
    """Which run has an idempotency key of a task."""

    def create(self, run: ModelRun, delay: int) -> None:
        self.runs[run.id] = run
        run.go(S.DELAYED if delay else S.QUEUED)
        if run.parent:
            parent = self.runs[run.parent]
            parent.noted |= parent.status not in FINAL
            if parent.status is S.CANCELED:
                self.to_cancel.add(run.id)
        run.queued = self.now + delay
        if delay:
            run.wait_until(self.now + delay)
        else:
            self.arm(run)

    def arm(self, run: ModelRun) -> None:
        """A run that was never begun may be begun from now on."""
        if run.ttl and not run.attempt:
            run.expires = self.now + run.ttl

    def find(self, task: str, idem: str) -> ModelRun | None:
        """Return the run that a trigger with the key means."""
        run = self.runs.get(self.keyed.get((task, idem), ""))
        return run if run is not None and run.status not in GIVE_KEYS_AWAY else None

    def register(self, session: str, tasks: dict[str, int]) -> None:
        self.sessions[session] = ModelSession(self.now + self.lease, self.now, frozenset(tasks))
        self.attempts_of.update(tasks)
        for run in self.runs.values():
            if run.status is S.PENDING_VERSION and run.task in tasks:
                run.go(S.QUEUED)
                self.arm(run)

    def renew(self, session: str) -> bool:
        if session in self.sessions:
            self.sessions[session].deadline = self.now + self.lease
            self.sessions[session].seen = self.now
        return session in self.sessions

    def take(self, run: ModelRun, session: str, epoch: int, *, start: bool) -> None:
        assert run.lane, f"{run} was handed out and did not wait"
        assert run not in self.late(), f"{run} was handed out after its TTL"
        run.go(S.DEQUEUED)
        assert epoch > run.epoch
        run.owner, run.epoch = session, epoch
        if start:
            self.begin(run)

    def begin(self, run: ModelRun) -> None:
        run.go(S.EXECUTING)
        if run.resume:
            run.resume, run.resumed = False, True
        else:
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
                self.finish(run, S.CRASHED)
                return "crashed"
            self._retry(run, delay)
        elif kind == "retry":
            self._retry(run, delay or 0)
        elif kind == "move":
            self._requeue(run, delay or 0)
        else:
            self.finish(run, S.COMPLETED if kind == "done" else S.FAILED)
        return "ok"

    def _give_back(self, run: ModelRun, kind: str) -> None:
        owner = run.owner
        if run.resumed or (run.noted and run.status is S.EXECUTING):
            run.resume, run.resumed = True, False
        else:
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
                if run.ttl and not run.attempt:
                    run.expires = run.queued + run.ttl
            else:
                run.go(S.PENDING_VERSION)

    def finish(self, run: ModelRun, status: RunStatus) -> None:
        """End a run; who waits for it goes on."""
        run.go(status)
        self.wake(run.id)

    def _retry(self, run: ModelRun, delay: int) -> None:
        if delay < REQUEUE_FROM_MS:
            run.forget_waits()
            run.attempt += 1
            run.begins = self.now + delay
        else:
            self._requeue(run, delay)

    def _requeue(self, run: ModelRun, delay: int) -> None:
        run.forget_waits()
        run.go(S.QUEUED)
        run.wait_until(self.now + delay)

    def cancel(self, run: ModelRun) -> RunStatus:
        """Cancel and return the status then."""
        assert run.status is not None
        if run.status not in FINAL:
            run.epoch += 1
            self.to_cancel |= {child.id for child in self.runs.values() if child.parent == run.id}
            self.finish(run, S.CANCELED)
        return run.status

    def late(self) -> list[ModelRun]:
        """Return the runs whose TTL has passed."""
        return [
            run for run in self.runs.values() if run.expires is not None and run.expires <= self.now
        ]

    def fire(self) -> int:
        due = [run for run in self.runs.values() if run.due is not None and run.due <= self.now]
        over = [token for token, at in self.tokens.items() if at is not None and at <= self.now]
        expiring = self.late()
        cancelled, self.to_cancel = self.to_cancel, set()
        for run in due:
            was_delayed = run.status is S.DELAYED
            run.go(S.QUEUED)
            if was_delayed:
                self.arm(run)
        for run in expiring:
            self.finish(run, S.EXPIRED)
        for token in over:
            self.tokens[token] = None
            self.wake(token)
        for child in cancelled:
            self.cancel(self.runs[child])
        return len(due) + len(expiring) + len(over) + len(cancelled)

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
        owned = [run for run in self.runs.values() if run.owner == session]
        for run in owned:
            run.epoch += 1
            if run.status is S.WAITING or run.resuming:
                self.abandon(run)
        for run in owned:
            if not run.holds_slot:
                continue
            unheard = run.told is not None and run.told >= self.sessions[session].seen
            if unheard and run.unsure < MAX_UNSURE:
                run.go(S.QUEUED)
                run.unsure += 1
                run.resume, run.told = True, None
                continue
            if run.status is S.EXECUTING and run.begins > self.now:
                run.attempt -= 1
                run.go(S.QUEUED)
                run.wait_until(run.begins)
                continue
            if run.status is S.EXECUTING:
                run.forget_waits()
                run.lost += counted
                allowed_attempts = run.max_attempts or self.attempts_of.get(run.task, 1)
                if run.lost >= MAX_LOSSES or run.attempt >= allowed_attempts:
                    self.finish(run, S.CRASHED)
                    continue
            run.go(S.QUEUED)
        return len(owned)

    # Waiting

    def is_done(self, target: str) -> bool:
        run = self.runs.get(target)
        return self.tokens[target] is None if run is None else run.status in FINAL

    def wake(self, target: str) -> None:
        """What *target* stands for is done."""
        for run in self.runs.values():
            if target in run.waits:
                run.waits.remove(target)
                if run.status is S.WAITING:
                    self.go_on(run)

    def go_on(self, run: ModelRun) -> None:
        """Queue a waiting run: for its slot if it is in memory, else for any worker."""
        owner = run.owner
        run.go(S.QUEUED)
        if owner:
            run.owner, run.resuming, run.lane = owner, True, False
        else:
            run.resume = True

    def regained(self, run: ModelRun) -> None:
        """The store gave a slot to one that queued for it."""
        assert run.resuming
        owner = run.owner
        run.go(S.DEQUEUED)
        run.go(S.EXECUTING)
        run.owner, run.resuming, run.told = owner, False, self.now

    def abandon(self, run: ModelRun) -> None:
        """The memory of a waiting run is gone."""
        run.owner, run.told = "", None
        if run.resuming:
            run.resuming, run.resume, run.lane = False, True, True

    def owns(self, run: ModelRun, epoch: int) -> bool:
        waits = run.status in (S.EXECUTING, S.WAITING) or run.resuming
        return run.epoch == epoch and waits

    def waits_for(self, above: str, run: str) -> bool:
        """Say whether *above* waits for *run*, through whatever is between them."""
        seen: set[str] = set()
        left = [run]
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += [other.id for other in self.runs.values() if name in other.waits]
        return above in seen

    def wait(self, run: ModelRun, epoch: int, target: str, *, park: bool) -> str:
        if not self.owns(run, epoch):
            return "stale"
        if self.waits_for(target, run.id):
            return "cycle"
        run.noted = True
        if self.is_done(target):
            return "parked" if run.resuming and park else "ready"
        run.waits.add(target)
        if not park:
            return "waiting"
        if run.status is S.EXECUTING:
            run.go(S.WAITING)
        return "parked"

    def park(self, run: ModelRun, epoch: int, targets: list[str]) -> str:
        if not self.owns(run, epoch):
            return "stale"
        if run.status is S.EXECUTING:
            if not targets or not run.waits.issuperset(targets):
                return "ready"
            run.go(S.WAITING)
        return "parked"

    def give_up(self, run: ModelRun, epoch: int) -> set[str]:
        """Return the answers that fit: whether it gets its slot at once is seen, not predicted."""
        if run.epoch != epoch:
            return {"stale"}
        if run.status is S.WAITING:
            self.go_on(run)
            return {"told", "queued"}
        return {"queued"} if run.resuming else {"ok"}

    def evict(self, run: ModelRun, epoch: int) -> str:
        if run.epoch == epoch + 1 and not run.owner and run.status not in FINAL:
            return "evicted"
        if run.epoch != epoch:
            return "stale"
        if run.status is S.EXECUTING:
            return "granted"
        if run.status is not S.WAITING and not run.resuming:
            return "stale"
        run.epoch += 1
        self.abandon(run)
        return "evicted"

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
