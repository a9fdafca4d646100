"""What is due and fails stops nothing else, is said, and is tried again."""

from __future__ import annotations

import logging

import pytest

from tests.driving import Engine


def break_run(engine: Engine, run: str) -> bytes:
    """Make the record of a run one that no script understands; returns what was there."""
    before = engine.client.hget(engine.key("run", run), "n")
    engine.client.hset(engine.key("run", run), "n", "x")
    return before


def test_a_run_that_cannot_be_queued_stops_no_other(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.register()
    ids = [engine.create(delay=1_000 + number) for number in range(3)]
    token = engine.token(timeout=1_000)
    before = break_run(engine, ids[1])
    engine.clock.advance(2_000)
    with caplog.at_level(logging.ERROR):
        assert engine.fire() == 4
    assert engine.statuses(ids) == ["QUEUED", "DELAYED", "QUEUED"]
    assert {grant.id for grant in engine.take()} == {ids[0], ids[2]}
    assert engine.client.hget(engine.key("waitpoint", token), "status") == b"TIMED_OUT"
    [said] = [record for record in caplog.records if record.name == "trigger_celery.timers"]
    assert (said.action, said.timer) == ("timer_failed", ids[1])
    assert engine.fire() == 0
    engine.client.hset(engine.key("run", ids[1]), "n", before)
    engine.clock.advance(60_000)
    assert engine.fire() == 1
    assert engine.status(ids[1]) == "QUEUED"
    assert engine.take_one().id == ids[1]


def test_runs_whose_lane_cannot_be_entered_are_not_lost(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """They are queued already, and enter their lane when that is mended."""
    engine.register()
    broken, sound = engine.create(delay=1_000), engine.create("u", delay=1_000)
    lane = engine.key("lane", engine.fields(broken)["lane"])
    engine.client.set(lane, "no sorted set")
    engine.clock.advance(1_001)
    with caplog.at_level(logging.ERROR):
        assert engine.fire() == 2
    assert engine.statuses([broken, sound]) == ["QUEUED", "QUEUED"]
    assert "WRONGTYPE" in caplog.text
    engine.client.delete(lane)
    engine.clock.advance(60_000)
    assert engine.fire() == 1
    assert {grant.id for grant in engine.take()} >= {broken}
