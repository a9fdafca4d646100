"""The changes of a run are read from the feed: every one, once, in order, whatever is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.driving import ERROR, HOUR, Engine
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import following, subscribing
from trigger_celery.engine.run_groups import BatchGroup, TagGroup
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.subscribing import FeedFollower, Follower, RunFollower
from trigger_celery.errors import (
    BatchNotFoundError,
    RunCanceledError,
    RunNotFoundError,
    StoreUnavailableError,
)
from trigger_celery.model.batch import BatchItemError
from trigger_celery.model.ids import batch_id, run_id
from trigger_celery.model.run import Run
from trigger_celery.store.op import ask
from trigger_celery.store.scripts import Script
from trigger_celery.store.store import Store
from trigger_celery.store.stream_reader import StreamReader

WHOLE_LIFE = ["QUEUED", "EXECUTING", "WAITING", "EXECUTING", "COMPLETED"]
DAY = 24 * HOUR


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


@pytest.fixture
def follow_run(engine: Engine) -> Callable[..., RunFollower]:
    def follow(run: str, **options: Any) -> RunFollower:
        return RunFollower(engine.scope, run, **options)

    return follow


@pytest.fixture
def follow_batch(engine: Engine) -> Iterator[Callable[..., FeedFollower]]:
    made = []

    def follow(batch: str) -> FeedFollower:
        reader = engine.store.stream_reader()
        made.append(FeedFollower(engine.scope, BatchGroup(engine.scope, batch), reader))
        return made[-1]

    yield follow
    for follower in made:
        follower.close()


@pytest.fixture
def follow_tags(engine: Engine) -> Iterator[Callable[..., FeedFollower]]:
    made = []

    def follow(*tags: str, window: int = DAY) -> FeedFollower:
        reader = engine.store.stream_reader()
        made.append(FeedFollower(engine.scope, TagGroup(engine.scope, tags, window), reader))
        return made[-1]

    yield follow
    for follower in made:
        follower.close()


def shown(engine: Engine, follower: Follower, count: int | None = None) -> list[Run]:
    """Return the next snapshots; without a *count*, all to the end."""
    runs: list[Run] = []
    while count is None or len(runs) < count:
        run = engine.run(follower.next())
        if run is None:
            assert count is None, f"the end came after {len(runs)} snapshots"
            break
        runs.append(run)
    return runs


def statuses(runs: list[Run]) -> list[str]:
    return [run.status.value for run in runs]


def live(engine: Engine, run: str) -> None:
    """Let a run live its whole life."""
    grant = engine.take_one()
    assert grant.id == run
    token = engine.token()
    assert engine.wait(grant, token) == "parked"
    engine.complete(token)
    assert engine.status(run) == "EXECUTING"
    engine.end(grant, data='{"done":true}')


def fill(engine: Engine, count: int) -> None:
    """Let so much happen elsewhere that the feed forgets what was."""
    pipe = engine.client.pipeline(transaction=False)
    for number in range(1, count + 1):
        entry = {"run": "run_elsewhere", "status": "QUEUED", "n": number}
        pipe.xadd(engine.key("changes"), entry, maxlen=10_000, approximate=True)
    pipe.execute()


# One run


def test_what_happened_since_the_last_look_is_shown_change_by_change(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create(payload='"x"')
    follower = follow_run(run)
    assert statuses(shown(engine, follower, 1)) == ["QUEUED"]
    live(engine, run)
    later = shown(engine, follower)
    assert statuses(later) == WHOLE_LIFE[1:]
    assert shown(engine, follower) == []
    assert [one.payload for one in later] == ["x"] * 4


def test_a_snapshot_of_an_earlier_change_shows_nothing_that_came_after_it(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    (queued,) = shown(engine, follower, 1)
    live(engine, run)
    *earlier, last = [queued, *shown(engine, follower)]
    for one in earlier:
        assert (one.output, one.error, one.finished_at, one.duration_ms) == (None, None, None, 0)
        assert not one.is_completed
    assert [one.attempt_count for one in earlier] == [0, 1, 1, 1]
    assert [one.started_at is None for one in earlier] == [True, False, False, False]
    assert last == engine.read(run)
    moments = [one.updated_at for one in [*earlier, last] if one.updated_at is not None]
    assert moments == sorted(moments)


def test_attempts_are_shown_as_they_were(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    shown(engine, follower, 1)
    grant = engine.take_one()
    engine.retry(grant, 0)
    engine.retry(grant, 60_000)
    engine.clock.advance(61_000)
    engine.fire()
    engine.fail(engine.take_one())
    seen = [
        (one.status.value, one.attempt_count, [attempt.number for attempt in one.attempts])
        for one in shown(engine, follower)
    ]
    assert seen == [
        ("EXECUTING", 1, []),
        ("EXECUTING", 2, [1]),
        ("QUEUED", 2, [1, 2]),
        ("EXECUTING", 3, [1, 2]),
        ("FAILED", 3, [1, 2, 3]),
    ]


def test_a_run_given_back_in_a_wait_goes_on_as_the_attempt_it_was(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    shown(engine, follower, 1)
    grant = engine.take_one()
    token = engine.token()
    engine.wait(grant, token)
    engine.evict(grant)
    engine.complete(token)
    engine.end(engine.take_one())
    seen = [(one.status.value, one.attempt_count) for one in shown(engine, follower)]
    assert seen == [
        ("EXECUTING", 1), ("WAITING", 1), ("QUEUED", 1), ("EXECUTING", 1), ("COMPLETED", 1),
    ]  # fmt: skip


def test_a_delayed_run_is_shown_before_it_is_queued(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create(delay=1000)
    follower = follow_run(run)
    assert statuses(shown(engine, follower, 1)) == ["DELAYED"]
    engine.clock.advance(1001)
    engine.fire()
    engine.cancel(run)
    queued, canceled = shown(engine, follower)
    assert (queued.status, queued.error) == ("QUEUED", None)
    assert canceled.error is not None


def test_a_final_run_is_shown_once(engine: Engine, follow_run: Callable[..., RunFollower]) -> None:
    run = engine.create()
    live(engine, run)
    assert shown(engine, follow_run(run)) == [engine.read(run)]


def test_a_run_that_does_not_exist_is_not_found(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    with pytest.raises(RunNotFoundError):
        shown(engine, follow_run(run_id()))


def test_a_run_that_is_pruned_meanwhile_is_not_found(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    shown(engine, follower, 1)
    engine.client.flushall()
    with pytest.raises(RunNotFoundError):
        shown(engine, follower)


def test_much_that_happens_elsewhere_hides_nothing(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    shown(engine, follower, 1)
    grant = engine.take_one()
    fill(engine, 5000)
    engine.end(grant)
    fill(engine, 4000)
    assert statuses(shown(engine, follower)) == ["EXECUTING", "COMPLETED"]
    fill(engine, 10_000)


def test_10_000_changes_behind_it_goes_on_with_the_present(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    shown(engine, follower, 1)
    grant = engine.take_one()
    token = engine.token()
    engine.wait(grant, token)
    fill(engine, 11_000)
    assert statuses(shown(engine, follower, 1)) == ["WAITING"]
    engine.complete(token)
    engine.end(grant)
    assert statuses(shown(engine, follower)) == ["EXECUTING", "COMPLETED"]


def test_changes_that_are_left_are_shown_when_earlier_ones_are_forgotten(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    shown(engine, follower, 1)
    grant = engine.take_one()
    fill(engine, 11_000)
    engine.end(grant)
    assert statuses(shown(engine, follower)) == ["COMPLETED"]


def test_a_server_that_lost_its_last_writes_is_followed_from_there(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    photograph = engine.photograph()
    engine.take_one()
    assert statuses(shown(engine, follower, 1)) == ["EXECUTING"]
    engine.restore(photograph)
    assert statuses(shown(engine, follower, 1)) == ["QUEUED"]
    live(engine, run)
    assert statuses(shown(engine, follower)) == WHOLE_LIFE[1:]


def test_a_lost_notification_costs_time_and_no_change(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    follower = follow_run(run)
    shown(engine, follower, 1)
    engine.client.delete(engine.key("watch", run))
    live(engine, run)
    began = time.monotonic()
    assert statuses(shown(engine, follower)) == WHOLE_LIFE[1:]
    assert time.monotonic() - began < 20


def test_watching_leaves_nothing_but_a_key_that_expires(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    run = engine.create()
    shown(engine, follow_run(run), 1)
    assert 0 < engine.client.pttl(engine.key("watch", run)) <= HOUR


def test_what_stops_a_run_ends_a_loop_in_it(
    engine: Engine, follow_run: Callable[..., RunFollower]
) -> None:
    def check() -> None:
        if engine.status(run) == "CANCELED":
            raise RunCanceledError("canceled")

    run = engine.create()
    follower = follow_run(run, check=check)
    shown(engine, follower, 1)
    engine.cancel(run)
    with pytest.raises(RunCanceledError):
        engine.run(follower.next())


# The server goes away


@pytest.fixture
def own(tmp_path: Path, server_binary: str | None) -> Iterator[Engine]:
    """Drives a server that keeps its data and that the test may break."""
    always = ("--appendfsync", "always")  # else a kill may cost the writes of two seconds
    with EmbeddedServer(
        binary=server_binary, data_dir=tmp_path / "data", arguments=always
    ) as server:
        store = Store(server.url, "{tc:test:own}", retry_for=1.0)
        with redis.Redis.from_url(server.url) as client:
            engine = Engine(store, client)
            engine.register()
            engine.server = server  # type: ignore[attr-defined]
            yield engine
        store.close()


def test_a_server_that_stays_away_is_given_up_with_one_warning(
    own: Any, caplog: pytest.LogCaptureFixture
) -> None:
    follower = RunFollower(own.scope, own.create(), patience=0.5)
    shown(own, follower, 1)
    own.server.stop()
    began = time.monotonic()
    with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailableError):
        own.run(follower.next())
    assert 0.5 < time.monotonic() - began < 30
    assert [vars(record)["action"] for record in caplog.records] == ["subscription_waits"]


def test_a_minute_is_the_patience() -> None:
    assert following.PATIENCE == 60


def test_before_the_first_snapshot_an_absent_server_is_an_error_at_once(own: Any) -> None:
    follower = RunFollower(own.scope, own.create())
    own.server.stop()
    with pytest.raises(StoreUnavailableError):
        own.run(follower.next())


@pytest.mark.parametrize("kind", ["run", "batch", "tags"])
def test_a_server_that_was_killed_and_restarted_is_waited_for(
    own: Any, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    batch = own.batch([own.new_run(tags=["a"], id=(run := run_id()))])
    group: Any = (
        BatchGroup(own.scope, batch) if kind == "batch" else TagGroup(own.scope, ("a",), DAY)
    )
    follower: Follower = RunFollower(own.scope, run)
    if kind != "run":
        follower = FeedFollower(own.scope, group, own.store.stream_reader())
    seen = shown(own, follower, 1)
    own.server.kill()
    own.server.start()
    live(own, run)
    own.server.kill()
    own.server.start()
    assert statuses([*seen, *shown(own, follower, 4)]) == WHOLE_LIFE
    follower.close()


# A batch


def test_a_batch_shows_its_runs_and_their_changes_and_ends_with_the_last(
    engine: Engine, follow_batch: Callable[..., FeedFollower]
) -> None:
    ids = [run_id() for _ in range(30)]
    follower = follow_batch(engine.batch([engine.new_run(id=id) for id in ids]))
    present = shown(engine, follower, 30)
    assert [run.id for run in present] == ids
    engine.create()
    while grants := engine.take():
        for grant in grants:
            engine.end(grant)
    later = shown(engine, follower)
    assert len(later) == 60
    for id in ids:
        assert statuses([run for run in later if run.id == id]) == ["EXECUTING", "COMPLETED"]


def test_a_batch_that_has_ended_shows_each_run_once(
    engine: Engine, follow_batch: Callable[..., FeedFollower]
) -> None:
    batch = engine.batch([engine.new_run() for _ in range(3)])
    for grant in engine.take():
        engine.end(grant)
    assert statuses(shown(engine, follow_batch(batch))) == ["COMPLETED"] * 3


def test_a_batch_is_not_over_before_it_is_sealed(
    engine: Engine, follow_batch: Callable[..., FeedFollower], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, calls = engine.batch_calls([engine.new_run(), engine.new_run("u")])
    announce, first, second, seal = calls
    engine.store.send(announce, first)
    engine.end(engine.take_one())
    follower = follow_batch(batch)
    assert statuses(shown(engine, follower, 1)) == ["COMPLETED"]
    engine.register("w2", ["u"])
    engine.store.send(second)
    assert statuses(shown(engine, follower, 1)) == ["QUEUED"]
    engine.end(engine.take_one("w2"))
    assert statuses(shown(engine, follower, 2)) == ["EXECUTING", "COMPLETED"]
    read = SCRIPTS.read_batch
    asked = 0

    def seal_after_two(script: Script, *args: Any, **named: Any) -> Any:
        nonlocal asked
        asked += script is read
        if asked == 2 and script is read:
            engine.store.send(seal)
        return make_call(script, *args, **named)

    make_call = Script.__call__
    monkeypatch.setattr(Script, "__call__", seal_after_two)
    assert shown(engine, follower) == []
    assert asked >= 2


def test_a_batch_with_items_that_failed_shows_them(
    engine: Engine, follow_batch: Callable[..., FeedFollower]
) -> None:
    failed = engine.new_run(failed=ERROR)
    error = BatchItemError(0, "t", "too large", "PAYLOAD_TOO_LARGE")
    follower = follow_batch(engine.batch([failed, engine.new_run()], errors=[error]))
    assert statuses(shown(engine, follower, 2)) == ["SYSTEM_FAILURE", "QUEUED"]
    engine.end(engine.take_one())
    assert statuses(shown(engine, follower)) == ["EXECUTING", "COMPLETED"]


def test_a_batch_whose_runs_never_came_ends(
    engine: Engine,
    follow_batch: Callable[..., FeedFollower],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscribing, "LAST_LOOK", 0.1)
    monkeypatch.setattr("trigger_celery.engine.run_groups.LAST_LOOK", 0.1)
    batch, (announce, first, *_) = engine.batch_calls([engine.new_run(), engine.new_run("u")])
    engine.store.send(announce, first)
    follower = follow_batch(batch)
    assert statuses(shown(engine, follower, 1)) == ["QUEUED"]
    engine.clock.advance(HOUR)
    engine.fire()
    assert engine.read_batch(batch).status == "ABORTED"
    assert engine.renew()
    engine.end(engine.take_one())
    assert statuses(shown(engine, follower)) == ["EXECUTING", "COMPLETED"]


def test_a_batch_that_does_not_exist_is_not_found(
    engine: Engine, follow_batch: Callable[..., FeedFollower]
) -> None:
    with pytest.raises(BatchNotFoundError):
        shown(engine, follow_batch(batch_id()))


def test_a_batch_10_000_changes_behind_goes_on_with_the_present(
    engine: Engine, follow_batch: Callable[..., FeedFollower]
) -> None:
    follower = follow_batch(engine.batch([engine.new_run() for _ in range(3)]))
    shown(engine, follower, 3)
    done, under_way = engine.take(want=2)
    engine.end(done)
    fill(engine, 11_000)
    seen = {run.id: run.status.value for run in shown(engine, follower, 2)}
    assert seen == {done.id: "COMPLETED", under_way.id: "EXECUTING"}
    engine.end(under_way)
    engine.end(engine.take_one())
    assert statuses(shown(engine, follower)) == ["COMPLETED", "EXECUTING", "COMPLETED"]


# Tags


def test_runs_with_a_tag_are_shown_and_those_that_come_later(
    engine: Engine, follow_tags: Callable[..., FeedFollower]
) -> None:
    first, second = engine.create(tags=["a"]), engine.create(tags=["a", "b"])
    engine.create(tags=["b"])
    follower = follow_tags("a")
    assert [run.id for run in shown(engine, follower, 2)] == [second, first]
    third = engine.create(tags=["a"])
    engine.create()
    (found,) = shown(engine, follower, 1)
    assert (found.id, found.status) == (third, "QUEUED")
    for grant in engine.take():
        engine.end(grant)
    later = shown(engine, follower, 6)
    for run in (first, second, third):
        assert statuses([one for one in later if one.id == run]) == ["EXECUTING", "COMPLETED"]


def test_of_several_tags_all_must_be_there(
    engine: Engine, follow_tags: Callable[..., FeedFollower]
) -> None:
    engine.create(tags=["a"])
    both = engine.create(tags=["b", "a"])
    follower = follow_tags("a", "b")
    assert [run.id for run in shown(engine, follower, 1)] == [both]
    engine.create(tags=["b", "ab"])
    later = engine.create(tags=["a", "x", "b"])
    assert [run.id for run in shown(engine, follower, 1)] == [later]


def test_runs_older_than_the_window_are_left_out_with_their_changes(
    engine: Engine, follow_tags: Callable[..., FeedFollower]
) -> None:
    engine.create(tags=["a"])
    engine.clock.advance(2 * HOUR)
    assert engine.renew()
    young = engine.create(tags=["a"])
    follower = follow_tags("a", window=HOUR)
    assert [run.id for run in shown(engine, follower, 1)] == [young]
    assert len(engine.take()) == 2
    assert [(run.id, run.status) for run in shown(engine, follower, 1)] == [(young, "EXECUTING")]


def test_more_present_runs_than_a_page(
    engine: Engine, follow_tags: Callable[..., FeedFollower]
) -> None:
    ids = engine.create_many(250, tags=["a"])
    follower = follow_tags("a")
    assert [run.id for run in shown(engine, follower, 250)] == sorted(ids, reverse=True)


def test_a_change_while_the_present_is_being_read_is_shown_once(
    engine: Engine, follow_tags: Callable[..., FeedFollower]
) -> None:
    ids = engine.create_many(45, tags=["a"])
    follower = follow_tags("a")
    seen = shown(engine, follower, 1)
    for grant in engine.take(want=100):
        engine.end(grant)
    last = engine.create(tags=["a"])
    while seen[-1].id != last:
        seen += shown(engine, follower, 1)
    for run in ids:
        found = statuses([one for one in seen if one.id == run])
        assert found in (["COMPLETED"], ["QUEUED", "EXECUTING", "COMPLETED"])


def test_tags_10_000_changes_behind_go_on_with_the_present(
    engine: Engine, follow_tags: Callable[..., FeedFollower]
) -> None:
    follower = follow_tags("a")
    old = [engine.create(tags=["a"]) for _ in range(2)]
    shown(engine, follower, 2)
    engine.end(engine.take_one())
    assert statuses(shown(engine, follower, 2)) == ["EXECUTING", "COMPLETED"]
    new = engine.create(tags=["a"])
    fill(engine, 11_000)
    assert [run.id for run in shown(engine, follower, 1)] == [new]
    engine.take()
    seen = shown(engine, follower, 2)
    assert {run.id for run in seen} == {new, old[1]}
    assert statuses(seen) == ["EXECUTING"] * 2


def test_the_first_runs_of_an_environment_are_shown(
    engine: Engine, follow_tags: Callable[..., FeedFollower]
) -> None:
    engine.client.delete(engine.key("changes"))
    follower = follow_tags("a")
    engine.run(follower._step())
    assert follower._after == "0-0"
    run = engine.create(tags=["a"])
    engine.end(engine.take_one())
    assert statuses(shown(engine, follower, 1)) == ["COMPLETED"]
    second = engine.create(tags=["a"])
    assert [one.id for one in shown(engine, follower, 1)] == [second]
    assert run != second


def test_a_busy_environment_wakes_a_follower_fifty_times_a_second_at_most(
    engine: Engine, follow_tags: Callable[..., FeedFollower], monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = follow_tags("a")
    waits = 0
    wait = StreamReader.wait_sync

    def busy(reader: StreamReader, *args: Any) -> None:
        nonlocal waits
        waits += 1
        engine.create(tags=["a"] if waits == 20 else [])
        wait(reader, *args)

    monkeypatch.setattr(StreamReader, "wait_sync", busy)
    began = time.monotonic()
    shown(engine, follower, 1)
    assert waits >= 20
    assert time.monotonic() - began >= (waits - 1) * 0.02


# The scripts


def test_the_scripts_examine_a_bounded_number_of_entries(engine: Engine) -> None:
    run = engine.create(tags=["a"])
    fill(engine, 50)
    feed = [id for id, _ in engine.client.xrange(engine.key("changes"))]
    wanted: dict[str, Any] = {"batch": "", "tags": "a", "oldest": "0", "most": 20}
    after, word, *found = engine.run(
        ask(SCRIPTS.read_changes(engine.scope, after=feed[0], **wanted))
    )
    assert (after, word, found) == (feed[20], b"more", [])
    after, word, *_ = engine.run(ask(SCRIPTS.read_changes(engine.scope, after=feed[40], **wanted)))
    assert (after, word) == (feed[50], b"end")
    trace = SCRIPTS.trace_run(engine.scope, run_id=run, seen=0, before="", most=20)
    assert engine.run(ask(trace)) == [b"1", feed[31]]
    trace = SCRIPTS.trace_run(engine.scope, run_id=run, seen=0, before=feed[10], most=20)
    assert engine.run(ask(trace)) == [b"1", b"", [feed[0], run.encode(), b"QUEUED", b"1", b""]]
    engine.client.xtrim(engine.key("changes"), maxlen=1)


def test_a_follower_that_is_closed_is_at_its_end(
    engine: Engine, follow_run: Callable[..., RunFollower], follow_tags: Callable[..., FeedFollower]
) -> None:
    run = engine.create(tags=["a"])
    for follower in (follow_run(run), follow_tags("a")):
        shown(engine, follower, 1)
        follower.close()
        assert shown(engine, follower) == []
