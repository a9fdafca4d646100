"""Ten thousand runs delayed to the same time are queued without loss, in bounded batches."""

from __future__ import annotations

from tests.driving import RETENTION, Engine
from trigger_celery.engine.services.promoter import BATCH, Promoter


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
