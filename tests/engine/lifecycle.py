"""One flow that uses every script that writes, for tests which disturb it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import redis

from tests.driving import ERROR, LEASE, RETENTION, Engine, queue_declarations
from tests.keyspace import Keyspace, keyspace
from trigger_celery.engine import attempts, cancelling, keys, queueing, sessions, triggering
from trigger_celery.engine.attempts import Ending, Exchange, Grant
from trigger_celery.model.ids import op_id, token
from trigger_celery.model.packet import JSON
from trigger_celery.store.op import Flow, command

# What another moment or another call id changes.
_OF_THE_MOMENT = {
    "created", "queued", "due", "updated", "since", "started", "finished", "epoch", "op", "seen",
    "swept", "hold", "now", "told", "completed", "paused", "over_at", "key_until", "iuntil",
    "put", "fired", "meta",
}  # fmt: skip


class Life:
    """The flow. `answers` collects what must not depend on lost replies."""

    def __init__(self, scope: str, start_ms: int) -> None:
        self.scope = scope
        self.answers: list[Any] = []
        self._numbers = itertools.count(1)
        self._clock_ms = start_ms

    def _id(self) -> str:
        return f"run_{next(self._numbers):026}"

    def _pass(self, ms: int) -> Flow[None]:
        self._clock_ms += ms
        yield command("SET", keys.key(self.scope, "clock"), self._clock_ms)

    def _create(self, count: int, task: str = "t", **options: Any) -> Flow[list[str]]:
        runs = [Engine.new_run(task, id=self._id(), **options) for _ in range(count)]
        made = yield from triggering.create_runs(self.scope, runs, RETENTION)
        return made

    def _register(self, session: str, *tasks: str, limit: int | None = 50) -> Flow[None]:
        yield from sessions.register(
            self.scope,
            sessions.SessionDeclaration(
                session,
                LEASE,
                {"pid": 1},
                ["celery"],
                [sessions.TaskDeclaration(task, f"task/{task}", "celery", 3, {}) for task in tasks],
                queue_declarations({"q": 2, "free": None}),
                limit,
            ),
        )

    def _take(
        self,
        session: str,
        want: int,
        endings: Sequence[Ending] = (),
        *,
        start: bool = True,
        worker_queue: str = "celery",
    ) -> Flow[list[Grant]]:
        exchange: Exchange = yield attempts.dequeue(
            self.scope,
            op_id(),
            session,
            token(worker_queue),
            want,
            endings,
            RETENTION,
            start=start,
        )
        self.answers.append((exchange.answers, [(g.id, g.attempt) for g in exchange.runs or ()]))
        assert exchange.runs is not None
        return exchange.runs

    def _end(self, grant: Grant, kind: Any, detail: str | int = "", data: str = "") -> Ending:
        return Ending(grant.id, grant.epoch, kind, detail, data)

    def _finish(self, *endings: Ending) -> Flow[None]:
        self.answers.append((yield from attempts.finish(self.scope, op_id(), endings, RETENTION)))

    def flow(self) -> Flow[list[Any]]:
        """Live through everything that can happen to runs and workers."""
        yield from self._register("w1", "t")
        yield from self._register("w2", "t")
        yield from self._take("w1", 5)
        yield from self._create(1, tags=("x",), metadata='{"a":1}', payload=json.dumps("p" * 99))
        yield from self._create(5, queue="q", key="k")
        yield from self._create(3, queue="free", priority=5000)
        (delayed,) = yield from self._create(1, delay=60_000)
        yield from self._pass(1_000)
        yield from self._endings()
        yield from self._retries(delayed)
        yield from self._unknown()
        yield from self._limits()
        yield from self._lost_worker()
        yield from self._take("w1", 2)
        yield from sessions.close(self.scope, "w1", RETENTION)
        yield from self._pass(RETENTION + 1)
        yield from sessions.prune(self.scope, 100)
        yield from sessions.prune_queues(self.scope, b"0")
        yield from self._create(2, queue="q")
        yield from self._register("w4", "t", limit=None)
        yield from self._take("w4", 1, start=False)
        return self.answers

    def _limits(self) -> Flow[None]:
        for action in ("pause", "resume"):
            yield from queueing.change_queue(self.scope, "q", action)  # type: ignore[arg-type]
            yield from queueing.change_environment(self.scope, action)  # type: ignore[arg-type]
        yield from queueing.change_queue(self.scope, "q", "override", 1, "me")
        yield from queueing.change_environment(self.scope, "override", 60, "me")
        yield from queueing.change_queue(self.scope, "q", "reset")
        yield from queueing.change_environment(self.scope, "reset")

    def _endings(self) -> Flow[None]:
        first, second = yield from self._take("w1", 2, start=False)
        for epoch in (first.epoch, first.epoch, second.epoch):
            run = first if epoch == first.epoch else second
            self.answers.append((yield from attempts.start(self.scope, op_id(), run.id, epoch)))
        taken = yield from self._take(
            "w1", 3, [self._end(first, "done", JSON, '"out"'), self._end(second, "back")]
        )
        yield from self._finish(
            self._end(taken[0], "failed", "FAILED", ERROR),
            self._end(taken[1], "done", JSON, json.dumps("o" * 99)),
            self._end(taken[2], "lost", "", ERROR),
            self._end(taken[0], "done", JSON, "1"),
        )

    def _retries(self, delayed: str) -> Flow[None]:
        short, long, cancelled = yield from self._take("w2", 3, start=True)
        yield from self._finish(
            self._end(short, "retry", 100, ERROR),
            self._end(long, "retry", 30_000, ERROR),
            self._end(cancelled, "back"),
        )
        yield from self._finish(self._end(short, "move", "100 large-1x", ERROR))
        yield from self._pass(100)
        yield from sessions.fire_timers(self.scope, 200, RETENTION)
        for run in (cancelled.id, delayed):
            self.answers.append(
                (yield from cancelling.cancel_run(self.scope, run, "no", RETENTION))
            )
        yield from self._pass(30_001)
        yield from sessions.fire_timers(self.scope, 200, RETENTION)

    def _unknown(self) -> Flow[None]:
        yield from self._create(3, "new", worker_queue="other")
        for grant in (yield from self._take("w1", 2, worker_queue="other")):
            yield from self._finish(self._end(grant, "unknown"))
        yield from self._register("w3", "t", "new")
        yield from self._finish(
            *(
                self._end(grant, "unknown")
                for grant in (yield from self._take("w1", 1, worker_queue="other"))
            )
        )
        yield from self._pass(1_000)
        yield from sessions.fire_timers(self.scope, 200, RETENTION)
        yield from sessions.close(self.scope, "w3", RETENTION)

    def _lost_worker(self) -> Flow[None]:
        yield from self._take("w2", 1)
        yield from self._take("w2", 1, start=False)
        for _ in range(6):
            for session in ("w1", "w2", "nobody") if _ == 0 else ("w1",):
                self.answers.append((yield from sessions.renew(self.scope, session, LEASE, 1, 2)))
            yield from sessions.sweep(self.scope, LEASE, 5000, RETENTION)
            yield from self._pass(10_000)
        yield from sessions.sweep(self.scope, LEASE, 5000, RETENTION)


def state(client: redis.Redis, scope: str, *, moment: bool = False) -> dict[str, Any]:
    """Return all that is stored; without *moment* what depends on the time is left out."""
    return state_of(keyspace(client, scope), moment=moment)


def state_of(space: Keyspace, *, moment: bool = False) -> dict[str, Any]:
    """Return what of a keyspace `state` returns."""
    return {name: _shown(space, name, value, moment) for name, value in space.values.items()}


def _shown(space: Keyspace, name: str, value: Any, moment: bool) -> Any:
    expires = space.ttls[name] != -1
    kind = space.kind(name)
    if kind == "changes":
        return [entry for _, entry in value]
    if isinstance(value, dict):
        if space.types[name] == "hash":
            dropped = {"since", "seen", "swept"} if moment else _OF_THE_MOMENT
            if moment and kind == "run":
                dropped = set()
            value = {field: text for field, text in value.items() if field not in dropped}
        elif not moment or kind in ("workers", "idle", "objects", "recorded"):
            value = sorted(value, key=lambda member: (value[member], member))
            value = value if kind == "lane" else sorted(value)
    if kind == "attempts" and not moment:
        value = [(json.loads(text)["number"], json.loads(text)["error"]) for text in value]
    return value, expires
