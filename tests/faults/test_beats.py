"""Beats that freeze, die and race: an occurrence becomes one run, never two, never none."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redbeat import RedBeatSchedulerEntry

from tests.faults.test_frozen_workers import let_pass
from tests.scheduler.beat_processes import SCHEDULER, Beats
from tests.waiting import wait_until
from tests.worker.workers import WorkerProcess
from trigger_celery.scheduler.firing import GRACE_MS

pytestmark = pytest.mark.processes

OCCURRENCES = 200


@pytest.fixture
def beats(tmp_path: Path, server_binary: str | None) -> Iterator[Beats]:
    made = Beats(tmp_path, binary=server_binary)
    yield made
    print(made.logs())
    made.close()


def minutes_from(first: datetime, count: int) -> list[str]:
    return [(first + timedelta(minutes=n)).isoformat().replace("+00:00", "Z") for n in range(count)]


def next_minute(beats: Beats) -> datetime:
    now = datetime.fromtimestamp(beats.clock.now() / 1000, UTC)
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def test_two_beats_are_stopped_and_killed_for_200_occurrences(beats: Beats) -> None:
    """Each occurrence is half a minute late when it comes: so both fire it, at once."""
    chance = random.Random(7)  # noqa: S311 - the same faults each time
    beats.to_the_next_minute(late=30_000)
    pair = [beats.start_beat("-S", SCHEDULER, wait=False) for _ in range(2)]
    for beat in pair:
        beats.wait_for_beat(beat)
    schedule = beats.schedule()
    wanted = minutes_from(next_minute(beats), OCCURRENCES)
    stopped: list[WorkerProcess] = []
    kills = stops = 0
    for number in range(1, OCCURRENCES + 1):
        beats.clock.advance(60_000)
        if chance.random() < 0.5:
            let_pass(chance.uniform(0, 0.03))  # into whatever it is doing
        while stopped:
            stopped.pop().resume()
        if number % 50 == 25:
            pair.pop(chance.randrange(2)).kill()
            pair.append(beats.start_beat("-S", SCHEDULER, wait=False))
            kills += 1
        elif chance.random() < 0.6:
            one = chance.choice(pair)
            one.pause()
            stopped.append(one)
            stops += 1
        beats.wait_for_runs(number)
    for beat in stopped:
        beat.resume()
    print(f"\nkills {kills}, stops {stops}")
    for beat in pair:
        beats.wait_for_beat(beat)
        assert beat.is_running
    assert beats.report("two beats, SIGSTOP and kill -9", wanted) == (0, 0)
    found = beats.retrieve(schedule)
    assert (found.run_count, found.missed_count, found.lost_count) == (OCCURRENCES, 0, 0)
    for beat in beats.workers:
        assert "Traceback" not in beat.log


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_beat_is_killed_around_the_step_that_fires(
    beats: Beats, tmp_path: Path, when: str
) -> None:
    """What RedBeat loses between reserve and publish."""
    flag = tmp_path / "flag"
    flag.touch()
    beats.to_the_next_minute(late=1000)
    schedule = beats.schedule()
    wanted = minutes_from(next_minute(beats), 1)
    first = beats.start_beat("-S", SCHEDULER, kill=f"{when}:{flag}")
    beats.to_the_next_minute()
    wait_until(lambda: not first.is_running, "the beat is dead")
    assert not flag.exists()
    assert beats.count_runs() == (1 if when == "after" else 0)
    beats.start_beat("-S", SCHEDULER, kill=f"{when}:{flag}")
    wait_until(lambda: beats.retrieve(schedule).run_count == 1, "the occurrence is fired")
    assert beats.report(f"killed {when} the script", wanted) == (0, 0)


def test_a_frozen_lock_holder(beats: Beats) -> None:
    """Another fires our schedules after two seconds, RedBeat's entries when the lock is free."""
    beats.to_the_next_minute(late=1000)
    holder = beats.start_beat("-S", SCHEDULER)
    wait_until(lambda: "RedBeat's entries are sent here" in holder.log, "it has the lock")
    other = beats.start_beat("-S", SCHEDULER)
    beats.schedule()
    beats.app.conf.redbeat_redis_url = beats.server.url
    own = RedBeatSchedulerEntry("own", "sent", 3600, args=["own"], app=beats.app)
    own.last_run_at = datetime(2020, 1, 1, tzinfo=UTC)
    wanted = minutes_from(next_minute(beats), 2)
    holder.pause()
    own.save()
    beats.to_the_next_minute(late=GRACE_MS)
    began = time.monotonic()
    beats.wait_for_runs(1)
    beats.wait_for_runs(1, "sent")
    print(f"\nboth fired {time.monotonic() - began:.2f} s after the holder froze")
    holder.resume()
    wait_until(lambda: "another beat has the lock" in holder.log, "it stands by")
    beats.to_the_next_minute()
    beats.wait_for_runs(2)
    assert holder.is_running
    assert other.is_running
    assert beats.report("frozen lock holder", wanted) == (0, 0)
    assert beats.count_runs("sent") == 1


def test_a_store_that_is_restarted(tmp_path: Path, server_binary: str | None) -> None:
    beats = Beats(tmp_path, binary=server_binary, keep=True)
    try:
        beats.to_the_next_minute(late=1000)
        schedule = beats.schedule()
        beat = beats.start_beat("-S", SCHEDULER, conf={"beat_schedule": {}})
        wanted = minutes_from(next_minute(beats), 2)
        beats.to_the_next_minute()
        beats.wait_for_runs(1)
        beats.server.kill()
        wait_until(lambda: "Trying again in 1 s" in beat.log, "it notices", timeout=30)
        beats.server.start()
        beats.to_the_next_minute()
        beats.wait_for_runs(2, timeout=40)
        assert beat.is_running
        assert beats.report("the store was killed", wanted) == (0, 0)
        assert beats.retrieve(schedule).missed_count == 0
    finally:
        print(beats.logs())
        beats.close()
