"""Many runs are cancelled or replayed by an action that workers carry out, each run once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.driving import RETENTION, Engine
from trigger_celery.engine import bulk, listing, replaying
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.bulk import LEASE_MS, NewBulk
from trigger_celery.engine.listing import RunFilter
from trigger_celery.engine.services.bulk_actions import LOOK_EVERY, BulkActions
from trigger_celery.engine.triggering import Placement
from trigger_celery.errors import BulkActionNotFoundError, StateError
from trigger_celery.model.bulk import BulkAction, BulkStatus, BulkType
from trigger_celery.model.ids import bulk_id, run_id, token
from trigger_celery.model.run import RunStatus
from trigger_celery.store.op import Flow

CANCEL, REPLAY = BulkType.CANCEL, BulkType.REPLAY


def place_of(task: str) -> Placement:
    return Placement(task, False, "celery", "")


def service(engine: Engine) -> BulkActions:
    return BulkActions(engine.scope, RETENTION, place_of)


def announce(engine: Engine, type: BulkType, **options: Any) -> str:
    new = NewBulk(bulk_id(), type, **options)
    engine.run(bulk.create_bulk(engine.scope, new))
    return new.id


def read(engine: Engine, action: str) -> BulkAction:
    return engine.run(bulk.read_bulk(engine.scope, action))


def counts(engine: Engine, action: str) -> tuple[str, int | None, int, int]:
    found = read(engine, action)
    return found.status.value, found.total, found.success_count, found.failure_count


def carry_out(engine: Engine, *services: BulkActions) -> int:
    """Let services tick in turn until there is nothing to do; return the ticks."""
    workers = services or (service(engine),)
    ticks = 0
    while {engine.run(worker.tick()) for worker in workers} != {LOOK_EVERY}:
        ticks += 1
        assert ticks < 1000
    return ticks


def listed(engine: Engine, **filters: Any) -> list[str]:
    page, found = None, []
    while page is None or page.next_cursor:
        after = page.next_cursor if page else None
        page = engine.run(listing.list_runs(engine.scope, RunFilter(**filters), 100, after))
        found += [run.id for run in page]
    return found


def test_10_000_runs_are_cancelled_and_replayed_with_exact_counts(engine: Engine) -> None:
    engine.register(tasks=["t", "u"])
    engine.create_many(9_000, "t", tags=("x",))
    engine.create_many(1_000, "u", tags=("x",))
    kept = engine.create_many(50, "t")
    cancelled = announce(
        engine, CANCEL, filter=RunFilter(statuses=(RunStatus.QUEUED,), tags=("x",))
    )
    ticks = carry_out(engine)
    assert counts(engine, cancelled) == ("COMPLETED", 10_000, 10_000, 0)
    assert 100 <= ticks <= 110
    assert engine.client.zcard(engine.key("index_status", "CANCELED")) == 10_000
    assert set(engine.members("index_status", "QUEUED")) == set(kept)

    replayed = announce(engine, REPLAY, filter=RunFilter(bulk_action=cancelled))
    carry_out(engine)
    assert counts(engine, replayed) == ("COMPLETED", 10_000, 10_000, 0)
    assert engine.client.zcard(engine.key("index_status", "QUEUED")) == 10_050
    assert engine.client.zcard(engine.key("index_label", replayed)) == 10_000
    engine.client.flushall()  # the police would read every one


def test_the_runs_of_an_action_are_listed_by_it(engine: Engine) -> None:
    engine.register()
    runs = engine.create_many(3)
    cancelled = announce(engine, CANCEL, run_ids=tuple(runs[:2]))
    carry_out(engine)
    assert set(listed(engine, bulk_action=cancelled)) == set(runs[:2])
    replayed = announce(engine, REPLAY, run_ids=tuple(runs))
    carry_out(engine)
    copies = [engine.read(run) for run in listed(engine, bulk_action=replayed)]
    assert {copy.replayed_from for copy in copies} == set(runs)
    assert all(copy.is_replay and copy.is_queued for copy in copies)


def test_what_had_ended_or_is_gone_counts_as_failure(engine: Engine) -> None:
    engine.register()
    done = engine.begin()
    engine.end(done)
    waiting = engine.create()
    action = announce(engine, CANCEL, run_ids=(done.id, waiting, run_id()))
    carry_out(engine)
    assert counts(engine, action) == ("COMPLETED", 3, 1, 2)
    assert engine.read(done.id).is_success
    again = announce(engine, REPLAY, run_ids=(done.id, run_id()))
    carry_out(engine)
    assert counts(engine, again) == ("COMPLETED", 2, 1, 1)


def test_a_replay_takes_over_how_its_original_was_triggered(engine: Engine) -> None:
    engine.register(queues={"q": 5})
    extras = Extras(ttl_ms=60_000, machine="large-1x", version="7", test=True)
    first = engine.create(
        queue="q", key="k", tags=("a", "b"), metadata='{"n":1}', payload='{"x":1}', delay=9000,
        priority=5000, max_attempts=9, extras=extras,
    )  # fmt: skip
    action = announce(engine, REPLAY, run_ids=(first,))
    carry_out(engine)
    (copy,) = map(engine.read, listed(engine, bulk_action=action))
    assert copy.payload == {"x": 1}
    assert (copy.queue, copy.concurrency_key, copy.tags) == ("q", "k", ("a", "b"))
    assert (copy.metadata, copy.is_test, copy.machine) == ({"n": 1}, True, "large-1x")
    assert (copy.status, copy.priority, copy.ttl, copy.version) == ("QUEUED", 0, None, None)
    assert (copy.max_attempts, copy.parent_id, copy.replayed_from) == (3, None, first)


def test_a_replay_goes_to_the_queue_of_its_task_when_its_own_is_gone(engine: Engine) -> None:
    engine.register()
    first = engine.create(queue="gone")
    engine.cancel(first)
    record = engine.key("queue", token("gone"))  # after a deployment without it
    engine.client.hdel(record, "declared")
    engine.client.pexpire(record, RETENTION)
    action = announce(engine, REPLAY, run_ids=(first,))
    carry_out(engine)
    (copy,) = map(engine.read, listed(engine, bulk_action=action))
    assert (copy.queue, copy.status) == ("task/t", "QUEUED")


def test_runs_made_after_the_action_are_not_meant(engine: Engine) -> None:
    engine.register()
    engine.create_many(150)
    action = announce(engine, REPLAY, filter=RunFilter(tasks=("t",)))
    worker = service(engine)
    for _ in range(2):
        engine.run(worker.tick())
    engine.clock.advance(1)
    engine.create_many(5)
    carry_out(engine, worker)
    assert counts(engine, action) == ("COMPLETED", 150, 150, 0)


def test_an_action_that_finds_nothing_completes(engine: Engine) -> None:
    action = announce(engine, CANCEL, filter=RunFilter(tags=("nobody",)), name="nothing")
    carry_out(engine)
    assert counts(engine, action) == ("COMPLETED", 0, 0, 0)
    assert read(engine, action).name == "nothing"


def test_two_workers_share_the_actions_and_do_each_run_once(engine: Engine) -> None:
    engine.register()
    engine.create_many(250, tags=("a",))
    engine.create_many(250, tags=("b",))
    one = announce(engine, REPLAY, filter=RunFilter(tags=("a",)))
    two = announce(engine, REPLAY, filter=RunFilter(tags=("b",)))
    carry_out(engine, service(engine), service(engine))
    assert counts(engine, one) == counts(engine, two) == ("COMPLETED", 250, 250, 0)
    assert engine.client.zcard(engine.key("index_status", "QUEUED")) == 1000


class Died(Exception):
    """A worker was killed in the middle of a flow."""


def dying(flow: Flow[Any], after: int) -> Flow[Any]:
    """Break the flow off before its call number *after*."""
    reply = None
    for _ in range(after):
        try:
            step = flow.send(reply)
        except StopIteration as stop:
            return stop.value
        reply = yield step
    raise Died


@pytest.mark.parametrize("type", [CANCEL, REPLAY])
def test_a_worker_that_dies_anywhere_changes_no_count(engine: Engine, type: BulkType) -> None:
    """The next worker does the piece again, which changes nothing, and counts it once."""
    engine.register()
    runs = engine.create_many(120)
    action = announce(engine, type, filter=RunFilter(statuses=(RunStatus.QUEUED,)))
    deaths = 0
    for after in range(1, 5):
        victim = service(engine)
        for _ in range(2):
            try:
                engine.run(dying(victim.tick(), after))
            except Died:
                deaths += 1
        engine.clock.advance(LEASE_MS + 1)
    assert deaths > 3
    carry_out(engine)
    assert counts(engine, action) == ("COMPLETED", 120, 120, 0)
    if type == CANCEL:
        assert set(engine.statuses(runs)) == {"CANCELED"}
    else:
        assert len(listed(engine, bulk_action=action)) == 120


def test_a_worker_that_lost_its_claim_is_refused(engine: Engine) -> None:
    engine.register()
    engine.create_many(300)
    action = announce(engine, CANCEL, filter=RunFilter())
    slow, quick = service(engine), service(engine)
    engine.run(slow.tick())
    engine.clock.advance(LEASE_MS + 1)
    engine.run(quick.tick())
    assert engine.run(slow.tick()) == 0.0
    assert engine.run(slow.tick()) == LOOK_EVERY
    carry_out(engine, quick)
    assert counts(engine, action) == ("COMPLETED", 300, 300, 0)


def test_an_action_is_aborted_between_two_pieces(engine: Engine) -> None:
    engine.register()
    engine.create_many(350)
    action = announce(engine, CANCEL, filter=RunFilter())
    worker = service(engine)
    for _ in range(3):
        engine.run(worker.tick())
    for _ in range(2):
        found = engine.run(bulk.abort_bulk(engine.scope, action, RETENTION))
        assert (found.status, found.success_count) == (BulkStatus.ABORTED, 200)
        assert found.completed_at is not None
    # The worker was in the middle of a piece; what it has done counts.
    carry_out(engine, worker)
    assert counts(engine, action) == ("ABORTED", None, 300, 0)
    assert engine.client.zcard(engine.key("index_status", "QUEUED")) == 50


def test_announcing_again_is_no_second_action(engine: Engine) -> None:
    engine.register()
    new = NewBulk(bulk_id(), REPLAY, run_ids=tuple(engine.create_many(3)))
    for _ in range(2):
        engine.run(bulk.create_bulk(engine.scope, new))
    carry_out(engine)
    engine.run(bulk.create_bulk(engine.scope, new))
    carry_out(engine)
    assert counts(engine, new.id) == ("COMPLETED", 3, 3, 0)


def test_three_replays_at_once(engine: Engine) -> None:
    for _ in range(3):
        announce(engine, REPLAY, filter=RunFilter())
    announce(engine, CANCEL, filter=RunFilter())
    with pytest.raises(StateError, match="3 bulk actions of the type REPLAY are under way"):
        announce(engine, REPLAY, filter=RunFilter())
    carry_out(engine)
    announce(engine, REPLAY, filter=RunFilter())


def test_actions_are_listed_newest_first_and_pruned(engine: Engine) -> None:
    def known() -> Iterator[str]:
        return (action.id for action in engine.run(bulk.list_bulks(engine.scope, 10)))

    made = []
    for _ in range(3):
        made.append(announce(engine, CANCEL, filter=RunFilter()))
        engine.clock.advance(1)
    assert list(known()) == made[::-1]
    carry_out(engine)
    engine.clock.advance(RETENTION + 1)
    engine.prune()
    assert list(known()) == []
    with pytest.raises(BulkActionNotFoundError, match="never made in this environment"):
        read(engine, made[0])


def test_a_full_queue_fails_the_replays_that_do_not_fit(engine: Engine) -> None:
    engine.register()
    runs = engine.create_many(5)
    action = announce(engine, REPLAY, run_ids=tuple(runs))
    small = BulkActions(
        engine.scope,
        RETENTION,
        lambda task: Placement(task, False, "celery", "", size_limit=7),
    )
    carry_out(engine, small)
    assert counts(engine, action) == ("COMPLETED", 5, 2, 3)


def test_large_payloads_are_replayed_a_few_at_a_time(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "MAX_BYTES", 2500)
    engine.register()
    for n in range(7):
        engine.create(payload=f'"{str(n) * (4000 if n == 3 else 1000)}"')
    action = announce(engine, REPLAY, filter=RunFilter())
    assert carry_out(engine) > 4
    assert counts(engine, action) == ("COMPLETED", 7, 7, 0)
    payloads = [engine.read(run).payload for run in listed(engine, bulk_action=action)]
    assert sorted(text[0] for text in payloads) == list("0123456")
