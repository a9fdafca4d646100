"""Celery's `revoke` cancels runs that are not under way, however many workers are told of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.driving import HOUR, RETENTION, Engine
from trigger_celery.engine.cancelling import CANCELS_PER_CALL, revoke_runs
from trigger_celery.engine.scripts import SCRIPTS


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register(queues={"q": 1})


def unknown_task(engine: Engine) -> str:
    run = engine.create("new")
    engine.unknown(engine.take_one())
    return run


def between_attempts(engine: Engine, delay: int) -> str:
    grant = engine.begin()
    engine.retry(grant, delay)
    return grant.id


NOT_UNDER_WAY: dict[str, Callable[[Engine], str]] = {
    "QUEUED": lambda engine: engine.create(),
    "DELAYED": lambda engine: engine.create(delay=HOUR),
    "DEQUEUED": lambda engine: _dequeued(engine),
    "PENDING_VERSION": unknown_task,
    "before its next attempt": lambda engine: between_attempts(engine, 60_000),
    "before its next attempt, in place": lambda engine: between_attempts(engine, 1_000),
}


def _dequeued(engine: Engine) -> str:
    engine.create()
    return engine.take_one(start=False).id


@pytest.mark.parametrize("state", NOT_UNDER_WAY)
def test_a_run_that_does_not_execute(engine: Engine, state: str) -> None:
    run = NOT_UNDER_WAY[state](engine)
    assert engine.revoke(run) == [True]
    assert engine.status(run) == "CANCELED"
    assert engine.read(run).error.message == "Revoked"  # type: ignore[union-attr]
    assert engine.revoke(run) == [False]  # another worker was told as well
    engine.clock.advance(HOUR)
    engine.fire()
    assert engine.take() == []


def waiting(engine: Engine) -> tuple[str, str]:
    """Return a run that waits, and the token it waits for."""
    grant, token = engine.begin(queue="q"), engine.token()
    engine.wait(grant, token)
    return grant.id, token


def test_a_run_that_executes_or_waits_goes_on(engine: Engine) -> None:
    run, token = waiting(engine)
    other = engine.begin(queue="q").id
    assert engine.revoke(run, other) == [False, False]
    engine.complete(token)
    assert engine.status(run) == "QUEUED"  # for its slot, which the other has
    assert engine.revoke(run) == [False]
    lost, token = waiting_without_memory(engine)
    assert engine.revoke(lost) == [False]
    engine.complete(token)
    assert engine.status(lost) == "QUEUED"
    assert engine.revoke(lost) == [False]
    assert {engine.status(one) for one in (run, other)} == {"QUEUED", "EXECUTING"}


def waiting_without_memory(engine: Engine) -> tuple[str, str]:
    grant, token = engine.begin(), engine.token()
    engine.wait(grant, token)
    engine.evict(grant)
    return grant.id, token


def test_terminate_reaches_all_of_them(engine: Engine) -> None:
    executing, waits = engine.begin().id, waiting_without_memory(engine)[0]
    queued = engine.create()
    assert engine.revoke(executing, waits, queued, terminate=True) == [True] * 3
    assert {engine.status(run) for run in (executing, waits, queued)} == {"CANCELED"}


def test_what_is_final_recorded_or_unknown_stays(engine: Engine) -> None:
    done = engine.create()
    engine.end(engine.take_one())
    before = engine.fields(done)
    assert engine.revoke(done, "run_" + "0" * 26) == [False, False]
    assert engine.revoke(done, terminate=True) == [False]
    assert engine.fields(done) == before
    assert engine.revoke() == []


def test_many_are_one_round_trip(engine: Engine) -> None:
    runs = engine.create_many(CANCELS_PER_CALL + 5)
    flow = revoke_runs(engine.scope, runs, "Revoked", RETENTION)
    step = next(flow)
    assert isinstance(step, list)  # sent together
    with pytest.raises(StopIteration) as ended:
        flow.send(engine.store.send(*step))
    assert ended.value.value == [True] * len(runs)
    assert engine.take() == []


def test_a_call_that_is_sent_again_answers_the_same(engine: Engine) -> None:
    call = SCRIPTS.revoke_runs(
        engine.scope,
        [engine.create()],
        None,
        op_id="x",
        all="0",
        error="{}",
        retention=1000,
    )
    assert engine.store.send(call) == engine.store.send(call) == [[b"ok"]]


def test_children_go_with_it(engine: Engine) -> None:
    grant = engine.begin()
    child = engine.child(grant, engine.new_run())
    engine.retry(grant, 60_000)
    engine.revoke(grant.id)
    engine.fire()
    assert engine.status(child) == "CANCELED"
