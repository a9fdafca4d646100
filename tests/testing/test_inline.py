"""Inline mode: no server at all."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from celery import chain

from trigger_celery import (
    AbortTaskRunError,
    InlineModeError,
    PayloadNotSerializableError,
    RunStatus,
    TriggerCelery,
    batch,
    context,
    heartbeats,
    idempotency_keys,
    logger,
    metadata,
    queues,
    retry,
    run_locals,
    runs,
    step,
    streams,
    tags,
    task,
    tasks,
    usage,
    wait,
    wait_until,
)
from trigger_celery.testing import Inline, trigger_inline


@pytest.fixture(autouse=True)
def no_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This thread connects to nothing."""
    thread, asked = threading.get_ident(), []
    connect = socket.socket.connect

    def refuse(sock: socket.socket, address: Any) -> None:
        if threading.get_ident() == thread:
            asked.append(address)
            raise ConnectionRefusedError("inline mode connects to a server")
        connect(sock, address)  # what other tests left in the background

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert not asked


@pytest.fixture
def inline(trigger_inline: Inline) -> Inline:
    return trigger_inline


def test_a_triggered_run_is_over_at_once(inline: Inline) -> None:
    @task(id="add")
    def add(payload: dict[str, int]) -> int:
        return payload["a"] + payload["b"]

    handle = add.trigger({"a": 1, "b": 2}, delay="3d", tags=["x"]).sync()
    run = inline.assert_completed(handle, output=3)
    inline.assert_triggered(add, payload={"a": 1, "b": 2}, delay="3d", tags="x", times=1)
    assert runs.retrieve(handle).sync().output == 3
    assert runs.poll(run).sync().status is RunStatus.COMPLETED


async def test_async_tasks_with_children_waits_steps_and_metadata(inline: Inline) -> None:
    calls: list[str] = []

    @task(id="leaf")
    def leaf(payload: int) -> int:
        assert step.run("once", lambda: payload).sync() == payload
        return payload * 2

    @task(id="tree")
    async def tree(payload: int, ctx: Any) -> dict[str, Any]:
        metadata.set("stage", "begun")
        await tags.add("seen")
        await wait.for_duration(days=30)
        one = await leaf.trigger_and_wait(payload).unwrap()
        several = await leaf.batch_trigger_and_wait([{"payload": n} for n in range(3)])
        both = await asyncio.gather(*(leaf.trigger_and_wait(n).unwrap() for n in (10, 20)))
        await step.run("charge", calls.append, "charged")
        return {"one": one, "several": several.unwrap(), "both": both, "id": ctx.run.id}

    handle = await tree.trigger(4)
    run = inline.assert_completed(handle)
    assert run.output == {"one": 8, "several": [0, 2, 4], "both": [20, 40], "id": handle.id}
    assert run.metadata == {"stage": "begun"}
    assert run.tags == ("seen",)
    assert calls == ["charged"]
    assert len(inline.runs_of(leaf)) == 6
    assert {child.parent_id for child in inline.runs_of(leaf)} == {handle.id}


def test_async_tasks_of_sync_code(inline: Inline) -> None:
    @task(id="double")
    async def double(payload: int) -> int:
        await asyncio.sleep(0)
        return payload * 2

    @task(id="parent")
    def parent(payload: int) -> int:
        return double.trigger_and_wait(payload).unwrap().sync()

    inline.assert_completed(parent.trigger(21).sync(), output=42)
    inline.assert_completed(tasks.trigger("parent", 3).sync(), output=6)


def test_celery_calls(inline: Inline) -> None:
    @task(id="double")
    async def double(payload: int) -> int:
        return payload * 2

    assert double.delay(4).get() == 8


def test_retries_take_no_time_and_steps_are_kept(inline: Inline) -> None:
    charged: list[int] = []

    @task(id="flaky", retry={"max_attempts": 3, "min_timeout_in_ms": 60_000})
    def flaky(payload: None, ctx: Any) -> int:
        metadata.increment("tries")
        step.run("charge", charged.append, ctx.attempt.number).sync()
        if ctx.attempt.number < 3:
            raise ValueError("not yet")
        return ctx.attempt.number

    handle = flaky.trigger(None).sync()
    run = inline.assert_completed(handle, output=3)
    assert charged == [1]
    assert run.metadata == {"tries": 3}
    assert [attempt.error.message for attempt in run.attempts if attempt.error] == ["not yet"] * 2


