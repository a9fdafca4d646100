"""The rules of the state machine test that have to do with waiting."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.driving import Engine
from tests.engine.run_model import Model, ModelRun
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.waitpoints import NewWaitpoint
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import waitpoint_id
from trigger_celery.model.run import RunStatus

anything = st.integers(0, 50)


class WaitRules(RuleBasedStateMachine):
    """Calls of runs that wait, made on the store and on the model."""

    engine: Engine
    model: Model
    grants: list[Grant]

    def tick(self, seconds: int = 1) -> None:
        raise NotImplementedError

    def _grant(self, index: int) -> tuple[Grant, ModelRun]:
        grant = self.grants[-1 - index % len(self.grants)]
        return grant, self.model.runs[grant.id]

    def _token(self, timeout: int) -> str:
        self.tick()
        name = self.engine.token(timeout)
        self.model.tokens[name] = self.model.now + timeout
        return name

    @precondition(lambda self: self.grants)
    @rule(index=anything, park=st.booleans(), timeout=st.sampled_from([20_500, 10**9]))
    def wait_for_a_new_token(self, index: int, park: bool, timeout: int) -> None:
        name = self._token(timeout)
        self._wait(index, name, park)

    @precondition(lambda self: self.grants)
    @rule(park=st.booleans())
    def the_latest_waits(self, park: bool) -> None:
        self.wait_for_a_new_token(0, park, 10**9)

    @precondition(lambda self: self.grants and self.model.tokens)
    @rule(index=anything, number=anything, park=st.booleans())
    def wait_for_a_token(self, index: int, number: int, park: bool) -> None:
        names = list(self.model.tokens)
        self._wait(index, names[-1 - number % len(names)], park)

    @precondition(lambda self: self.grants)
    @rule(index=anything, number=anything, park=st.booleans())
    def wait_for_a_run(self, index: int, number: int, park: bool) -> None:
        names = list(self.model.runs)
        self._wait(index, names[-1 - number % len(names)], park)

    def _wait(self, index: int, target: str, park: bool) -> None:
        self.tick()
        grant, run = self._grant(index)
        wanted = self.model.wait(run, int(grant.epoch), target, park=park)
        assert self.engine.wait(grant, target, park=park) == wanted

    @precondition(lambda self: self.model.tokens)
    @rule(number=anything)
    def complete(self, number: int) -> None:
        self.tick()
        names = list(self.model.tokens)
        name = names[-1 - number % len(names)]
        first = self.model.tokens[name] is not None
        assert self.engine.complete(name) is first
        if first:
            self.model.tokens[name] = None
            self.model.wake(name)

    @precondition(lambda self: self.grants)
    @rule(index=anything, all_of_them=st.booleans())
    def park(self, index: int, all_of_them: bool) -> None:
        self.tick()
        grant, run = self._grant(index)
        targets = sorted(run.waits) if all_of_them else sorted(self.model.tokens)[:1]
        wanted = self.model.park(run, int(grant.epoch), targets)
        assert self.engine.park(grant, *targets).word == wanted

    @precondition(lambda self: self.grants)
    @rule(index=anything)
    def give_a_wait_up(self, index: int) -> None:
        self.tick()
        grant, run = self._grant(index)
        allowed = self.model.give_up(run, int(grant.epoch))
        assert self.engine.resume(grant) in allowed

    @precondition(lambda self: self.grants)
    @rule(index=anything)
    def evict(self, index: int) -> None:
        self.tick()
        grant, run = self._grant(index)
        assert self.engine.evict(grant) == [self.model.evict(run, int(grant.epoch))]

    @precondition(lambda self: self.grants)
    @rule(index=anything, name=st.sampled_from("ab"))
    def record_a_step(self, index: int, name: str) -> None:
        self.tick()
        grant, run = self._grant(index)
        ours = self.model.owns(run, int(grant.epoch))
        run.noted |= ours
        assert (self.engine.step(grant, name, "1") is not None) is ours

    @precondition(lambda self: self.grants)
    @rule(index=anything, waits=st.booleans(), queue=st.sampled_from(["", "q"]))
    def make_a_child(self, index: int, waits: bool, queue: str) -> None:
        self.tick()
        grant, _ = self._grant(index)
        new = self.engine.new_run("t", queue=queue or "task/t")
        child = self.engine.child(grant, new)
        self.model.create(ModelRun(child, "t", queue or "task/t", "", None, parent=grant.id), 0)
        if waits:
            self._wait(index, child, True)

    @precondition(lambda self: self.grants)
    @rule(index=anything)
    def make_a_token_in_a_run(self, index: int) -> None:
        self.tick()
        grant, run = self._grant(index)
        made_before = f"token of {run.attempt}"
        new = NewWaitpoint(waitpoint_id(), "TOKEN", Delay(10**9, None))
        word, name = self.engine.waitpoint(new, grant, made_before)
        if word == "created":
            self.model.tokens[name] = self.model.now + 10**9
            run.noted |= run.status in (RunStatus.EXECUTING, RunStatus.WAITING)
        else:
            assert name in self.model.tokens

    def observe_regained(self, spaces: Any) -> None:
        """Who of those that queue for a slot has one now, the store decides, within the limits."""
        for run in self.model.runs.values():
            if run.resuming and spaces.runs[run.id]["status"] == "EXECUTING":
                self.model.regained(run)
                limit = self.model.limits.get(run.queue)
                assert limit is None or self.model.held(run.queue, run.key) <= limit
                limit = self.model.environment_limit
                assert limit is None or self.model.held() <= limit
