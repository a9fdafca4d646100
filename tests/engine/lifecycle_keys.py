"""A flow like that of `lifecycle.py`, in which runs are triggered with keys and expire."""

from __future__ import annotations

from typing import Any

from tests.driving import HOUR, RETENTION, Engine, origin
from tests.engine.lifecycle import Life
from trigger_celery.engine import admission, batching, cancelling, sessions, triggering
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.triggering import NOWHERE, NewRun, Origin
from trigger_celery.model.duration import Delay
from trigger_celery.model.idempotency import scoped_key
from trigger_celery.model.packet import JSON
from trigger_celery.model.trigger_options import Debounce
from trigger_celery.store.op import Flow


class Keys(Life):
    """The flow. `answers` collects what must not depend on lost replies."""

    def _keyed(self, text: str, ttl: int = 0, **options: Any) -> NewRun:
        extras = Extras(key=scoped_key([text], "global"), ttl_ms=ttl, machine="micro")
        return Engine.new_run("t", id=self._id(), extras=extras, **options)

    def _debounced(self, payload: str, *, trailing: bool = True, **options: Any) -> NewRun:
        extras = Extras(
            debounce=Debounce("d", 10_000, trailing, HOUR), own=frozenset({"tags", "metadata"})
        )
        return Engine.new_run(
            "t", id=self._id(), extras=extras, delay=10_000, payload=payload, **options
        )

    def _trigger(self, new: NewRun, where: Origin = NOWHERE) -> Flow[str]:
        made = yield from triggering.create_run(self.scope, new, RETENTION, where)
        self.answers.append(made)
        return made.id

    def flow(self) -> Flow[list[Any]]:
        """Live through what may happen to runs with keys and TTLs."""
        yield from self._register("w1", "t")
        yield from self._pass(1_000)
        yield from self._found_again()
        yield from self._put_off()
        yield from self._too_late()
        yield from self._pass(RETENTION + HOUR)
        yield from sessions.prune(self.scope, 100)
        return self.answers

    def _found_again(self) -> Flow[None]:
        for text in ("a", "b", "a", "b"):
            yield from self._trigger(self._keyed(text))
        (parent, done) = yield from self._take("w1", 2)
        yield from self._trigger(self._keyed("a"), origin(parent, "1", "make"))
        yield from self._trigger(self._keyed("b"), origin(parent, "2", "make"))
        yield from self._batch(parent)
        yield from self._finish(self._end(done, "failed", "FAILED", "{}"))
        yield from self._trigger(self._keyed("b"))
        for text in ("b", "b", "nobody"):
            key = scoped_key([text], "global")
            self.answers.append((yield from admission.reset_key(self.scope, "t", key)))
        yield from self._trigger(self._keyed("b"))
        yield from self._finish(self._end(parent, "done", JSON, "1"))
        for grant in (yield from self._take("w1", 9)):
            yield from self._finish(self._end(grant, "done", JSON, "1"))

    def _batch(self, parent: Grant) -> Flow[None]:
        batch = f"batch_{'0' * 26}"
        runs = [self._keyed("b"), self._keyed("new"), self._keyed("new"), self._keyed("a")]
        where = origin(parent, "3", "batch", batch)
        announce, create, seal = batching.batch_calls(self.scope, batch, runs, (), RETENTION, where)
        yield announce
        yield create
        yield seal
        self.answers.append((yield from batching.read_batch(self.scope, batch)).runs)

    def _put_off(self) -> Flow[None]:
        first = yield from self._trigger(self._debounced("1", tags=("x",)))
        for number in range(2, 5):
            yield from self._pass(3_000)
            long = '"' + "x" * 99 * (number % 2) + '"'
            new = self._debounced(long, tags=("y",), metadata="{}", trailing=number != 3)
            yield from self._trigger(new)
        moved = yield from admission.reschedule_run(self.scope, first, Delay(20_000, None))
        self.answers.append(moved)
        yield from self._pass(21_000)
        yield from sessions.fire_timers(self.scope, 200, RETENTION)
        last = yield from self._trigger(self._debounced("5"))
        self.answers.append(
            (yield from admission.reschedule_run(self.scope, first, Delay(1, None)))
        )
        yield from cancelling.cancel_run(self.scope, last, "no", RETENTION)
        for grant in (yield from self._take("w1", 9)):
            yield from self._finish(self._end(grant, "done", JSON, "1"))

    def _too_late(self) -> Flow[None]:
        yield from self._trigger(self._keyed("late", 5_000))
        yield from self._trigger(self._keyed("later", 5_000, delay=5_000))
        yield from self._trigger(self._keyed("in time", 30_000))
        for _ in range(3):
            yield from self._pass(5_001)
            yield from sessions.fire_timers(self.scope, 200, RETENTION)
        yield from self._trigger(self._keyed("late"))
        for grant in (yield from self._take("w1", 1)):
            yield from self._finish(self._end(grant, "back"))
