"""A run cannot wait for itself, or for one that waits for it: nobody would ever go on."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.driving import Engine
from trigger_celery.engine.attempts import Grant


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def child_of(engine: Engine, parent: Grant, *, waits: bool = True) -> Grant:
    child = engine.child(parent, engine.new_run())
    if waits:
        assert engine.wait(parent, child) == "parked"
    return engine.take_one()


def test_a_run_cannot_wait_for_itself(engine: Engine) -> None:
    grant = engine.begin()
    answer = engine.ask_to_wait(grant, grant.id)
    assert (answer.word, answer.more) == ("cycle", (grant.id,))
    assert engine.end(grant) == "ok"


def test_a_child_cannot_wait_for_the_parent_that_waits_for_it(engine: Engine) -> None:
    parent = engine.begin()
    child = child_of(engine, parent)
    answer = engine.ask_to_wait(child, parent.id)
    assert (answer.word, answer.more) == ("cycle", (f"{child.id} {parent.id}",))
    assert engine.status(child.id) == "EXECUTING"


def test_nor_a_grandchild_and_the_chain_is_told(engine: Engine) -> None:
    chain = [engine.begin()]
    for _ in range(4):
        chain.append(child_of(engine, chain[-1]))
    answer = engine.ask_to_wait(chain[-1], chain[0].id)
    assert answer.word == "cycle"
    assert answer.more == (" ".join(grant.id for grant in reversed(chain)),)


def test_nor_a_run_of_a_batch_that_is_waited_for(engine: Engine) -> None:
    parent = engine.begin()
    batch = engine.batch([engine.new_run(), engine.new_run()], parent)
    engine.wait(parent, batch)
    first, second = engine.take()
    assert engine.wait(first, second.id) == "parked"
    answer = engine.ask_to_wait(second, parent.id)
    assert (answer.word, answer.more) == ("cycle", (f"{second.id} {parent.id}",))


def test_two_runs_cannot_wait_for_each_other(engine: Engine) -> None:
    first, second = engine.begin(), engine.begin()
    assert engine.wait(first, second.id) == "parked"
    assert engine.wait(second, first.id) == "cycle"
    engine.end(second)
    assert engine.end(first) == "ok"


def test_a_ring_of_runs_cannot_close(engine: Engine) -> None:
    ring = [engine.begin() for _ in range(5)]
    for grant, following in pairwise(ring):
        assert engine.wait(grant, following.id) == "parked"
    answer = engine.ask_to_wait(ring[-1], ring[0].id)
    assert answer.word == "cycle"
    assert answer.more == (" ".join(grant.id for grant in reversed(ring)),)


def test_a_child_may_wait_for_a_parent_that_does_not_wait_for_it(engine: Engine) -> None:
    parent = engine.begin()
    child = child_of(engine, parent, waits=False)
    assert engine.wait(child, parent.id) == "parked"
    assert engine.wait(parent, child.id) == "cycle"
    engine.end(parent)
    assert engine.end(child) == "ok"


def test_a_run_may_wait_twice_for_the_same_run(engine: Engine) -> None:
    waited, grant = engine.begin(), engine.begin()
    for path in ("1", "2"):
        assert engine.wait(grant, waited.id, path=path, park=False) == "waiting"
    assert engine.park(grant, waited.id).word == "parked"
    engine.end(waited)
    assert engine.mail() == [f"resume {grant.id} {waited.id}"]


def test_nothing_is_left_of_a_wait_that_was_refused(engine: Engine) -> None:
    grant = engine.begin()
    engine.wait(grant, grant.id)
    assert engine.record(grant).calls == {}
    assert engine.waits_of(grant.id) == set()
