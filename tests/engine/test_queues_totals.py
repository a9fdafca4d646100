"""A limit over all keys, and everything that changes limits at random: never exceeded, never stuck."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests import police
from tests.driving import RETENTION, Engine
from trigger_celery.engine import queueing, triggering
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.model.ids import token

CELERY = token("celery")


def test_a_total_limit_bounds_the_sum_over_all_keys(engine: Engine) -> None:
    engine.register(queues={"q": QueueDeclaration("q", 2, 5)})
    for key in range(10):
        engine.create_many(3, queue="q", key=str(key))
    held = engine.take(want=100)
    assert len(held) == 5
    assert max(Counter(grant.concurrency_key for grant in held).values()) <= 2
    assert engine.members("ready", CELERY) == []
    engine.end(held[0])
    assert len(engine.take(want=100)) == 1


def test_keys_take_turns_below_a_total_limit(engine: Engine) -> None:
    engine.register(queues={"q": QueueDeclaration("q", None, 1)})
    engine.create_many(20, queue="q", key="long")
    engine.create_many(2, queue="q", key="short")
    order = []
    for _ in range(6):
        grant = engine.take_one()
        order.append(grant.concurrency_key)
        engine.end(grant)
    assert order.count("short") == 2


def test_a_run_that_waited_gets_the_slot_of_another_key(engine: Engine) -> None:
    engine.register(queues={"q": QueueDeclaration("q", None, 1)})
    ticket = engine.token()
    waiting = engine.begin(queue="q", key="a")
    engine.ask_to_wait(waiting, ticket, path="1", call="w", park=True)
    other = engine.begin(queue="q", key="b")
    engine.complete(ticket)
    assert engine.status(waiting.id) == "QUEUED"
    engine.end(other)
    assert engine.status(waiting.id) == "EXECUTING"


def test_a_total_limit_comes_and_goes_with_its_declaration(engine: Engine) -> None:
    engine.register(queues={"q": None})
    for key in range(300):
        engine.create_many(2, queue="q", key=str(key))
    engine.register("w2", queues={"q": QueueDeclaration("q", None, 4)})
    assert len(engine.take(want=50)) == 4
    engine.register("w2", queues={"q": QueueDeclaration("q", None, 6)})
    assert len(engine.take("w2", want=50)) == 2
    engine.register("w2", queues={"q": None})
    assert len(engine.take(want=600)) == 594


def test_two_worker_queues_share_a_total_limit(engine: Engine) -> None:
    both = ("celery", "video")
    engine.register(worker_queues=both, queues={"q": QueueDeclaration("q", None, 3)})
    for wq in both:
        engine.create_many(5, queue="q", key=wq, worker_queue=wq)
    held = engine.take(want=10, worker_queues=both)
    assert len(held) == 3
    for grant in held:
        engine.end(grant)
    assert len(engine.take(want=10, worker_queues=("video", "celery"))) == 3


def test_cancelled_runs_leave_no_queue_ready_for_nothing(engine: Engine) -> None:
    engine.register(queues={"q": QueueDeclaration("q", None, 1)})
    for run in engine.create_many(3, queue="q", key="k"):
        engine.cancel(run)
    assert engine.members("ready", CELERY) == []
    assert engine.take() == []


class Storm:
    """Workers that take, end, retry and die while limits are changed under them."""

    def __init__(self, engine: Engine, seed: int, keys: int) -> None:
        self.engine = engine
        self.dice = random.Random(seed)  # noqa: S311 - repeatable
        self.limit, self.total, self.environment = 2, 9, 14
        self.over: int | None = None
        self.paused = self.shut = False
        self.held: dict[str, Grant] = {}
        self.sessions = ["w1", "w2"]
        for session in self.sessions:
            self.register(session)
        new = [engine.deployed(engine.new_run(queue="q", key=str(key))) for key in range(keys)]
        engine.run(triggering.create_runs(engine.scope, new, RETENTION))

    def register(self, session: str) -> None:
        declared = {"q": QueueDeclaration("q", self.limit, self.total), "other": None}
        self.engine.register(session, queues=declared, limit=self.environment, lease=10**9)

    def change(self, queue: str, action: queueing.Action, limit: int | None = None) -> None:
        self.engine.run(queueing.change_queue(self.engine.scope, queue, action, limit))

    def take(self) -> None:
        before = len(self.held)
        of_q = sum(grant.queue == "q" for grant in self.held.values())
        taken = self.engine.take(self.dice.choice(self.sessions), self.dice.randint(1, 12))
        self.held.update((grant.id, grant) for grant in taken)
        assert not (taken and self.shut)
        new = [grant for grant in taken if grant.queue == "q"]
        assert not (new and self.paused)
        if taken:
            assert before + len(taken) <= self.environment
        if new:
            assert of_q + len(new) <= self.total
        keys = Counter(g.concurrency_key for g in self.held.values() if g.queue == "q")
        limit = self.limit if self.over is None else self.over
        assert all(keys[grant.concurrency_key] <= limit for grant in new)

    def end_some(self) -> None:
        for run in self.dice.sample(sorted(self.held), self.dice.randint(0, len(self.held))):
            grant = self.held.pop(run)
            if self.dice.random() < 0.2:
                self.engine.retry(grant, 31_000)
            else:
                assert self.engine.end(grant) == "ok"

    def kill(self) -> None:
        session = self.dice.choice(self.sessions)
        for run in self.engine.client.smembers(self.engine.key("owned", session)):
            self.held.pop(run.decode())
        client, env = self.engine.client, self.engine.key("env")
        client.hset(env, mapping={"swept": self.engine.clock.now(), "hold": 0})
        client.zadd(self.engine.key("workers"), {session: 1}, xx=True)
        assert self.engine.sweep().sessions_ended == 1
        self.register(session)

    def change_limits(self) -> None:
        self.limit = self.dice.randint(1, 3)
        self.total = self.dice.randint(1, 15)
        self.environment = self.dice.randint(1, 20)
        self.register(self.dice.choice(self.sessions))

    def override(self) -> None:
        self.over = self.dice.choice([None, 0, 1, 4])
        self.change("q", "reset" if self.over is None else "override", self.over)

    def pause(self) -> None:
        self.paused = not self.paused
        self.change("q", "pause" if self.paused else "resume")

    def shut_or_open(self) -> None:
        self.shut = not self.shut
        action: queueing.Action = "pause" if self.shut else "resume"
        self.engine.run(queueing.change_environment(self.engine.scope, action))

    def create(self) -> None:
        self.engine.create_many(
            self.dice.randint(1, 4),
            queue=self.dice.choice(["q", "other"]),
            key=str(self.dice.randint(0, 5)),
        )

    def rage(self, steps: int) -> None:
        doings = [self.take] * 4 + [self.end_some] * 2 + [self.create, self.kill]
        doings += [self.change_limits, self.override, self.pause, self.shut_or_open]
        for _ in range(steps):
            self.dice.choice(doings)()

    def calm_down(self) -> None:
        """Open everything and let all runs end: nothing is stuck."""
        if self.paused:
            self.pause()
        if self.shut:
            self.shut_or_open()
        self.change("q", "reset")
        self.over, self.limit, self.total, self.environment = None, 3, 200, 500
        self.register("w1")
        self.engine.clock.advance(40_000)
        while self.engine.fire() >= 200:
            continue
        for _ in range(10_000):
            self.take()
            if not self.held:
                break
            for grant in self.held.values():
                self.engine.end(grant)
            self.held.clear()
        assert self.engine.members("index_status", "QUEUED") == []


@pytest.mark.parametrize(("seed", "keys"), [(1, 1000), (2, 6), (3, 30), (4, 2)])
def test_no_limit_is_ever_exceeded_and_nothing_is_stuck(
    engine: Engine, seed: int, keys: int
) -> None:
    storm = Storm(engine, seed, keys)
    for _ in range(6):
        storm.rage(30)
        police.inspect(engine.client, engine.scope)
    storm.calm_down()
