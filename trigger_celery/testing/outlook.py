"""What is left to do in an environment: what moves now, what is due next, and what nothing will move."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from trigger_celery.engine import keys, querying, scheduling
from trigger_celery.model.ids import token
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.store.op import Call, command
from trigger_celery.store.store import Store

_BUSY = (RunStatus.DEQUEUED, RunStatus.EXECUTING)
_OPEN = tuple(status for status in RunStatus if not status.is_final)
_ENDS = frozenset({"expire", "batch"})
"""Timers of things that end because too much time passes: nothing that a run does."""
_PAGE = 200
_SHOWN = 10


class Outlook:
    """Looks at one environment. Every answer is a moment old."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._scope = store.scope

    def _key(self, name: str, *parts: str) -> str:
        return keys.key(self._scope, name, *parts)

    def _status(self, status: RunStatus) -> Call:
        return command("ZRANGE", self._key("index_status", status), 0, -1)

    def is_quiet(self, worker_queues: Iterable[str], held: Iterable[str]) -> bool:
        """Whether no run executes, and none could begin. *held*: those between two attempts."""
        newest = command("XREVRANGE", self._key("changes"), "+", "-", "COUNT", 1)
        going_on = command("ZCARD", self._key("continuing"))
        ready = [command("ZCARD", self._key("ready", token(name))) for name in worker_queues]
        first, *startable, dequeued, executing, last = self._store.send(
            newest, *ready, going_on, *map(self._status, _BUSY), newest
        )
        busy = {run.decode() for run in (*dequeued, *executing)}
        # What changed while it was looked at may have hidden from both looks.
        return first == last and not any(startable) and busy <= set(held)

    def next_due(self, *, ends: bool) -> int | None:
        """Return when the next thing is due, in ms; None: nothing ever.

        Unless *ends*, only what lets a run go on: no TTL, no timeout of a token and no schedule.
        """
        timer = self._next_timer(ends=ends)
        if not ends:
            return timer
        _, scheduled = self._store.run_blocking(scheduling.next_due(self._scope))
        return min((due for due in (timer, scheduled) if due is not None), default=None)

    def _next_timer(self, *, ends: bool) -> int | None:
        start = 0
        while True:
            flat = self._store.send(
                command("ZRANGE", self._key("timers"), start, start + _PAGE - 1, "WITHSCORES")
            )[0]
            for name, due in zip(flat[::2], flat[1::2], strict=True):
                if ends or self._goes_on(name.decode()):
                    return int(float(due))
            if len(flat) < 2 * _PAGE:
                return None
            start += _PAGE

    def _goes_on(self, timer: str) -> bool:
        kind, _, name = timer.partition(":")
        if kind == "waitpoint":
            return self._type_of(name) != "TOKEN"
        return kind not in _ENDS

    def _type_of(self, waitpoint: str) -> str:
        found = self._store.send(command("HGET", self._key("waitpoint", waitpoint), "type"))[0]
        return found.decode() if found else ""

    def open_runs(self) -> list[Run]:
        """Return the runs that are not final, oldest first."""
        replies = self._store.send(*map(self._status, _OPEN))
        ids = sorted(run.decode() for reply in replies for run in reply)
        found = self._store.run_blocking(querying.read_runs(self._scope, ids))
        return [found[run_id] for run_id in ids if run_id in found]

    def awaited(self, run_id: str) -> list[str]:
        """Return what a run waits for: waitpoints, runs, batches."""
        members = self._store.send(command("SMEMBERS", self._key("waiting", run_id)))[0]
        return sorted(member.decode() for member in members)

    def tokens_of(self, run_id: str) -> list[str]:
        """Return the tokens that a run waits for."""
        return [target for target in self.awaited(run_id) if self._type_of(target) == "TOKEN"]

    def why(self, run: Run, held: Collection[str] = ()) -> str:
        """Say why a run does not end."""
        if run.status is RunStatus.PENDING_VERSION:
            return (
                f"no worker knows the task {run.task_identifier!r} (or its queue {run.queue!r}): "
                "import the module that declares it in the test"
            )
        if run.status is RunStatus.DELAYED:
            return f"it starts at {_shown(run.delayed_until)}: trigger_env.skip(…) lets time pass"
        if run.status is RunStatus.WAITING:
            return "it waits for " + (" and ".join(map(self._named, self.awaited(run.id))) or "?")
        if run.id in held:
            return "it failed and waits for its next attempt: trigger_env.skip(…) lets time pass"
        if run.status in _BUSY:
            return (
                "its code is still executing: a task that sleeps or blocks by itself takes its time, "
                "which no test clock can skip (wait.for_duration instead of sleep)"
            )
        return self._why_queued(run)

    def _why_queued(self, run: Run) -> str:
        paused, limit = self._store.send(
            command("HGET", self._key("queue", token(run.queue)), "paused"),
            command("HGET", self._key("queue", token(run.queue)), "limit"),
        )
        if paused is not None:
            return f"its queue {run.queue!r} is paused"
        if limit == b"0":
            return f"its queue {run.queue!r} has a concurrency limit of 0"
        return (
            f"it waits for a slot of the queue {run.queue!r}, its rate or its retry; without a worker "
            "(trigger_env(worker=False)) nothing starts before trigger_env.start_worker()"
        )

    def _named(self, target: str) -> str:
        kind = self._type_of(target)
        if kind == "TOKEN":
            return (
                f"the token {target}: trigger_env.complete_token({target!r}, data) completes it, "
                "trigger_env.skip(…) lets it time out"
            )
        if kind:
            return "time to pass: trigger_env.skip(…)"
        return target

    def listing(self, held: Collection[str] = ()) -> str:
        """Return the open runs and why they do not end, a line each."""
        runs = self.open_runs()
        lines = [
            f"  - {run.id} of {run.task_identifier!r}, {run.status}: {self.why(run, held)}"
            for run in runs[:_SHOWN]
        ]
        if len(runs) > _SHOWN:
            lines.append(f"  … and {len(runs) - _SHOWN:,} more")
        return "\n".join(lines) or "  (every run has ended)"


def _shown(instant: datetime | None) -> Any:
    return "?" if instant is None else instant.astimezone(UTC).isoformat(timespec="seconds")
