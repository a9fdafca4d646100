"""`heartbeats`: let others have a turn in long computations."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.engine.sessions import read_heartbeat
from trigger_celery.store.op import Flow, Op, Sleep

EVERY = 0.05
"""Seconds of computing after which `yield_` gives way."""


def yield_() -> Op[None]:
    """Let the event loop, or other threads, have a turn; cheap enough for a tight loop.

    Gives way when the run has computed for 50 ms since it last did. In a run it also raises what
    stops the run: a cancel, or the end of its maximum duration, which code that never awaits would
    not notice. A worker's lease is renewed by a thread of its own: no run is lost for computing
    long, but other runs on the same event loop stand still meanwhile.
    """
    return context.current().op(_give_way(), "heartbeats.yield_")


def _give_way() -> Flow[None]:
    durable = current_durable()
    if durable is None:
        yield Sleep(0)
        return
    durable.parking.check()
    now = time.monotonic()
    if now - durable.parking.gave_way_at >= EVERY:
        yield Sleep(0)
        durable.parking.gave_way_at = time.monotonic()
        durable.parking.check()


def get_last_heartbeat() -> Op[datetime | None]:
    """Return when the worker that executes the current run last renewed its lease.

    None outside of a run, and when the worker's lease has lapsed.
    """
    return context.current().op(_last(), "heartbeats.get_last_heartbeat")


def _last() -> Flow[datetime | None]:
    durable = current_durable()
    if durable is None:
        return None
    ms: int | None = yield from read_heartbeat(context.current().scope, durable.run_id)
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