def test_a_failure_is_recorded_or_raised(inline: Inline) -> None:
    @task(id="broken")
    def broken(payload: None) -> None:
        raise AbortTaskRunError("never")

    handle = broken.trigger(None).sync()
    inline.assert_failed(handle, error="never")
    inline.assert_failed(handle, error=AbortTaskRunError, status="FAILED")
    with pytest.raises(AssertionError, match="is FAILED, not COMPLETED\nAbortTaskRunError: never"):
        inline.assert_completed(handle)


def test_errors_are_raised_where_it_was_triggered() -> None:
    @task(id="broken")
    def broken(payload: None) -> None:
        raise ZeroDivisionError("by nothing")

    with trigger_inline(raise_errors=True), pytest.raises(ZeroDivisionError, match="by nothing"):
        broken.trigger(None).sync()


def test_tokens_are_answered_or_completed_before(inline: Inline) -> None:
    @task(id="approval")
    def approval(payload: str | None) -> Any:
        token = payload or wait.create_token(timeout="1d").sync().id
        return wait.for_token(token).unwrap().sync()

    token = wait.create_token().sync()
    assert wait.complete_token(token, {"ok": True}).sync()
    assert not wait.complete_token(token, {"ok": False}).sync()
    inline.assert_completed(approval.trigger(token.id).sync(), output={"ok": True})

    with pytest.raises(InlineModeError, match=r"answer_tokens\(data\)"):
        approval.trigger(None).sync()

    inline.answer_tokens(lambda token_id: token_id[:8])
    inline.assert_completed(approval.trigger(None).sync(), output="waitpoin")


def test_batches_keys_and_streams(inline: Inline) -> None:
    @task(id="one")
    async def one(payload: int) -> int:
        await streams.append("numbers", payload)
        return payload

    @task(id="two")
    async def two(payload: int) -> int:
        return payload * 2

    made = batch.trigger_by_task([{"task": one, "payload": 1}, {"task": two, "payload": 2}]).sync()
    assert [inline.ended(run).output for run in made.runs] == [1, 4]
    assert batch.retrieve(made).sync().run_count == 2
    assert inline.stream(made.runs[0], "numbers") == [1]

    key = idempotency_keys.create("order-1", scope="global").sync()
    first = one.trigger(5, idempotency_key=key).sync()
    again = one.trigger(6, idempotency_key=key).sync()
    assert (again.id, again.is_cached) == (first.id, True)
    inline.assert_triggered(one, payload=5, idempotency_key="order-1")


def test_hooks_are_called(inline: Inline) -> None:
    told: list[str] = []

    @task(
        id="hooked",
        on_start=lambda: told.append("start"),
        on_wait=lambda wait: told.append(f"wait {wait.type}"),
        on_resume=lambda: told.append("resume"),
        on_success=lambda output: told.append(f"success {output}"),
    )
    def hooked(payload: None) -> str:
        wait.for_duration("1h").sync()
        return "done"

    inline.assert_completed(hooked.trigger(None).sync())
    assert told == ["start", "wait duration", "resume", "success done"]


def test_what_needs_a_server_is_refused_with_the_way_out(inline: Inline) -> None:
    @task(id="pauses")
    def pauses(payload: None) -> None:
        queues.pause("mail").sync()

    with pytest.raises(InlineModeError, match="use the fixture trigger_env"):
        runs.list().sync()
    with pytest.raises(InlineModeError, match="use the fixture trigger_env"):
        pauses.trigger(None).sync()
    with pytest.raises(InlineModeError, match="no task 'elsewhere': import the module"):
        tasks.trigger("elsewhere", 1).sync()


def test_tasks_that_trigger_themselves_come_to_an_end(inline: Inline) -> None:
    @task(id="again")
    def again(payload: int) -> None:
        again.trigger(payload + 1, delay="1h").sync()

    with pytest.raises(InlineModeError, match="tasks that trigger themselves have no end"):
        again.trigger(0).sync()


def test_waiting_for_a_run_that_waits_is_refused(inline: Inline) -> None:
    @task(id="child")
    def child(payload: str) -> None:
        runs.poll(payload).sync()

    @task(id="mother")
    def mother(payload: None, ctx: Any) -> None:
        child.trigger_and_wait(ctx.run.id).unwrap().sync()

    run = inline.assert_failed(mother.trigger(None).sync(), error="SubtaskUnwrapError")
    assert "WaitCycleError" in run.error.message


def test_the_binding_is_given_back(inline: Inline) -> None:
    with trigger_inline() as inner:

        @task(id="t")
        def t(payload: None) -> None: ...

        t.trigger(None).sync()
        assert len(inner.runs) == 1
    assert inline.runs == []
    t.trigger(None).sync()
    assert len(inline.runs) == 1


