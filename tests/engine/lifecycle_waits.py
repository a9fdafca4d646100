"""A flow like that of `lifecycle.py`, in which runs wait: every script of waits that writes."""

from __future__ import annotations

import itertools
from typing import Any

from tests.driving import DAY, ERROR, HOUR, LEASE, RETENTION, Engine, origin
from trigger_celery.engine import (
    attempts,
    batching,
    cancelling,
    keys,
    sessions,
    triggering,
    waiting,
    waitpoints,
)
from trigger_celery.engine.attempts import Ending, Exchange, Grant
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.engine.triggering import Origin
from trigger_celery.engine.waitpoints import NewWaitpoint, Noted
from trigger_celery.model.batch import BatchItemError
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import op_id, token
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.store.op import Flow, command

WORKER_QUEUE = "waits"


class Waits:
    """The flow. `answers` collects what must not depend on lost replies."""

    def __init__(self, scope: str, answers: list[Any], start_ms: int) -> None:
        self.scope = scope
        self.answers = answers
        self._clock_ms = start_ms
        self._numbers = itertools.count(1)

    def _id(self, kind: str) -> str:
        return f"{kind}_v{next(self._numbers):025}"

    def _new(self, **options: Any) -> triggering.NewRun:
        return Engine.new_run("wt", id=self._id("run"), worker_queue=WORKER_QUEUE, **options)

    def register(self) -> Flow[None]:
        """Begin the session of the runs that wait."""
        declared = [sessions.TaskDeclaration("wt", "task/wt", WORKER_QUEUE, 2, {})]
        yield from sessions.register(
            self.scope,
            sessions.SessionDeclaration(
                "w5", LEASE, {}, [WORKER_QUEUE], declared, [QueueDeclaration("narrow", 1)], 50
            ),
        )

    def _begin(self, **options: Any) -> Flow[Grant]:
        yield from triggering.create_run(self.scope, self._new(**options), RETENTION)
        (grant,) = yield from self._take(1)
        return grant

    def _take(self, want: int) -> Flow[list[Grant]]:
        exchange: Exchange = yield attempts.dequeue(
            self.scope, op_id(), "w5", token(WORKER_QUEUE), want, (), RETENTION, start=True
        )
        runs = exchange.runs or []
        self.answers.append([(run.id, run.attempt, run.resumed) for run in runs])
        return runs

    def _end(self, *grants: Grant) -> Flow[None]:
        endings = [Ending(grant.id, grant.epoch, "done", JSON, "1") for grant in grants]
        self.answers.append((yield from attempts.finish(self.scope, op_id(), endings, RETENTION)))

    def _token(self, ms: int = DAY, noted: Noted | None = None, kind: Any = "TOKEN") -> Flow[str]:
        new = NewWaitpoint(self._id("waitpoint"), kind, Delay(ms, None), tags=("x",))
        _, found = yield waitpoints.create_waitpoint(self.scope, new, RETENTION, noted)
        self.answers.append(found)
        return str(found)

    def _complete(self, name: str, data: str = '"yes"') -> Flow[None]:
        packet = Packet(data, JSON)
        self.answers.append(
            (yield from waitpoints.complete_token(self.scope, name, packet, RETENTION))
        )

    def _wait(self, grant: Grant, target: str, *, park: bool = True) -> Flow[None]:
        self.answers.append(
            (
                yield waiting.wait_for(
                    self.scope, grant.id, grant.epoch, target, "wait", target, "", park
                )
            )
        )

    def _pass(self, ms: int) -> Flow[None]:
        self._clock_ms += ms
        yield command("SET", keys.key(self.scope, "clock"), self._clock_ms)

    def flow(self) -> Flow[list[Any]]:
        """Live through all that can happen to runs which wait."""
        yield from self._pass(0)
        yield from self.register()
        yield from self._tokens_and_dates()
        yield from self._two_at_once()
        yield from self._batches()
        yield from self._a_family_is_cancelled()
        yield from self._one_slot_for_three()
        yield from self._left_behind()
        for _ in range(6):
            yield from sessions.sweep(self.scope, LEASE, 5000, RETENTION)
            yield from self._pass(10_000)
        yield from self._pass(DAY)
        yield from sessions.fire_timers(self.scope, 200, RETENTION)
        yield from self._pass(RETENTION + 1)
        yield from sessions.prune(self.scope, 100)
        return self.answers

    def _tokens_and_dates(self) -> Flow[None]:
        grant = yield from self._begin(tags=("waits",))
        name = yield from self._token(noted=Noted(grant.id, "made", "token"))
        yield from self._wait(grant, name)
        yield from self._complete(name)
        yield from self._complete(name)
        yield from self._wait(grant, (yield from self._token(HOUR, kind="DATETIME")))
        yield from self._wait(grant, (yield from self._token(0)))
        yield waitpoints.shorten_call(self.scope, (yield from self._token()), HOUR)
        kept = yield from waiting.record_step(
            self.scope, grant.id, grant.epoch, "s", "step", "s#1", Packet("1", JSON)
        )
        self.answers.append(kept)
        self.answers.append((yield from waiting.resume_run(self.scope, grant.id, grant.epoch)))
        yield from self._end(grant)

    def _two_at_once(self) -> Flow[None]:
        grant = yield from self._begin()
        first = yield from self._token()
        second = yield from self._token()
        for name in (first, second):
            yield from self._wait(grant, name, park=False)
        parked = yield from waiting.park_run(self.scope, grant.id, grant.epoch, [first, second])
        pair = [(grant.id, grant.epoch)]
        self.answers += [parked, (yield from waiting.evict_runs(self.scope, pair))]
        yield from self._complete(second, "1" * 99)
        (again,) = yield from self._take(1)
        yield from self._wait(again, first)
        yield from self._complete(first)
        yield from self._end(again)

    def _batches(self) -> Flow[None]:
        grant = yield from self._begin()
        batch = self._id("batch")
        made_in: Origin = origin(grant, "batch", "batch", batch)
        runs = [self._new(), self._new(failed=ERROR), self._new()]
        error = BatchItemError(1, "wt", "no", "INVALID")
        announce, create, seal = batching.batch_calls(
            self.scope, batch, runs, [error], RETENTION, made_in
        )
        yield announce
        yield create
        yield seal
        yield from self._wait(grant, batch)
        yield from self._end(*(yield from self._take(5)))
        read = yield from batching.read_batch(self.scope, batch)
        self.answers.append((read.status, read.runs, read.errors))
        yield from self._end(grant)

    def _a_family_is_cancelled(self) -> Flow[None]:
        parent = yield from self._begin()
        for path in ("1", "2"):
            made_in = origin(parent, path, "child")
            yield from triggering.create_run(self.scope, self._new(), RETENTION, made_in)
        (child,) = yield from self._take(1)
        yield from self._wait(parent, child.id)
        yield from self._wait(child, parent.id)
        self.answers.append(
            (yield from cancelling.cancel_run(self.scope, parent.id, "no", RETENTION))
        )
        yield from sessions.fire_timers(self.scope, 200, RETENTION)
        yield from self._end(child)

    def _one_slot_for_three(self) -> Flow[None]:
        waiting_runs = []
        for _ in range(2):
            grant = yield from self._begin(queue="narrow")
            name = yield from self._token()
            yield from self._wait(grant, name)
            waiting_runs.append((grant, name))
        holder = yield from self._begin(queue="narrow")
        for _, name in waiting_runs:
            yield from self._complete(name)
        yield from self._end(holder)
        first, second = (grant for grant, _ in waiting_runs)
        pair = [(second.id, second.epoch)]
        self.answers.append((yield from waiting.evict_runs(self.scope, pair)))
        yield from self._end(first)
        yield from self._end(*(yield from self._take(1)))

    def _left_behind(self) -> Flow[None]:
        """What the worker leaves when its lease lapses: waiting, waiting for a slot, just told."""
        told = yield from self._begin()
        name = yield from self._token()
        yield from self._wait(told, name)
        yield from self._complete(name)
        waits = yield from self._begin()
        yield from self._wait(waits, (yield from self._token()))
        queues = yield from self._begin(queue="narrow")
        name = yield from self._token()
        yield from self._wait(queues, name)
        yield from self._begin(queue="narrow")
        yield from self._complete(name)
