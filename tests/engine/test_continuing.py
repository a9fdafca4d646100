"""Final runs from which something of Celery's goes on: which, for whom, and until when."""

from __future__ import annotations

import pytest

from tests.driving import ERROR, LEASE, RETENTION, Engine
from trigger_celery.engine import continuing
from trigger_celery.engine.admission import Extras
from trigger_celery.model.ids import run_id_of
from trigger_celery.model.packet import JSON, Packet


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def make(engine: Engine, flag: str = "c", **options: object) -> str:
    extras = Extras(task_id="abc", celery=f'{flag}{{"id":"abc"}}')
    return engine.create(extras=extras, **options)


def claimed(engine: Engine, count: int = 10) -> list[str]:
    return [run for run, _ in engine.run(continuing.claim(engine.scope, count, LEASE))]


@pytest.mark.parametrize(("flag", "ended"), [("c", True), ("r", False), ("x", False)])
@pytest.mark.parametrize("good", [True, False])
def test_an_attempt_has_ended(engine: Engine, flag: str, ended: bool, good: bool) -> None:
    run = make(engine, flag)
    assert claimed(engine) == []
    grant = engine.take_one()
    assert grant.has_data
    assert (engine.end if good else engine.fail)(grant) == "ok"
    assert claimed(engine) == ([run] if ended else [])
    assert engine.read(run).celery_task_id == "abc"


@pytest.mark.parametrize(("flag", "told"), [("c", True), ("r", True), ("x", False)])
def test_no_attempt_has_told(engine: Engine, flag: str, told: bool) -> None:
    """Cancelled, expired, crashed, and refused from the start."""
    cancelled = make(engine, flag)
    engine.cancel(cancelled)
    crashed = make(engine, flag)
    engine.end(engine.take_one(), "lost", "", ERROR)
    refused = make(engine, flag, failed=ERROR)
    expired = engine.create(
        extras=Extras(ttl_ms=1000, task_id="abc", celery=f'{flag}{{"id":"abc"}}')
    )
    engine.clock.advance(1001)
    engine.fire()
    assert engine.statuses([crashed, refused, expired]) == ["CRASHED", "SYSTEM_FAILURE", "EXPIRED"]
    runs = {cancelled, crashed, refused, expired}
    assert set(claimed(engine)) == (runs if told else set())


def test_a_run_without_celery_is_none(engine: Engine) -> None:
    engine.create()
    engine.end(engine.take_one())
    assert claimed(engine) == []


def test_a_claim_is_for_its_lease(engine: Engine) -> None:
    run = make(engine)
    engine.end(engine.take_one())
    assert claimed(engine) == [run]
    assert claimed(engine) == []
    engine.clock.advance(LEASE + 1)
    assert claimed(engine) == [run]
    engine.run(continuing.continued(engine.scope, [run]))
    engine.clock.advance(LEASE + 1)
    assert claimed(engine) == []


def test_a_run_that_is_gone_is_struck_off(engine: Engine) -> None:
    make(engine)
    engine.end(engine.take_one())
    engine.clock.advance(RETENTION + 1)
    engine.prune()
    assert claimed(engine) == []
    assert engine.members("continuing") == []


def test_an_attempt_changes_its_call(engine: Engine) -> None:
    run = make(engine)
    grant = engine.take_one()
    long = Packet(f'"{"x" * 99}"', JSON)
    for packet in (long, Packet("2", "text/plain")):
        change = continuing.change_call(engine.scope, run, grant.epoch, "x{}", packet)
        assert engine.run(change)
        assert engine.read(run).payload == ("x" * 99 if packet is long else "2")
    assert engine.run(continuing.read_celery(engine.scope, run)) == "x{}"
    engine.end(grant)
    assert not engine.run(continuing.change_call(engine.scope, run, grant.epoch, "c{}"))
    assert claimed(engine) == []


def test_one_task_id_is_one_run(engine: Engine) -> None:
    ids = {run_id_of(text) for text in ("a", "b", "Ω", "x" * 999, "c/d:e f")}
    assert len(ids) == 5
    assert all(run_id_of(run) == run for run in ids)
