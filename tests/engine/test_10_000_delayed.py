"""Ten thousand runs delayed to the same time are queued without loss, in bounded batches."""

from __future__ import annotations

from tests.driving import RETENTION, Engine
from trigger_celery.engine.admission import reschedule_run
from trigger_celery.engine.services.promoter import BATCH, Promoter
from trigger_celery.model.duration import Delay

HOUR = 3_600_000


def test_10_000_delayed_runs_are_queued_without_loss(engine: Engine) -> None:
    due = engine.clock.now() + 3_600_000
    runs = engine.create_many(6_000, at=due) + engine.create_many(4_000, "u", at=due)
    assert engine.client.zcard(engine.key("timers")) == 10_000
    promoter = Promoter(engine.scope, RETENTION)
    assert engine.run(promoter.tick()) == 1.0
    engine.clock.advance(3_600_001)
    ticks = 1
    while engine.run(promoter.tick()) == 0.0:
        ticks += 1
        left = engine.client.zcard(engine.key("timers"))
        assert left == 10_000 - BATCH * (ticks - 1)
    assert ticks == 10_000 // BATCH + 1
    assert engine.members("index_status", "QUEUED") == sorted(runs)
    assert engine.client.exists(engine.key("timers"), engine.key("index_status", "DELAYED")) == 0


def test_10_000_runs_are_rescheduled_and_start_at_their_new_times(engine: Engine) -> None:
    now = engine.clock.now()
    runs = engine.create_many(10_000, at=now + 2 * HOUR)
    for number, run in enumerate(runs):
        later = now + (1 if number % 2 else 3) * HOUR
        assert engine.run(reschedule_run(engine.scope, run, Delay(None, later))) == "ok"
    promoter = Promoter(engine.scope, RETENTION)
    for hour, due in ((1, runs[1::2]), (2, runs[1::2]), (3, runs)):
        engine.clock.advance(HOUR + (hour == 1) * 1_000)
        while engine.run(promoter.tick()) == 0.0:
            continue
        assert engine.members("index_status", "QUEUED") == sorted(due), f"after {hour} h"
