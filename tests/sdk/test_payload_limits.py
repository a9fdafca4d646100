"""How large payloads may be, alone and in batches: just inside, and just outside."""

from __future__ import annotations

import pytest

from trigger_celery import (
    PayloadTooLargeError,
    RunStatus,
    Task,
    TriggerCelery,
    batch,
    runs,
    task,
)
from trigger_celery.model.packet import MAX_BYTES, MAX_ITEM_BYTES


@pytest.fixture
def store(trigger: TriggerCelery) -> Task[str, None]:
    @task(id="store")
    async def store(payload: str) -> None: ...

    return store


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_payload_may_have_10_mb(store: Task[str, None], letter: str) -> None:
    size = len(letter.encode())
    run = store.trigger(letter * (MAX_BYTES // size)).sync()
    assert runs.retrieve(run).sync().payload == letter * (MAX_BYTES // size)
    with pytest.raises(PayloadTooLargeError, match="limit of 10,485,760"):
        store.trigger(letter * (MAX_BYTES // size) + "x")


@pytest.mark.parametrize("letter", ["x", "é"])
def test_an_item_of_a_batch_may_have_3_mb(store: Task[str, None], letter: str) -> None:
    inside = letter * (MAX_ITEM_BYTES // len(letter.encode()))
    payloads = [inside, inside + "x", "small"]
    items = [{"id": "store", "payload": payload} for payload in payloads]
    with pytest.raises(PayloadTooLargeError, match="batch item 1: "):
        store.batch_trigger([{"payload": payload} for payload in payloads])
    made = batch.trigger(items).sync()
    first, second, third = (runs.retrieve(run).sync() for run in made.runs)
    assert {first.is_completed, third.is_completed} == {False}
    assert first.payload == inside
    assert second.status == RunStatus.SYSTEM_FAILURE
    assert second.error is not None
    assert (second.error.code, "limit of 3,145,728" in second.error.message) == (
        "PAYLOAD_TOO_LARGE",
        True,
    )
    assert [error.index for error in batch.retrieve(made.batch_id).sync().errors] == [1]
