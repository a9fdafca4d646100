"""Runs are found by filters, triggered again, and cancelled or replayed many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.driving import RETENTION, Engine
from trigger_celery import (
    BulkActionNotFoundError,
    InvalidOptionError,
    PayloadValidationError,
    PollTimeoutError,
    RunNotFoundError,
    StateError,
    SyncInAsyncError,
    Task,
    TriggerCelery,
    batch,
    runs,
    schema_task,
    task,
    tasks,
)
from trigger_celery.engine.services.bulk_actions import LOOK_EVERY, BulkActions
from trigger_celery.model.ids import batch_id, bulk_id, run_id
from trigger_celery.model.run import RunStatus


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any) -> None:
        """Never called here."""

    return my_task


@pytest.fixture
def worker(trigger: TriggerCelery, engine: Engine, my_task: Task[Any, Any]) -> Iterator[Engine]:
    engine.register("w1", ["t"], {"q": None})
    return engine


def carry_out(trigger: TriggerCelery) -> None:
    """Do what a worker's service does, until nothing is left."""
    service = BulkActions(trigger.scope, RETENTION, lambda name: trigger.placement(None, name))
    while trigger.store.run_sync(service.tick()) != LOOK_EVERY:
        pass


# Listing


def test_every_filter(my_task: Task[Any, Any], worker: Engine) -> None:
    plain = my_task.trigger({}).sync().id
    special = (
        my_task.trigger({}, tags=["a", "b"], queue="q", version="v7", machine="micro", test=True)
        .sync()
        .id
    )

    def found(**filters: Any) -> list[str]:
        return [run.id for run in runs.list(**filters).sync()]

    both = [special, plain] if special > plain else [plain, special]
    assert sorted(found(), reverse=True) == both
    for filters in (
        {"version": "v7"}, {"version": ["v6", "v7"]}, {"machine": "micro"}, {"is_test": True},
        {"queue": "q"}, {"tag": ["a", "x"]}, {"tag": ["a", "b"], "tag_mode": "all"},
    ):  # fmt: skip
        assert found(**filters) == [special], filters
    assert found(tag=["a", "x"], tag_mode="all") == []
    assert found(is_test=False) == [plain]
    assert found(queue="task/t") == [plain]
    assert sorted(found(task=my_task), reverse=True) == both
    assert found(version="v6") == found(machine="large-1x") == []
    several = my_task.batch_trigger([{"payload": n} for n in range(3)]).sync()
    assert sorted(found(batch=several)) == sorted(handle.id for handle in several.runs)
    assert found(batch=batch.retrieve(several.id).sync(), is_test=True) == []


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"tags": "x"}, "no filter 'tags'. Did you mean 'tag'"),
        ({"page": "x"}, "Pages: after, before, cursor, limit"),
        ({"cursor": "a", "after": "b"}, "pass one of them"),
        ({"tag": "x", "tag_mode": "each"}, "neither 'any'"),
        ({"is_test": "yes"}, "neither True nor False"),
        ({"machine": "huge"}, "no preset"),
        ({"version": "a b"}, "not a version"),
        ({"batch": "run_1"}, "not the id of a batch"),
        ({"parent": "run_x"}, "not the id of a run"),
        ({"root": 7}, "not the id of a run"),
        ({"bulk_action": "x"}, "not the id of a bulk action"),
        ({"tag": [str(n) for n in range(51)]}, "at most 50"),
        ({"after": "x", "before": "x"}, "not both"),
        ({"created_to": "now"}, "is no moment"),
    ],
)
def test_filters_that_mean_nothing(
    trigger: TriggerCelery, filters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        runs.list(**filters).sync()


def test_a_loop_goes_through_all_pages(trigger: TriggerCelery, my_task: Task[Any, Any]) -> None:
    handles = my_task.batch_trigger([{"payload": n} for n in range(45)]).sync().runs
    wanted = sorted((handle.id for handle in handles), reverse=True)
    assert [run.id for run in runs.list(limit=10)] == wanted
    page = runs.list(limit=10).sync()
    assert [run.id for run in runs.list(limit=20, after=page.next_cursor)] == wanted[10:]
    assert [run.id for run in runs.list(limit=20, cursor=page.next_cursor)] == wanted[10:]

    async def collect() -> list[str]:
        found = [run.id async for run in runs.list(task="t", limit=10)]
        await trigger.store.aclose()
        return found

    assert asyncio.run(collect()) == wanted


def test_a_sync_loop_does_not_block_an_event_loop(my_task: Task[Any, Any]) -> None:
    async def wrong() -> None:
        listed = runs.list()
        with pytest.raises(SyncInAsyncError, match="async for"):
            for _ in listed:
                pass
        listed.close()

    asyncio.run(wrong())


def test_pages_in_both_directions(my_task: Task[Any, Any]) -> None:
    my_task.batch_trigger([{"payload": n} for n in range(7)]).sync()
    first = runs.list(limit=3).sync()
    assert first.previous_cursor is None
    second = runs.list(limit=3, after=first.next_cursor).sync()
    back = runs.list(limit=3, before=second.previous_cursor).sync()
    assert back.runs == first.runs
    assert runs.list(limit=3, after=back.next_cursor).sync().runs == second.runs


# Retrieving


def test_a_run_is_retrieved_with_those_around_it(my_task: Task[Any, Any], worker: Engine) -> None:
    root = worker.begin("t")
    child = worker.child(root, worker.new_run("t"))
    alone = runs.retrieve(root.id).sync()
    assert alone.related_runs is not None
    assert (alone.related_runs.root, alone.related_runs.parent) == (None, None)
    assert [run.id for run in alone.related_runs.children] == [child]
    assert alone.related_runs.child_count == 1
    below = runs.retrieve(child).sync().related_runs
    assert below is not None
    assert below.root is not None
    assert below.root.id == root.id
    assert below.parent is not None
    assert below.parent.id == root.id
    assert (below.children, below.child_count) == ((), 0)
    shown = alone.to_dict()["related_runs"]
    assert shown["children"][0]["id"] == child
    assert [run.id for run in runs.list(parent=root.id)] == [child]
    assert [run.id for run in runs.list(root=alone)] == [child]


# Replaying


def test_replay_a_run_in_any_status(my_task: Task[Any, Any], worker: Engine) -> None:
    queued = my_task.trigger({"n": 1}, tags="x", metadata={"m": 1}, priority=3, ttl="1h").sync()
    ended = worker.take_one()
    worker.fail(ended)
    for _ in range(2):
        copy = runs.retrieve(runs.replay(queued).sync()).sync()
        assert (copy.payload, copy.tags, copy.metadata) == ({"n": 1}, ("x",), {"m": 1})
        assert (copy.is_replay, copy.replayed_from, copy.is_queued) == (True, queued.id, True)
        assert (copy.priority, copy.ttl) == (0, None)
    assert not runs.retrieve(queued).sync().is_replay
    second = runs.replay(copy).sync()
    assert runs.retrieve(second).sync().replayed_from == copy.id
    assert second.task_identifier == "t"


def test_replay_with_the_exact_payload(my_task: Task[Any, Any]) -> None:
    for payload in ("text", "", None, {"at": datetime(2026, 1, 2, tzinfo=UTC)}, "x" * 5000):
        handle = runs.replay(my_task.trigger(payload).sync()).sync()
        assert runs.retrieve(handle).sync().payload == payload


def test_replay_starts_with_the_metadata_of_the_trigger(
    my_task: Task[Any, Any], worker: Engine
) -> None:
    handle = my_task.trigger({}, metadata={"seed": 1}).sync()
    runs.update_metadata(handle, {"changed": 2}).sync()
    copy = runs.replay(handle).sync()
    assert runs.retrieve(copy).sync().metadata == {"seed": 1}


def test_replay_with_another_payload_and_options(my_task: Task[Any, Any], worker: Engine) -> None:
    handle = my_task.trigger({"n": 1}, tags="x", queue="q", concurrency_key="k").sync()
    copy = runs.retrieve(runs.replay(handle, payload={"n": 2}).sync()).sync()
    assert (copy.payload, copy.tags, copy.queue) == ({"n": 2}, ("x",), "q")
    assert (copy.concurrency_key, copy.replayed_from) == ("k", handle.id)
    other = runs.replay(handle, tags=["y"], delay="1h", machine="micro", test=True).sync()
    copy = runs.retrieve(other).sync()
    assert (copy.payload, copy.tags, copy.status) == ({"n": 1}, ("y",), RunStatus.DELAYED)
    assert (copy.machine, copy.is_test, copy.concurrency_key) == ("micro", True, "k")
    with pytest.raises(TypeError, match="no option 'tag'"):
        runs.replay(handle, tag="y")


def test_another_payload_is_validated(trigger: TriggerCelery) -> None:
    def positive(payload: Any) -> Any:
        if payload["n"] < 1:
            raise ValueError("n is not positive")
        return payload

    @schema_task(id="checked", schema=positive)
    def checked(payload: Any) -> None:
        """Never called here."""

    handle = checked.trigger({"n": 1}).sync()
    with pytest.raises(PayloadValidationError):
        runs.replay(handle, payload={"n": 0}).sync()
    stored = tasks.trigger("checked", {"n": 0}).sync()  # by id nothing is validated
    assert runs.retrieve(runs.replay(stored).sync()).sync().payload == {"n": 0}


def test_what_cannot_be_replayed(my_task: Task[Any, Any], worker: Engine) -> None:
    with pytest.raises(RunNotFoundError):
        runs.replay(run_id()).sync()
    failed = worker.new_run("t", failed='{"type": "STRING_ERROR", "message": "full"}')
    worker.batch([failed])
    with pytest.raises(StateError, match="kept without its payload"):
        runs.replay(failed.id).sync()


# Many at once


def test_cancel_and_replay_by_filter(
    trigger: TriggerCelery, my_task: Task[Any, Any], worker: Engine
) -> None:
    handles = my_task.batch_trigger(
        [{"payload": n, "options": {"tags": ["x"] if n else []}} for n in range(5)]
    ).sync().runs  # fmt: skip
    action = runs.bulk.cancel(filter={"tag": "x"}, name="too many", reason="by accident").sync()
    assert (action.type, action.status, action.name) == ("CANCEL", "pending", "too many")
    assert runs.bulk.retrieve(action).sync().done_count == 0
    carry_out(trigger)
    done = runs.bulk.poll(action, timeout=5).sync()
    assert (done.status, done.total, done.success_count) == ("COMPLETED", 4, 4)
    ended = list(runs.list(status="CANCELED"))
    assert {run.id for run in ended} == {handle.id for handle in handles[1:]}
    assert {run.id for run in runs.list(bulk_action=action.id)} == {run.id for run in ended}
    error = runs.retrieve(ended[0].id).sync().error
    assert error is not None
    assert error.message == "by accident"

    again = runs.bulk.replay(filter={"status": "CANCELED"}).sync()
    carry_out(trigger)
    assert runs.bulk.poll(again.id).sync().success_count == 4
    copies = list(runs.list(bulk_action=again.id))
    assert {copy.replayed_from for copy in copies} == {run.id for run in ended}
    assert [item.id for item in runs.bulk.list().sync()] == [again.id, action.id]
    assert again.to_dict()["type"] == "REPLAY"


def test_a_filter_looks_back_seven_days_unless_it_says_otherwise(
    trigger: TriggerCelery, my_task: Task[Any, Any], worker: Engine
) -> None:
    worker.clock.advance(-8 * 86_400_000)
    old = my_task.trigger({}).sync()
    worker.clock.advance(8 * 86_400_000)
    runs.bulk.cancel(filter={}).sync()
    carry_out(trigger)
    assert runs.retrieve(old).sync().is_queued
    since = datetime.now(UTC) - timedelta(days=30)
    runs.bulk.cancel(filter={"created_from": since}).sync()
    carry_out(trigger)
    assert runs.retrieve(old).sync().is_cancelled


def test_abort(trigger: TriggerCelery, my_task: Task[Any, Any]) -> None:
    handle = my_task.trigger({}).sync()
    action = runs.bulk.cancel(run_ids=[handle, handle.id]).sync()
    assert action.total == 1
    with pytest.raises(PollTimeoutError, match="are there workers"):
        runs.bulk.poll(action, timeout=0.01).sync()
    assert runs.bulk.abort(action).sync().status == "ABORTED"
    carry_out(trigger)
    assert not runs.retrieve(handle).sync().is_cancelled
    assert runs.bulk.poll(action).sync().success_count == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of them"),
        ({"filter": {}, "run_ids": []}, "exactly one of them"),
        ({"filter": "FAILED"}, "not a dict of filters"),
        ({"filter": {"stats": "x"}}, "no filter 'stats'. Did you mean 'status'"),
        ({"run_ids": []}, "name 1 to 500"),
        ({"run_ids": [run_id() for _ in range(501)]}, "name 1 to 500"),
        ({"run_ids": "run_1"}, "pass a list"),
        ({"filter": {}, "name": ""}, "not text of 1 to 255"),
        ({"filter": {}, "name": "x" * 256}, "not text of 1 to 255"),
    ],
)
def test_bulk_actions_that_mean_nothing(
    trigger: TriggerCelery, options: dict[str, Any], message: str
) -> None:
    for act in (runs.bulk.cancel, runs.bulk.replay):
        with pytest.raises(InvalidOptionError, match=message):
            act(**options)


@pytest.mark.parametrize(
    "action", ["x", "run_1", bulk_id(), batch_id()], ids=["text", "run", "bulk", "batch"]
)
def test_unknown_actions(trigger: TriggerCelery, action: str) -> None:
    for look in (runs.bulk.retrieve, runs.bulk.abort, runs.bulk.poll):
        with pytest.raises(BulkActionNotFoundError):
            look(action).sync()
