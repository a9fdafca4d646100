"""What attempts make of a server that is away, of hooks that block, and of a run's end at a bad moment."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from tests.driving import Engine
from tests.faultproxy import FaultProxy
from tests.worker.attempts import KINDS, ONCE_MORE, Attempts
from trigger_celery import (
    TriggerCelery,
    logger,
    metadata,
    queues,
    retry,
    runs,
    step,
    task,
    wait,
    wait_until,
)
from trigger_celery.bridge import context
from trigger_celery.bridge.run_promise import RunPromise
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.worker import child, log_capture
from trigger_celery.worker.background_loop import BACKGROUND
from trigger_celery.worker.holding import cancel_here


@pytest.fixture
def attempts(trigger: TriggerCelery, engine: Engine) -> Iterator[Attempts]:
    yield Attempts(engine, trigger)
    BACKGROUND.run(trigger.store.aclose())


def cancel_myself() -> None:
    """Cancel the run that calls this, as its worker does when the news come."""
    execution: Any = context.current_execution.get()
    assert cancel_here(execution.grant.id, execution.grant.epoch)


@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_waits_for_a_server_that_is_away_when_it_begins(
    attempts: Attempts, server: EmbeddedServer, kind: str
) -> None:
    def body() -> str:
        return "done"

    async def body_async() -> str:
        return body()

    task(id="t", retry=ONCE_MORE)(body_async if kind == "async" else body)
    grant = attempts.start("t", metadata={"a": 1})
    assert grant.has_data
    proxy = FaultProxy(str(server.socket_path))
    attempts.trigger.configure(redis_url=proxy.url, store_retry=0.05)
    back = threading.Timer(0.3, proxy.__enter__)
    back.start()
    try:
        ended = attempts.execute(grant)
    finally:
        back.join()
        BACKGROUND.run(attempts.trigger.store.aclose())
        attempts.trigger.store.close()
        proxy.__exit__(None, None, None)
    assert (ended.run.status, ended.run.output) == ("COMPLETED", "done")


def test_a_def_hook_may_block_until_the_cancelled_run_has_ended(attempts: Attempts) -> None:
    told: list[Any] = []

    def on_cancel(run_promise: RunPromise) -> None:
        told.append(run_promise.result(timeout=5))

    @task(id="t", on_cancel=on_cancel)
    async def ends_by_itself(signal: Any) -> str:
        cancel_myself()
        await signal.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        return "late"

    assert attempts.run("t").ending is None
    assert told == ["late"]


@pytest.mark.parametrize("hooked", [False, True])
def test_background_work_of_a_cancelled_run_ends_with_it(attempts: Attempts, hooked: bool) -> None:
    ended = threading.Event()

    async def for_ever() -> None:
        try:
            await asyncio.sleep(0)
            cancel_myself()
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    hooks: dict[str, Any] = {"cleanup": lambda: None} if hooked else {}

    @task(id="t", **hooks)
    async def begins() -> None:
        wait_until(for_ever())

    assert attempts.run("t").ending is None
    assert ended.wait(5)


def test_middleware_with_a_time_limit_around_a_sync_task(attempts: Attempts) -> None:
    over = threading.Event()

    async def limited(next: Any) -> None:
        try:
            async with asyncio.timeout(0.01):
                await next()
        finally:
            over.set()

    @task(id="t", middleware=limited)
    def slow() -> None:
        assert over.wait(5)

    ended = attempts.run("t")
    assert ended.run.error is not None
    assert (ended.run.status, ended.run.error.name) == ("FAILED", "TimeoutError")


def test_steps_side_by_side_in_a_later_attempt_are_called_once(attempts: Attempts) -> None:
    called: list[str] = []

    async def part(attempt: int) -> None:
        await asyncio.gather(step.run("a", called.append, "a"), step.run("b", called.append, "b"))
        if attempt == 1:
            raise ValueError("once more")

    @task(id="t", retry=ONCE_MORE)
    async def parts() -> None:
        if not called:
            called.append("first")
            raise ValueError("the first attempt")
        await retry.on_throw(part, min_timeout_in_ms=0, max_timeout_in_ms=0)

    ended = attempts.again(attempts.run("t"))
    assert ended.run.status == "COMPLETED"
    assert sorted(called) == ["a", "b", "first"]


def test_a_time_limit_while_the_log_is_sent_loses_no_outcome(
    attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(_: Any) -> None:
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(child, "end_log_blocking", too_late)

    @task(id="t")
    def says() -> int:
        logger.info("hello")
        return 1

    assert attempts.run("t").run.output == 1
    assert context.current_execution.get() is None


def test_a_try_that_is_repeated_at_once_is_not_made_again_in_a_replay(
    attempts: Attempts, engine: Engine
) -> None:
    """Else the replay would count fewer calls than there were, and stay silent for ever."""
    attempts.trigger.configure(wait_hold=0.001)
    first, second = wait.create_token().sync(), wait.create_token().sync()
    wait.complete_token(first).sync()
    tries: list[int] = []

    async def part(attempt: int) -> None:
        tries.append(attempt)
        await wait.for_token(first.id)
        if tries == [1]:
            raise ValueError("once more")

    @task(id="t")
    async def waits() -> None:
        await retry.on_throw(part, min_timeout_in_ms=0, max_timeout_in_ms=0)
        await wait.for_token(second.id)
        metadata.set("after", True)

    ended = attempts.run("t")
    while ended.run.status == "WAITING" and len(tries) < 2:  # for the pause
        engine.fire()
        ended = attempts.execute(engine.take_one())
    assert (ended.ending, ended.run.status) == (None, "WAITING")
    wait.complete_token(second).sync()
    ended = attempts.execute(engine.take_one())
    assert ended.run.status == "COMPLETED"
    assert ended.run.metadata == {"after": True}
    assert tries == [1, 2, 2]


def test_a_replay_does_not_change_queues_again(attempts: Attempts, engine: Engine) -> None:
    attempts.trigger.configure(wait_hold=0.001)
    token = wait.create_token().sync()

    @task(id="t")
    def pauses() -> None:
        queues.pause(task="t").sync()
        queues.pause_environment().sync()
        wait.for_token(token.id).sync()

    assert attempts.run("t").run.status == "WAITING"
    queues.resume(task="t").sync()
    queues.resume_environment().sync()
    wait.complete_token(token).sync()
    assert attempts.execute(engine.take_one()).run.status == "COMPLETED"
    assert not queues.retrieve(task="t").sync().paused
    assert not queues.retrieve_environment().sync().paused


def test_a_child_that_a_task_forks_sends_its_own_metadata_only(attempts: Attempts) -> None:
    @task(id="t")
    def forks() -> None:
        metadata.increment("parent")
        pid = os.fork()
        if pid == 0:
            try:
                metadata.increment("child").increment("child")
                metadata.flush().sync()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    assert attempts.run("t").run.metadata == {"parent": 1, "child": 2}


def test_the_begin_of_a_printed_line_is_not_said_again_in_a_replay(
    attempts: Attempts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_capture, "_installed", [])
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    attempts.trigger.configure(wait_hold=0.001)
    token = wait.create_token().sync()

    @task(id="t")
    def prints() -> None:
        print("begun ", end="")
        wait.for_token(token.id).sync()
        print("ended")

    run_id = attempts.run("t").grant.id
    wait.complete_token(token).sync()
    attempts.execute(engine.take_one())
    assert [line.message for line in runs.logs(run_id)] == ["begun ", "ended"]


def test_what_a_finalizer_says_does_not_stop_the_log(attempts: Attempts) -> None:
    """The garbage collector calls finalizers at any moment, also within what they call."""

    def say() -> None:
        sender = attempts.trigger.logs
        with sender._lock, sender._printing:
            logger.info("from a finalizer")

    @task(id="t")
    def says() -> bool:
        inside = contextvars.copy_context()
        thread = threading.Thread(target=inside.run, args=(say,), daemon=True)
        thread.start()
        thread.join(5)
        return not thread.is_alive()

    assert attempts.run("t").run.output is True
