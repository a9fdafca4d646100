"""The fixture `trigger_env`: a real engine in the test's own process."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from celery import chain, current_app

from trigger_celery import (
    AbortTaskRunError,
    queue,
    queues,
    runs,
    schedules,
    step,
    task,
    tasks,
    wait,
)
from trigger_celery.testing.env import TriggerEnv


def test_a_sync_test_triggers_and_waits(trigger_env: TriggerEnv) -> None:
    @task(id="double")
    def double(payload: int) -> int:
        return payload * 2

    handle = double.trigger(21).sync()
    run = trigger_env.wait_for(handle)
    assert run.output == 42
    assert trigger_env.run_of(double).id == handle.id


async def test_an_async_test_triggers_and_waits(trigger_env: TriggerEnv) -> None:
    @task(id="double")
    async def double(payload: int) -> int:
        return payload * 2

    handle = await double.trigger(21)
    trigger_env.assert_completed(handle, output=42)


def test_children_are_executed_and_captured(trigger_env: TriggerEnv) -> None:
    @task(id="leaf")
    async def leaf(payload: int) -> int:
        return payload + 1

    @task(id="tree")
    async def tree(payload: int) -> int:
        found = await leaf.batch_trigger_and_wait([{"payload": n} for n in range(payload)])
        return sum(found.unwrap())

    handle = tree.trigger(5).sync()
    assert trigger_env.drain() == []
    assert [run.task_identifier for run in trigger_env.runs] == ["tree"] + ["leaf"] * 5
    trigger_env.assert_completed(handle, output=15)


def test_time_is_skipped_for_delays_waits_and_retries(trigger_env: TriggerEnv) -> None:
    tries: list[int] = []

    @task(id="slow", retry={"max_attempts": 4, "min_timeout_in_ms": 1000, "factor": 60})
    async def slow(payload: None, ctx: Any) -> str:
        tries.append(ctx.attempt.number)
        await wait.for_duration(days=1)
        if ctx.attempt.number < 4:
            raise ValueError("no")
        await wait.for_duration("30s")
        return "done"

    handle = slow.trigger(None, delay="7d").sync()
    assert trigger_env.run(handle).status == "DELAYED"
    trigger_env.skip("6d")
    assert trigger_env.run(handle).status == "DELAYED"
    trigger_env.skip("1d")
    assert trigger_env.run(handle).status == "WAITING"
    assert trigger_env.wait_for(handle).output == "done"
    assert tries == [1, 2, 3, 4]


def test_sync_tasks_wait_too(trigger_env: TriggerEnv) -> None:
    @task(id="sync")
    def sync(payload: None) -> str:
        wait.for_duration("1h").sync()
        return step.run("name", lambda: "done").sync()

    trigger_env.assert_completed(sync.trigger(None).sync(), output="done")


def test_what_is_due_happens_in_its_order(trigger_env: TriggerEnv) -> None:
    order: list[str] = []

    @task(id="note")
    async def note(payload: str) -> None:
        order.append(payload)
        if payload == "first":
            await wait.for_duration(days=2)
            order.append("later")

    note.trigger("first", delay="1d").sync()
    note.trigger("last", delay="4d").sync()
    trigger_env.skip("5d")
    assert order == ["first", "later", "last"]


def test_advance_makes_all_due_at_once(trigger_env: TriggerEnv) -> None:
    gate = threading.Event()

    @task(id="busy")
    def busy(payload: None) -> None:
        gate.wait(30)

    @task(id="other")
    async def other(payload: None) -> None: ...

    busy.trigger(None).sync()
    handle = other.trigger(None, delay="1d").sync()
    trigger_env.advance("2d")
    assert runs.poll(handle, timeout=20).sync().is_success
    gate.set()
    trigger_env.drain()


def test_ttl_and_idempotency_keys_end(trigger_env: TriggerEnv) -> None:
    @task(id="t")
    async def t(payload: int) -> int:
        return payload

    queues.pause("task/t").sync()
    late = t.trigger(1, ttl="10m").sync()
    trigger_env.skip("9m")
    assert trigger_env.run(late).is_queued
    trigger_env.skip("1m")
    assert trigger_env.assert_failed(late, status="EXPIRED").id == late.id
    queues.resume("task/t").sync()

    first = t.trigger(2, idempotency_key="k", idempotency_key_ttl="1h").sync()
    trigger_env.drain()
    assert t.trigger(3, idempotency_key="k").sync().id == first.id
    trigger_env.skip("2h")
    assert t.trigger(4, idempotency_key="k").sync().id != first.id


def test_tokens(trigger_env: TriggerEnv) -> None:
    @task(id="approval")
    async def approval(payload: str) -> str:
        decision = await wait.for_token(await wait.create_token(timeout=payload))
        return decision.data["by"] if decision.ok else "nobody"

    one, two = approval.trigger("1d").sync(), approval.trigger("2d").sync()
    assert sorted(run.id for run in trigger_env.drain()) == sorted([one.id, two.id])
    assert len(trigger_env.tokens) == 2
    trigger_env.complete_token(one, {"by": "Ada"})
    trigger_env.assert_completed(one, output="Ada")
    with pytest.raises(
        AssertionError, match=r"is WAITING, and it waits for the token waitpoint_\w+"
    ):
        trigger_env.wait_for(two)
    token = trigger_env.token_of(two)
    trigger_env.skip("2d")
    trigger_env.assert_completed(two, output="nobody")
    with pytest.raises(AssertionError, match="is TIMED_OUT already"):
        trigger_env.complete_token(token)
    with pytest.raises(AssertionError, match="waits for no token: it is COMPLETED"):
        trigger_env.token_of(two)


def test_failures_and_their_texts(trigger_env: TriggerEnv) -> None:
    @task(id="broken", retry={"max_attempts": 2, "min_timeout_in_ms": 50_000})
    async def broken(payload: None, ctx: Any) -> None:
        raise LookupError(f"attempt {ctx.attempt.number}")

    handle = broken.trigger(None).sync()
    run = trigger_env.assert_failed(handle, error=LookupError)
    assert run.attempt_count == 2
    with pytest.raises(
        AssertionError, match="is FAILED, not COMPLETED\nLookupError: attempt 2"
    ) as text:
        trigger_env.assert_completed(handle)
    assert "earlier attempts:\n  1. LookupError: attempt 1" in str(text.value)
    with pytest.raises(AssertionError, match="failed, but not with 'ValueError'"):
        trigger_env.assert_failed(handle, error="ValueError")
    trigger_env.assert_triggered(broken, times=1, queue="task/broken")


def test_what_hangs_is_shown(trigger_env: TriggerEnv) -> None:
    gate = threading.Event()

    @task(id="stuck")
    def stuck(payload: None) -> None:
        gate.wait(30)

    stuck.trigger(None).sync()
    with pytest.raises(AssertionError, match="of 'stuck', EXECUTING: its code is still executing"):
        trigger_env.drain(timeout=0.2)
    gate.set()
    trigger_env.drain()


def test_a_task_that_goes_on_for_ever_is_shown(trigger_env: TriggerEnv) -> None:
    @task(id="clockwork")
    async def clockwork(payload: int) -> None:
        await clockwork.trigger(payload + 1, delay="1h")

    clockwork.trigger(0).sync()
    with pytest.raises(AssertionError, match="triggers itself again and again"):
        trigger_env.drain(timeout=0.5)
    trigger_env.stop_worker()


def test_paused_queues_and_unknown_tasks_are_named(trigger_env: TriggerEnv) -> None:
    @task(id="t", queue=queue(name="mail"))
    async def t(payload: None) -> None: ...

    queues.pause("mail").sync()
    handle = t.trigger(None).sync()
    with pytest.raises(AssertionError, match="its queue 'mail' is paused"):
        trigger_env.wait_for(handle)
    queues.resume("mail").sync()
    trigger_env.assert_completed(handle)
    elsewhere = tasks.trigger("elsewhere").sync()
    with pytest.raises(AssertionError, match="no worker knows the task 'elsewhere'"):
        trigger_env.wait_for(elsewhere)


@pytest.mark.trigger_env(worker=False)
def test_without_a_worker_runs_stay_in_the_queue(trigger_env: TriggerEnv) -> None:
    @task(id="t")
    async def t(payload: int) -> int:
        return payload

    handles = [t.trigger(n, delay="1h" if n else None).sync() for n in range(3)]
    trigger_env.skip("2h")
    assert {run.status for run in trigger_env.runs} <= {"QUEUED", "PENDING_VERSION"}
    with pytest.raises(AssertionError, match="worker"):
        trigger_env.wait_for(handles[0])
    trigger_env.start_worker()
    assert [trigger_env.wait_for(handle).output for handle in handles] == [0, 1, 2]


def test_patches_reach_the_code_of_tasks(
    trigger_env: TriggerEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "patched")

    @task(id="t")
    def t(payload: None) -> str:
        import platform

        return platform.node()

    trigger_env.assert_completed(t.trigger(None).sync(), output="patched")


async def test_a_task_that_needs_the_loop_of_the_test(trigger_env: TriggerEnv) -> None:
    loop = asyncio.get_running_loop()

    async def answer() -> str:
        return "from the test"

    @task(id="calls-back")
    def calls_back(payload: None) -> str:
        return asyncio.run_coroutine_threadsafe(answer(), loop).result(10)

    handle = await calls_back.trigger(None)
    run = await asyncio.to_thread(trigger_env.wait_for, handle)
    assert run.output == "from the test"


def test_each_test_begins_with_an_empty_environment(trigger_env: TriggerEnv) -> None:
    assert trigger_env.runs == []
    assert trigger_env.drain() == []
    with pytest.raises(AssertionError, match="no run of 't': nothing was triggered"):
        trigger_env.run_of("t")


def test_deep_retries_end_at_once(trigger_env: TriggerEnv) -> None:
    @task(id="aborted", retry={"max_attempts": 10})
    def aborted(payload: None) -> None:
        raise AbortTaskRunError("no use")

    assert trigger_env.assert_failed(aborted.trigger(None).sync()).attempt_count == 1


def test_schedules_fire_when_time_is_skipped(trigger_env: TriggerEnv) -> None:
    seen: list[str] = []

    @schedules.task(id="nightly", cron="0 3 * * *")
    async def nightly(payload: Any) -> None:
        seen.append(payload.timestamp.isoformat()[11:16])

    trigger_env.skip("3d")
    assert seen == ["03:00"] * 3
    assert trigger_env.drain() == []
    trigger_env.assert_triggered(nightly, times=3)


def test_chains_of_celery_go_on(trigger_env: TriggerEnv) -> None:
    @task(id="inc")
    def inc(payload: int) -> int:
        return payload + 1

    chain(inc.s(1), inc.s(), inc.s())()
    assert trigger_env.drain() == []
    assert [run.output for run in trigger_env.runs] == [2, 3, 4]


def test_celery_tasks_that_are_taken_over(trigger_env: TriggerEnv) -> None:
    """In a task the current app is the one under test, whatever thread executes it."""
    app: Any = trigger_env.trigger.app

    @app.task(name="taken.price", shared=False, trigger=True)
    def price(sku: str) -> int:
        return len(sku)

    @app.task(name="taken.order", shared=False, trigger=True, bind=True, max_retries=2)
    def order(self: Any, sku: str) -> int:
        if not self.request.retries:
            raise self.retry(countdown=3600)
        current_app.tasks["taken.price"].delay(sku)
        return int(self.request.retries)

    result = order.apply_async(("abc",), countdown=86400)
    trigger_env.assert_triggered(order, payload={"args": ["abc"], "kwargs": {}}, delay="1d")
    trigger_env.assert_completed(result.id, output=1)
    trigger_env.assert_completed(trigger_env.run_of(price), output=3)
