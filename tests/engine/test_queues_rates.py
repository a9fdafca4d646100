"""Rates of queues and of their keys: never exceeded in any window, by any number of workers."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from tests.driving import Engine
from trigger_celery.engine.queueing import QueueDeclaration
from trigger_celery.errors import InvalidQueueError
from trigger_celery.model.ids import token
from trigger_celery.model.rate import Rate, parse_rate

CELERY = token("celery")


def limited(rate: str | None = None, key_rate: str | None = None, **more: int) -> QueueDeclaration:
    return QueueDeclaration("q", rate=parse_rate(rate), key_rate=parse_rate(key_rate), **more)


def most_in_a_window(times: list[int], window_ms: int) -> int:
    return max((sum(1 for t in times if at <= t < at + window_ms) for at in times), default=0)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/m", Rate("100/m", 600_000, 1)),
        (" 100 / M ", Rate("100/m", 600_000, 1)),
        ("1/d", Rate("1/d", 86_400_000_000, 1)),
        ("0.5/s", Rate("0.5/s", 2_000_000, 1)),
        ("10", Rate("10/s", 100_000, 1)),
        (10, Rate("10/s", 100_000, 1)),
        (0.5, Rate("0.5/s", 2_000_000, 1)),
        ("3/h", Rate("3/h", 1_200_000_000, 1)),
        ("1000/s", Rate("1000/s", 1020, 20)),
    ],
)
def test_what_is_a_rate(text: object, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "bad",
    ["", "fast", "10/x", "10/min", "-1/s", "1e3/s", "10/m/s", "/s", "0/s", 0, -1, True, [], "1000001/s",
     float("nan"), float("inf"), b"1/s", "٣/s"],
)  # fmt: skip
def test_what_is_no_rate_is_refused(bad: object) -> None:
    with pytest.raises(InvalidQueueError, match="rate_limit="):
        parse_rate(bad)


def test_runs_start_evenly_at_the_exact_moment(engine: Engine) -> None:
    engine.register(queues={"q": limited("100/m")})
    runs = engine.create_many(3, queue="q")
    assert [grant.id for grant in engine.take()] == runs[:1]
    engine.clock.advance(500)
    engine.fire()
    assert engine.take() == []
    engine.clock.advance(101)
    assert engine.fire() == 1
    assert [grant.id for grant in engine.take()] == runs[1:2]


def test_a_rate_limited_lane_is_not_ready_and_has_one_timer(engine: Engine) -> None:
    engine.register(queues={"q": limited(key_rate="1/m")})
    engine.create_many(200, queue="q", key="a")
    engine.create_many(2, queue="q", key="b")
    assert len(engine.take(want=50)) == 2
    assert engine.members("ready", CELERY) == []
    assert len(engine.members("timers")) == 2
    assert engine.take() == []


def test_a_whole_queue_that_is_rate_limited_has_one_timer_for_all_keys(engine: Engine) -> None:
    engine.register(queues={"q": limited("1/m")})
    for key in range(300):
        engine.create(queue="q", key=str(key))
    assert len(engine.take(want=50)) == 1
    assert engine.members("ready", CELERY) == []
    assert len(engine.members("timers")) == 1


def test_an_idle_worker_is_woken_when_the_time_has_come(engine: Engine) -> None:
    engine.register(queues={"q": limited("1/s")})
    engine.create_many(2, queue="q")
    engine.take()
    engine.mail("w1")
    engine.clock.advance(1001)
    engine.fire()
    assert "work" in engine.mail("w1")


def test_time_without_runs_saves_nothing_up(engine: Engine) -> None:
    engine.register(queues={"q": limited("1/s")})
    engine.clock.advance(60_000)
    engine.create_many(3, queue="q")
    assert len(engine.take()) == 1


def test_a_faster_rate_counts_at_once_and_a_slower_one_from_the_next_start(engine: Engine) -> None:
    engine.register(queues={"q": limited("1/d", "1/d")})
    engine.create_many(9, queue="q", key="k")
    assert len(engine.take()) == 1
    engine.register("w2", queues={"q": limited("1/s", "1/s")})
    engine.clock.advance(1001)
    engine.fire()
    assert len(engine.take()) == 1
    engine.register("w2", queues={"q": limited("1/h")})
    engine.clock.advance(1001)
    engine.fire()
    assert len(engine.take()) == 1
    engine.clock.advance(60_000)
    engine.fire()
    assert engine.take() == []
    engine.register("w2", queues={"q": None})
    assert len(engine.take()) == 6


def test_a_single_run_is_handed_over_within_the_rate(engine: Engine) -> None:
    engine.register(direct=True, queues={"q": limited("1/s")})
    engine.take()
    engine.create(queue="q")
    assert [mail for mail in engine.mail("w1") if mail.startswith("run")]
    engine.take()
    engine.create(queue="q")
    assert not [mail for mail in engine.mail("w1") if mail.startswith("run")]


@pytest.mark.parametrize("seed", range(4))
def test_no_window_ever_holds_more(engine: Engine, seed: int) -> None:
    """Two workers, five keys, random pauses between calls; a queue rate and a key rate at once."""
    dice = random.Random(seed)  # noqa: S311 - repeatable
    rate, key_rate = dice.choice(
        [("7/s", "2/s"), ("200/s", "90/s"), ("30/m", "20/m"), ("60/s", "9/s")]
    )
    window = 1000 if rate.endswith("s") else 60_000
    queues = {"q": limited(rate, key_rate)}
    for session in ("w1", "w2"):
        engine.register(session, queues=queues, lease=10**9)
    for key in "abcde":
        engine.create_many(60, queue="q", key=key)
    started: list[int] = []
    by_key: dict[str, list[int]] = defaultdict(list)
    for _ in range(150):
        engine.clock.advance(dice.choice([0, 1, 3, 20, window // 50, window // 9]))
        engine.fire()
        before = engine.clock.now()
        for grant in engine.take(dice.choice(["w1", "w2"]), dice.randint(1, 30)):
            since = int(engine.fields(grant.id)["since"])
            assert since >= before
            started.append(since)
            by_key[grant.concurrency_key].append(since)
    assert most_in_a_window(started, window) <= int(rate.split("/")[0])
    for times in by_key.values():
        assert most_in_a_window(times, window) <= int(key_rate.split("/")[0])
    assert len(started) > 10
