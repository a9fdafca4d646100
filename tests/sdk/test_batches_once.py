"""A batch with an idempotency key is made once, whoever asks again and whoever broke off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.driving import Engine
from trigger_celery import (
    BatchItem,
    InvalidOptionError,
    RunStatus,
    Task,
    TriggerCelery,
    batch,
    idempotency_keys,
    runs,
    task,
    tasks,
    wait,
)
from trigger_celery.bridge.durable import Durable, current_scope
from trigger_celery.engine import waiting
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.codec import dump_links
from trigger_celery.errors import StoreUnavailableError
from trigger_celery.sdk.handle import BatchHandle

ITEMS = [{"payload": number} for number in range(3)]
ANY = [{"id": "t", "payload": 1}, {"id": "u", "payload": 2}]


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register("w1", ["t", "u"])


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any = None) -> None:
        """Do nothing."""

    return my_task


def ids(handle: BatchHandle) -> list[str]:
    return [run.id for run in handle.runs]


def test_a_repeat_returns_the_same_batch(my_task: Task[Any, Any]) -> None:
    first = my_task.batch_trigger(ITEMS, idempotency_key="import-7").sync()
    again = my_task.batch_trigger([{"payload": "other"}], idempotency_key="import-7").sync()
    assert (first.is_cached, again.is_cached) == (False, True)
    assert (again.id, ids(again)) == (first.id, ids(first))
    assert [run.is_cached for run in again.runs] == [True] * 3
    assert [run.is_cached for run in first.runs] == [False] * 3
    assert batch.retrieve(first).sync().idempotency_key == "import-7"
    assert [runs.retrieve(run).sync().payload for run in ids(first)] == [0, 1, 2]
    assert len(list(runs.list().sync())) == 3


def test_items_have_the_key_of_the_batch_and_their_place(my_task: Task[Any, Any]) -> None:
    own = {"payload": 1, "options": {"idempotency_key": "own"}}
    made = my_task.batch_trigger([{"payload": 0}, own], idempotency_key="k").sync()
    keys = [runs.retrieve(run).sync().idempotency_key for run in ids(made)]
    assert keys == ["k-0", "own"]


def test_the_tasks_of_a_batch_belong_to_its_key(my_task: Task[Any, Any]) -> None:
    one = batch.trigger(ANY, idempotency_key="k").sync()
    assert batch.trigger(ANY[::-1], idempotency_key="k").sync().id == one.id
    assert batch.trigger(ANY[:1], idempotency_key="k").sync().id != one.id
    by_id = tasks.batch_trigger("t", ITEMS, idempotency_key="k").sync()
    assert by_id.is_cached  # one of t alone
    by_task = [{"task": my_task, "payload": 1}]
    assert batch.trigger_by_task(by_task, idempotency_key="k").sync().id == by_id.id


def test_a_key_counts_for_its_time(my_task: Task[Any, Any], engine: Engine) -> None:
    first = my_task.batch_trigger(ITEMS, idempotency_key="k", idempotency_key_ttl="1h").sync()
    engine.clock.advance(3_599_000)
    assert my_task.batch_trigger(ITEMS, idempotency_key="k").sync().id == first.id
    engine.clock.advance(1_000)
    later = my_task.batch_trigger(ITEMS, idempotency_key="k", idempotency_key_ttl="1h").sync()
    assert later.id != first.id
    assert not later.is_cached
    assert not {run.id for run in later.runs} & set(ids(first))


@pytest.mark.parametrize("wrong", ["1 fortnight", 0])
def test_a_time_that_is_none(my_task: Task[Any, Any], wrong: Any) -> None:
    with pytest.raises(ValueError, match="idempotency_key_ttl"):
        my_task.batch_trigger(ITEMS, idempotency_key="k", idempotency_key_ttl=wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: tasks.batch_trigger("t", ITEMS, idempotency_key_ttl="1h"),
        lambda: tasks.trigger("t", idempotency_key_ttl="1h"),
        lambda: tasks.batch_trigger("t", [BatchItem(1, {"idempotency_key_ttl": "1h"})]),
        lambda: wait.create_token(idempotency_key_ttl="1h"),
    ],
)
def test_a_time_without_a_key_is_refused(my_task: Task[Any, Any], call: Callable[[], Any]) -> None:
    with pytest.raises(InvalidOptionError, match="there is none: pass idempotency_key"):
        call()


def test_a_maker_that_broke_off_is_helped(
    my_task: Task[Any, Any], monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    """Whoever asks again makes the runs of the batch that was announced."""

    def breaks(*_: object) -> None:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr("trigger_celery.sdk.batching.fill_calls", breaks)
    with pytest.raises(Exception, match="could not be triggered"):
        my_task.batch_trigger(ITEMS, idempotency_key="k").sync()
    monkeypatch.undo()
    helped = my_task.batch_trigger(ITEMS, idempotency_key="k").sync()
    assert helped.is_cached
    assert [runs.retrieve(run).sync().status for run in ids(helped)] == [RunStatus.QUEUED] * 3
    assert batch.retrieve(helped).sync().is_sealed


def test_the_key_of_a_batch_that_was_never_made_is_free_again(
    my_task: Task[Any, Any], monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    monkeypatch.setattr("trigger_celery.sdk.batching.fill_calls", lambda *_: [])
    lost = my_task.batch_trigger([], idempotency_key="k").sync()
    monkeypatch.undo()
    engine.clock.advance(31 * 60_000)
    engine.fire()
    assert batch.retrieve(lost).sync().status == "ABORTED"
    assert my_task.batch_trigger([], idempotency_key="k").sync().id != lost.id


@contextmanager
def in_run(engine: Engine, grant: Grant, *, replay: bool = False) -> Iterator[Durable]:
    """Execute code of a run from its begin."""
    durable = Durable(grant.id, grant.epoch, 1, dump_links(grant.id, grant.id, 1))
    if replay:
        durable.record = engine.run(waiting.read_record(engine.store.scope, grant.id))
    before = current_scope.set(durable.root)
    yield durable
    current_scope.reset(before)


def test_a_run_that_found_a_batch_finds_it_again(my_task: Task[Any, Any], engine: Engine) -> None:
    """Also when the key has another batch by then."""
    everywhere = idempotency_keys.create("k", scope="global").sync()
    ttl = {"idempotency_key": everywhere, "idempotency_key_ttl": "1h"}
    outside = my_task.batch_trigger(ITEMS, **ttl).sync()
    grant = engine.take()[0]
    engine.start(grant)
    with in_run(engine, grant):
        found = my_task.batch_trigger(ITEMS, **ttl).sync()
        own = my_task.batch_trigger(ITEMS, idempotency_key="k").sync()
    assert (found.id, found.is_cached) == (outside.id, True)
    assert own.id != outside.id
    engine.clock.advance(3_600_000)
    other = my_task.batch_trigger(ITEMS, **ttl).sync()
    with in_run(engine, grant, replay=True) as durable:
        assert durable.replaying
        again = my_task.batch_trigger(ITEMS, **ttl).sync()
        assert durable.replaying
        own_again = my_task.batch_trigger(ITEMS, idempotency_key="k").sync()
        assert not durable.replaying
    assert (again, own_again.id, own_again.is_cached) == (found, own.id, False)
    assert other.id != outside.id
    parents = [runs.retrieve(run).sync().parent_id for run in (*ids(found), *ids(own))]
    assert parents == [None] * 3 + [grant.id] * 3
