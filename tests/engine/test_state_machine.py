"""The scripts against a model in plain Python: any order of calls, any writer, however stale.

`pytest --hypothesis-profile nightly --timeout 0` looks much longer.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests import police
from tests.driving import ERROR, Engine
from tests.engine.lifecycle import state
from tests.engine.run_model import Model, ModelRun
from tests.engine.wait_rules import WaitRules
from tests.keyspace import keyspace
from trigger_celery.engine import keys, sessions
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.attempts import Grant
from trigger_celery.model.idempotency import scoped_key
from trigger_celery.model.packet import JSON
from trigger_celery.store.op import Call

# Half seconds: every call happens on a full second and some ms, so no comparison is a close one.
LEASE = 30_500
SWEEP_GAP = LEASE // 2
ATTEMPTS = {"t": 2, "u": 3}

names = st.sampled_from(["w1", "w2", "w1", "w2", "w3"])
endings = st.sampled_from(
    [
        ("done", None),
        ("failed", None),
        ("retry", 100),
        ("retry", 20_500),
        ("retry", 30_500),
        ("back", None),
        ("unknown", None),
        ("lost", 0),
        ("lost", None),
        ("move", 1_000),
    ]
)
anything = st.integers(0, 50)


class Scripts(WaitRules):
    """Every rule is one call of the engine, made on the store and on the model."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.engine.client.flushall()
        self.engine.known.clear()
        self.model = Model(LEASE)
        self.grants: list[Grant] = []
        self.sent: list[list[Call]] = []
        self._start_ms = self.engine.clock.now()
        self._send = engine.store._sync.send
        engine.store._sync.send = self._record  # type: ignore[method-assign]
        self.tick()

    def _record(self, calls: Any) -> list[Any]:
        self.sent.append(list(calls))
        return self._send(calls)

    def teardown(self) -> None:
        self.engine.store._sync.send = self._send  # type: ignore[method-assign]

    def tick(self, seconds: int = 1) -> None:
        """Go on to a later full second, and start to note what is sent."""
        self.model.now += seconds * 1000
        server = self.engine.clock.now() - int(self.engine.client.get(self._clock) or 0)
        self.engine.client.set(self._clock, self._start_ms + self.model.now - server)
        self.sent = []

    @property
    def _clock(self) -> str:
        return keys.key(self.engine.scope, "clock")

    def run_at(self, index: int) -> ModelRun:
        return list(self.model.runs.values())[index % len(self.model.runs)]

    @initialize(count=st.integers(1, 4), start=st.booleans())
    def two_workers_with_something_to_do(self, count: int, start: bool) -> None:
        self.register("w1", {"t"})
        self.register("w2", {"t", "u"})
        self.a_run_is_taken("w1", "t", start)
        self.create(count, "t", "q", "", 0, 0, None)

    @rule(session=names, task=st.sampled_from(["t", "u"]), start=st.booleans())
    def a_run_is_taken(self, session: str, task: str, start: bool) -> None:
        self.create(1, task, "", "", 0, 0, None)
        self.dequeue(session, 2, start)

    @rule(
        count=st.integers(1, 3),
        task=st.sampled_from(["t", "t", "u"]),
        queue=st.sampled_from(["", "q"]),
        key=st.sampled_from(["", "a", "b"]),
        delay=st.sampled_from([0, 0, 10_500, 40_500]),
        priority=st.sampled_from([0, 5_000, -5_000]),
        max_attempts=st.sampled_from([None, 1, 3]),
        ttl=st.sampled_from([0, 0, 10_500, 20_500]),
    )
    def create(
        self, count: int, task: str, queue: str, key: str, delay: int, priority: int,
        max_attempts: int | None, ttl: int = 0,
    ) -> None:  # fmt: skip
        self.tick()
        queue = queue or f"task/{task}"
        for run in self.engine.create_many(
            count, task, queue=queue, key=key, delay=delay, priority=priority,
            max_attempts=max_attempts, extras=Extras(ttl_ms=ttl) if ttl else None,
        ):  # fmt: skip
            self.model.create(ModelRun(run, task, queue, key, max_attempts, ttl=ttl), delay)

    @rule(task=st.sampled_from(["t", "u"]), idem=st.sampled_from("ab"))
    def trigger_with_a_key(self, task: str, idem: str) -> None:
        self.tick()
        extras = Extras(key=scoped_key([idem], "global"))
        made = self.engine.trigger(self.engine.new_run(task, extras=extras))
        wanted = self.model.find(task, idem)
        assert made.is_cached is (wanted is not None)
        if wanted is not None:
            assert made.id == wanted.id
            return
        self.model.create(ModelRun(made.id, task, f"task/{task}", "", None), 0)
        self.model.keyed[task, idem] = made.id

    @rule(session=names, want=st.integers(1, 5), start=st.booleans())
    def dequeue(self, session: str, want: int, start: bool) -> None:
        self.tick()
        late = {run.id for run in self.model.late()}  # passed over: a timer is about to end them
        lanes = {
            (run.queue, run.key): [
                one
                for one in self.engine.members("lane", self.engine.fields(run.id)["lane"])
                if one not in late
            ]
            for run in {(run.queue, run.key): run for run in self.model.runs.values()}.values()
        }
        taken = self.engine.dequeue(session, want, start=start).runs
        if session not in self.model.sessions:
            assert taken is None
            return
        assert taken is not None
        self.model.sessions[session].seen = self.model.now
        assert len(taken) <= min(want, max(0, self.model.open()))
        for grant in taken:
            run = self.model.runs[grant.id]
            assert lanes[run.queue, run.key].pop(0) == run.id, "not the first of its lane"
            assert self.model.room(run.queue, run.key) > 0, "over the limit"
            assert grant.resumed is run.resume
            self.model.take(run, session, int(grant.epoch), start=start)
            assert (grant.attempt, grant.executing) == (run.attempt, start)
        for run in self.model.late():
            if run.id in self.engine.members("timers"):  # it was its turn
                run.wait_until(self.model.now)
        if len(taken) < want and self.model.open() > 0:
            left = [
                run
                for run in self.model.runs.values()
                if run.lane and self.model.room(run.queue, run.key) > 0
            ]
            assert not left, "slots are free and runs wait"
        self.grants += taken

    @precondition(lambda self: self.grants)
    @rule(index=anything)
    def start(self, index: int) -> None:
        self.tick()
        grant = self.grants[-1 - index % len(self.grants)]
        wanted = self.model.start(self.model.runs[grant.id], int(grant.epoch))
        assert self.engine.start(grant) == wanted

    @precondition(lambda self: self.grants)
    @rule(ending=endings)
    def end_the_latest(self, ending: tuple[str, int | None]) -> None:
        self.end(0, ending)

    @precondition(lambda self: self.grants)
    @rule(index=anything, ending=endings)
    def end(self, index: int, ending: tuple[str, int | None]) -> None:
        self.tick()
        kind, delay = ending
        grant = self.grants[-1 - index % len(self.grants)]
        wanted = self.model.end(self.model.runs[grant.id], int(grant.epoch), kind, delay)
        detail = {"done": JSON, "failed": "FAILED"}.get(kind, "" if delay is None else delay)
        detail = f"{delay} large-1x" if kind == "move" else detail
        assert self.engine.end(grant, kind, detail, ERROR) == wanted

    @precondition(lambda self: self.grants)
    @rule(index=anything, by=st.sampled_from([-1, 1, 10**9]))
    def a_writer_with_an_epoch_that_never_was(self, index: int, by: int) -> None:
        self.tick()
        grant = self.grants[-1 - index % len(self.grants)]
        if int(grant.epoch) + by == self.model.runs[grant.id].epoch:
            return
        forged = dataclasses.replace(grant, epoch=str(int(grant.epoch) + by))
        assert self.engine.start(forged) is None
        assert self.engine.end(forged) in ("stale", "final")

    @precondition(lambda self: self.model.runs)
    @rule(index=anything)
    def cancel(self, index: int) -> None:
        self.tick()
        run = self.run_at(index)
        assert self.engine.cancel(run.id) == self.model.cancel(run)

    @rule(
        what=st.sampled_from(["renew", "register", "register", "close"]),
        session=names,
        tasks=st.sets(st.sampled_from(["t", "u"])),
    )
    def a_worker_does_something(self, what: str, session: str, tasks: set[str]) -> None:
        match what:
            case "renew":
                self.tick()
                assert self.engine.renew(session, LEASE) == self.model.renew(session)
            case "register":
                self.register(session, tasks)
            case _:
                self.tick()
                assert self.engine.close(session) == self.model.close(session)

    def register(self, session: str, tasks: set[str]) -> None:
        self.tick()
        declared = {task: ATTEMPTS[task] for task in sorted(tasks)}
        self.engine.register(session, declared, lease=LEASE, limit=self.model.environment_limit)
        self.model.register(session, declared)

    @rule(seconds=st.sampled_from([1, 5, 10, 15, 31]), sweeps=st.integers(1, 3))
    def time_passes_and_services_work(self, seconds: int, sweeps: int) -> None:
        for _ in range(sweeps):
            self.tick(seconds)
            assert self.engine.fire() == self.model.fire()
            self.tick()
            done = self.engine.run(sessions.sweep(self.engine.scope, LEASE, 5000, 10**9))
            assert len(done.taken) == self.model.sweep(SWEEP_GAP)

    @rule(
        limit=st.sampled_from([None, 1, 2, 0]),
        environment_limit=st.sampled_from([None, None, None, 3, 1]),
    )
    def set_limits(self, limit: int | None, environment_limit: int | None) -> None:
        self.tick()
        self.model.limits["q"] = limit
        self.model.environment_limit = environment_limit
        self.engine.register("w1", ATTEMPTS, {"q": limit}, lease=LEASE, limit=environment_limit)
        self.model.register("w1", ATTEMPTS)

    @precondition(lambda self: self.sent)
    @rule()
    def repeat_what_was_sent_last(self) -> None:
        client, scope = self.engine.client, self.engine.scope
        before = state(client, scope, moment=True)
        for calls in self.sent:
            self._send(calls)
        assert state(client, scope, moment=True) == before

    @invariant()
    def the_store_is_as_the_model_and_in_order(self) -> None:
        space = keyspace(self.engine.client, self.engine.scope)
        self.observe_regained(space)
        assert not list(police.problems(space))
        for run in self.model.runs.values():
            fields = space.runs[run.id]
            found = (fields["status"], int(fields.get("attempt", 0)), int(fields.get("epoch", 0)))
            assert found == (run.status, run.attempt, run.epoch), run
            assert space.of("waiting").get(run.id, set()) == run.waits, run
            assert ("resume" in fields, "resuming" in fields) == (run.resume, run.resuming), run


def test_the_scripts_do_what_the_model_does(engine: Engine) -> None:
    profile = settings()
    often = profile.max_examples > 100
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Scripts(engine),
        settings=settings(
            max_examples=profile.max_examples if often else 40,
            stateful_step_count=80 if often else 40,
            deadline=None,
            # Shrinking takes minutes; the example as it was found is readable, too.
            phases=list(Phase) if often else [Phase.reuse, Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
