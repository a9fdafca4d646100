"""Beats in this process: they tick when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.scheduler import TriggerScheduler

Beats = Callable[..., TriggerScheduler]


@pytest.fixture
def beats(trigger: TriggerCelery, client: redis.Redis) -> Iterator[Beats]:
    """Makes beats of the bound app; what RedBeat stored is gone at the end."""
    made: list[TriggerScheduler] = []
    trigger.app.conf.redbeat_key_prefix = "redbeat:"  # it configures RedBeat

    def make(**options: Any) -> TriggerScheduler:
        made.append(TriggerScheduler(trigger.app, **options))
        return made[-1]

    yield make
    for beat in made:
        beat.close()
    if getattr(trigger.app, "redbeat_redis", None) is not None:
        trigger.app.redbeat_redis.close()
    for name in client.scan_iter("redbeat:*"):
        client.delete(name)
