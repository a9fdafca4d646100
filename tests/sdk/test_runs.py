"""Runs are read, listed, waited for and cancelled by anybody who has their id."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.deploying import deploy
from tests.driving import Engine
from trigger_celery import (
    InvalidOptionError,
    PollTimeoutError,
    RunStatus,
    Task,
    TriggerCelery,
    queues,
    runs,
    task,
    tasks,
)


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any) -> None:
        """Do nothing."""

    deploy(trigger, "q")
    return my_task


@pytest.fixture
def worker(engine: Engine) -> Engine:
    """A worker that does what the test says."""
    engine.register()
    return engine


def later(call: Any) -> threading.Timer:
    timer = threading.Timer(0.1, call)
    timer.start()
    return timer


def test_the_life_of_a_run(my_task: Task[Any, Any], worker: Engine) -> None:
    handle = my_task.trigger({}).sync()
    queued = runs.retrieve(handle).sync()
    assert (queued.status, queued.is_queued, queued.is_completed) == ("queued", True, False)
    grant = worker.take_one()
    executing = runs.retrieve(handle.id).sync()
    assert (executing.status, executing.is_executing) == ("executing", True)
    assert (executing.attempt_count, executing.duration_ms) == (1, 0)
    worker.clock.advance(1500)
    worker.end(grant, data='{"ok":true}')
    done = runs.retrieve(handle.id).sync()
    assert (done.status, done.output, done.is_success) == ("completed", {"ok": True}, True)
    assert done.is_completed
    assert 1500 <= done.duration_ms < 3000
    assert done.queue_wait is not None
    assert done.queue_wait >= timedelta()


def test_a_run_as_a_dict_is_json_ready(my_task: Task[Any, Any]) -> None:
    shown = runs.retrieve(my_task.trigger({"at": datetime(2024, 1, 1, tzinfo=UTC)}).sync()).sync()
    assert shown.to_dict()["status"] == "QUEUED"
    assert shown.to_dict()["payload"] == {"at": "2024-01-01T00:00:00Z"}


def test_poll_returns_when_the_run_has_ended(my_task: Task[Any, Any], worker: Engine) -> None:
    handle = my_task.trigger({}).sync()
    grant = worker.take_one()
    ending = later(lambda: worker.end(grant, data="7"))
    assert runs.poll(handle, timeout=20).sync().output == 7
    ending.join()


async def test_poll_in_async_code(
    my_task: Task[Any, Any], worker: Engine, trigger: TriggerCelery
) -> None:
    handle = await my_task.trigger({})
    poll = asyncio.ensure_future(_poll(handle.id))
    grant = await asyncio.to_thread(worker.take_one)
    await asyncio.to_thread(worker.end, grant, data="7")
    assert (await poll).output == 7
    await trigger.store.aclose()


async def _poll(run_id: str) -> Any:
    return await runs.poll(run_id, timeout=20)


def test_poll_of_a_final_run_returns_at_once(my_task: Task[Any, Any], worker: Engine) -> None:
    handle = my_task.trigger({}).sync()
    worker.fail(worker.take_one())
    failed = runs.poll(handle).sync()
    assert failed.is_failed
    assert failed.error is not None
    assert (failed.error.name, failed.error.message) == ("ValueError", "no")


def test_poll_gives_up_after_its_timeout(my_task: Task[Any, Any]) -> None:
    handle = my_task.trigger({}).sync()
    with pytest.raises(PollTimeoutError, match=r"still QUEUED after 0\.05 s. It goes on"):
        runs.poll(handle, timeout=0.05).sync()
    with pytest.raises(TimeoutError):
        runs.poll(handle, timeout=0).sync()


def test_trigger_and_poll(my_task: Task[Any, Any], worker: Engine) -> None:
    ending = later(lambda: worker.end(worker.take_one(), data='"done"'))
    with pytest.warns(DeprecationWarning, match="runs.poll"):
        polling = tasks.trigger_and_poll("t", {}, timeout=20, tags=["x"])
    run = polling.sync()
    ending.join()
    assert (run.output, run.tags) == ("done", ("x",))


def test_cancel_returns_the_cancelled_run(my_task: Task[Any, Any]) -> None:
    handle = my_task.trigger({}).sync()
    run = runs.cancel(handle, reason="ordered twice").sync()
    assert run.is_cancelled
    assert run.error is not None
    assert run.error.message == "ordered twice"
    assert runs.cancel(handle.id).sync().error == run.error


def test_an_executing_run_is_cancelled_at_once(my_task: Task[Any, Any], worker: Engine) -> None:
    handle = my_task.trigger({}).sync()
    worker.take_one()
    run = runs.cancel(handle, reason="not needed any more").sync()
    assert run.status == RunStatus.CANCELED
    assert run.error is not None
    assert run.error.message == "not needed any more"


def test_list_by_filters_in_any_spelling(my_task: Task[Any, Any], worker: Engine) -> None:
    first = my_task.trigger({}, tags="x").sync().id
    second = my_task.trigger({}, tags=["x", "y"], queue="q").sync().id
    worker.end(worker.take_one())

    def found(**filters: Any) -> list[str]:
        return [run.id for run in runs.list(**filters).sync().runs]

    done, waiting = sorted([first, second], key=lambda run: worker.status(run))
    assert set(found()) == {first, second}
    assert found(status="completed") == found(status=RunStatus.COMPLETED) == [done]
    assert found(status=["queued", "pending_version"]) == [waiting]
    assert set(found(tag="x", task="t")) == {first, second}
    assert found(tag=["y"]) == found(queue="q") == [second]
    assert found(task="u") == []
    assert set(found(period="1h")) == {first, second}
    now = datetime.now(UTC)
    assert found(created_from=now + timedelta(hours=1)) == []
    assert set(found(created_from=now - timedelta(hours=1), created_to=now)) == {first, second}


def test_list_by_period_counts_back_from_now(my_task: Task[Any, Any], worker: Engine) -> None:
    worker.clock.advance(-7_200_000)
    my_task.trigger({}).sync()
    assert len(runs.list(period="3h").sync().runs) == 1
    assert len(runs.list(period="1h").sync().runs) == 0


def test_list_in_pages(my_task: Task[Any, Any]) -> None:
    handles = my_task.batch_trigger([{"payload": n} for n in range(45)]).sync().runs
    found: list[str] = []
    cursor = None
    while True:
        page = runs.list(after=cursor).sync()
        found += [run.id for run in page.runs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == sorted((handle.id for handle in handles), reverse=True)


def test_list_does_not_carry_bodies(my_task: Task[Any, Any]) -> None:
    for payload in ("x", "x" * 1000, {"a": 1}):
        my_task.trigger(payload, metadata={"a": 1}).sync()
    assert [run.payload for run in runs.list().sync()] == [None] * 3


def test_times_that_are_no_times_are_refused(my_task: Task[Any, Any]) -> None:
    with pytest.raises(InvalidOptionError, match="pass a datetime"):
        runs.list(created_from="2024-01-01").sync()  # type: ignore[arg-type]


def test_queues(my_task: Task[Any, Any], worker: Engine) -> None:
    my_task.batch_trigger([{"payload": n} for n in range(3)]).sync()
    worker.take_one()
    state = queues.retrieve(task="t").sync()
    assert (state.name, state.running, state.queued) == ("task/t", 1, 2)