def test_failures_say_what_there_was(inline: Inline) -> None:
    @task(id="mail")
    def mail(payload: Any) -> None: ...

    with pytest.raises(AssertionError, match="'mail' was not triggered: nothing was triggered"):
        inline.assert_triggered(mail)
    mail.trigger({"to": "a@b.c", "lines": [1, 2]}, tags=["x"]).sync()
    with pytest.raises(AssertionError, match=r"no run of 'mial'. Did you mean 'mail'\?"):
        inline.run_of("mial")
    with pytest.raises(AssertionError) as raised:
        inline.assert_triggered(mail, payload={"to": "a@b.c", "lines": [1, 3]}, tags="x")
    assert "+    2" in str(raised.value)
    assert "-    3" in str(raised.value)
    with pytest.raises(AssertionError, match=r"tags: expected 'y', found \('x',\)"):
        inline.assert_triggered(mail, tags="y")
    with pytest.raises(AssertionError, match="was triggered once, not 2 times"):
        inline.assert_triggered(mail, times=2)
    with pytest.raises(AssertionError, match="'mail' was triggered once"):
        inline.assert_not_triggered(mail)
    with pytest.raises(TypeError, match="cannot compare 'tag'. Did you mean 'tags'"):
        inline.assert_triggered(mail, tag="x")
    inline.assert_not_triggered(mail, tags="y")
    inline.assert_triggered(mail, payload=lambda found: found["lines"][0] == 1)
    inline.assert_triggered(mail, payload=ANY, times=1)
    with pytest.raises(AssertionError, match="returned None, expected 5"):
        inline.assert_completed(inline.run_of(mail), output=5)
    with pytest.raises(AssertionError, match="is COMPLETED, not a failure"):
        inline.assert_failed(inline.run_of(mail))


def test_chains_are_refused(inline: Inline) -> None:
    @task(id="inc")
    def inc(payload: int) -> int:
        return payload + 1

    with pytest.raises(InlineModeError, match="chain"):
        chain(inc.s(1), inc.s())()


async def test_what_else_a_run_may_use(inline: Inline) -> None:
    kept: list[str] = []

    @task(id="leaf")
    async def leaf(payload: None) -> None:
        metadata.parent.set("from", "leaf")
        metadata.root.increment("leaves")

    @task(id="full")
    async def full(payload: Any, ctx: Any) -> list[Any]:
        logger.info("a line", {"number": 1})
        assert context.current().run.id == ctx.run.id
        await heartbeats.yield_()
        flag = run_locals.create("flag")
        run_locals.set(flag, 5)
        wait_until(asyncio.to_thread(kept.append, "later"))

        tries: list[int] = []

        async def fails_once() -> int:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("no")
            return len(tries)

        assert await retry.on_throw(fails_once, max_attempts=2, min_timeout_in_ms=60_000) == 2
        await leaf.trigger_and_wait(None)
        await wait.until(date=datetime.now(UTC) + timedelta(days=400))
        used = await usage.get_current()
        return [run_locals.get(flag), len(tries), used.compute.attempt.duration_ms >= 0]

    handle = await full.trigger({"when": datetime(2030, 1, 1, tzinfo=UTC)}, metadata={"n": 1})
    run = inline.assert_completed(handle, output=[5, 2, True])
    assert kept == ["later"]
    assert run.metadata == {"n": 1, "from": "leaf", "leaves": 1}
    assert run.payload == {"when": datetime(2030, 1, 1, tzinfo=UTC)}


def test_middleware_and_bad_payloads(inline: Inline) -> None:
    seen: list[str] = []

    async def around(payload: Any, next: Any) -> None:
        seen.append("before")
        await next()
        seen.append("after")

    @task(id="t", middleware=around)
    def t(payload: Any) -> Any:
        seen.append("inside")
        return payload

    inline.assert_completed(t.trigger(1).sync(), output=1)
    assert seen == ["before", "inside", "after"]
    with pytest.raises(PayloadNotSerializableError):
        t.trigger(lambda: 1)
    assert len(inline.runs) == 1


def test_celery_tasks_that_are_taken_over_retry(
    trigger: TriggerCelery, trigger_inline: Inline
) -> None:
    app: Any = trigger.app

    @app.task(name="taken.order", shared=False, trigger=True, bind=True, max_retries=2)
    def order(self: Any, wanted: int, *, sku: str) -> str:
        if self.request.retries < wanted:
            raise self.retry(exc=ValueError("not yet"), countdown=3600)
        return f"{sku} after {self.request.retries}"

    trigger_inline.assert_completed(order.delay(2, sku="a").id, output="a after 2")
    failed = trigger_inline.assert_failed(order.delay(9, sku="b").id, error="not yet")
    assert failed.attempt_count == 3
