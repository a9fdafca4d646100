"""`logger`, in a run and outside; the real pools are in `tests/worker/waits/test_logs.py`."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.waiting import wait_until
from trigger_celery import InvalidOptionError, SyncInAsyncError, TriggerCelery, logger, runs, tasks
from trigger_celery.bridge import context, run_log
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.run_log import RunLog, end_log_blocking
from trigger_celery.engine import keys
from trigger_celery.errors import StoreUnavailableError
from trigger_celery.model.log_line import LogLine
from trigger_celery.sdk.spans import Span


class Speaking:
    """Stands for an attempt: this process executes no runs."""

    def __init__(self, trigger: TriggerCelery, run: str) -> None:
        self.trigger = trigger
        self.durable = Durable(run, "1", 1, "")
        self.log: RunLog | None = None
        self.ctx = SimpleNamespace(
            run=SimpleNamespace(id=run), task=SimpleNamespace(id="no-such-task")
        )

    def lines(self) -> list[LogLine]:
        end_log_blocking(self)
        return list(runs.logs(self.durable.run_id))

    def messages(self) -> list[str]:
        return [line.message for line in self.lines()]


@pytest.fixture
def speaking(trigger: TriggerCelery) -> Iterator[Speaking]:
    run = tasks.trigger("no-such-task").sync()
    made = Speaking(trigger, run.id)
    token = context.current_execution.set(made)  # type: ignore[arg-type]
    yield made
    context.current_execution.reset(token)


def test_every_level_has_its_names(speaking: Speaking) -> None:
    speaking.trigger.configure(log_level="debug")
    for name in ("debug", "log", "info", "warn", "warning", "error", "exception"):
        getattr(logger, name)(name)
    assert [(line.message, line.level) for line in speaking.lines()] == [
        ("debug", "debug"), ("log", "info"), ("info", "info"), ("warn", "warn"),
        ("warning", "warn"), ("error", "error"), ("exception", "error"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("level", "count"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1), ("none", 0)]
)
def test_the_level_of_the_settings_counts(speaking: Speaking, level: str, count: int) -> None:
    speaking.trigger.configure(log_level=level)
    for name in ("debug", "info", "warn", "error"):
        getattr(logger, name)(name)
    assert len(speaking.lines()) == count


@pytest.mark.parametrize(
    ("args", "extra", "message", "attributes"),
    [
        (("plain",), None, "plain", {}),
        (("%s has %d", "it", 3), None, "it has 3", {}),
        (("%(who)s", {"who": "Ada"}), None, "Ada", {}),
        (("properties", {"a": 1}), None, "properties", {"a": 1}),
        (("both", {"a": 1}), {"b": 2}, "both", {"a": 1, "b": 2}),
        (("does not fit %d %d", "x"), None, "does not fit %d %d x", {}),
        ((ValueError("no"),), None, "no", {}),
        (("100 %",), None, "100 %", {}),
        (("clash",), {"message": 1, "name": 2, "args": 3, "msg": 4, "exc_info": 5}, "clash",
         {"message": 1, "name": 2, "args": 3, "msg": 4, "exc_info": 5}),
        (("no mapping",), ["a"], "no mapping", {"extra": ["a"]}),
        (("none",), {}, "none", {}),
    ],
)  # fmt: skip
def test_messages_and_extra(
    speaking: Speaking, args: Any, extra: Any, message: str, attributes: Any
) -> None:
    logger.info(*args, extra=extra)
    (line,) = speaking.lines()
    assert (line.message, line.attributes) == (message, attributes)


def test_exceptions_in_every_form_that_logging_takes(speaking: Speaking) -> None:
    logger.error("none to see", exc_info=True)
    try:
        raise ValueError("no luck")
    except ValueError as problem:
        logger.error("one", exc_info=True)
        logger.error("two", exc_info=problem)
        logger.exception("three")
        logger.info("four", exc_info=(type(problem), problem, problem.__traceback__))
    first, *others = speaking.lines()
    assert first.exception is None
    assert all(str(line.exception).endswith("ValueError: no luck\n") for line in others)


def test_the_standard_library_gets_it_too_without_the_secrets(
    speaking: Speaking, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "trigger_celery.task"):
        logger.info("hello %s", "Ada", extra={"name": "n", "password": "CANARY"})
    (record,) = caplog.records
    found = vars(record)
    assert (record.getMessage(), found["name_"], found["password"]) == (
        "hello Ada",
        "n",
        "[redacted]",
    )
    assert (found["run_id"], found["task_id"]) == (speaking.durable.run_id, "no-such-task")
    assert record.funcName == "test_the_standard_library_gets_it_too_without_the_secrets"


def test_outside_of_a_run_only_the_standard_library_gets_it(
    trigger: TriggerCelery, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "trigger_celery.task"):
        logger.debug("hello", extra={"token": "CANARY"})
        assert logger.trace("work", lambda: 5) == 5
    assert [record.getMessage() for record in caplog.records] == ["hello"]
    assert "CANARY" not in str(vars(caplog.records[0]))
    assert trigger._logs is None


def test_a_run_that_says_nothing_has_no_log(speaking: Speaking) -> None:
    end_log_blocking(speaking)
    assert speaking.log is None
    assert speaking.trigger._logs is None


def test_a_replay_is_silent(speaking: Speaking, monkeypatch: pytest.MonkeyPatch) -> None:
    logger.info("before")
    monkeypatch.setattr(Durable, "had_before", lambda _, said=False: True)
    monkeypatch.setattr(Durable, "replaying", True)
    logger.info("again")
    log = speaking.log
    assert log is not None
    log.print("printed again\n")
    with logger.start_span("a span again"):
        pass
    monkeypatch.undo()
    assert speaking.messages() == ["before"]


# Spans


def test_a_span_gives_back_what_the_function_returns(speaking: Speaking) -> None:
    def add(one: int, two: int = 0) -> int:
        logger.info("adding")
        return one + two

    assert logger.trace("add", add, 1, two=2) == 3
    inner, span = speaking.lines()
    assert (span.source, span.message, span.level) == ("span", "add", "info")
    assert inner.parent_span_id == span.span_id
    assert span.duration_ms is not None


async def test_spans_nest_also_in_async_code(trigger: TriggerCelery) -> None:
    run = await tasks.trigger("no-such-task")
    speaking = Speaking(trigger, run.id)
    context.current_execution.set(speaking)  # type: ignore[arg-type]

    async def inner(span: Span) -> str:
        span.set_attribute("rows", 3)
        await asyncio.sleep(0)
        return "done"

    async def outer() -> str:
        return await logger.trace("inner", inner)

    assert await logger.trace("outer", outer) == "done"
    await run_log.end_log(speaking)
    first, second = [line async for line in runs.logs(run)]
    assert (first.message, first.attributes, second.message) == ("inner", {"rows": 3}, "outer")
    assert first.parent_span_id == second.span_id
    with pytest.raises(SyncInAsyncError):
        iter(runs.logs(run))
    await trigger.store.aclose()


def test_a_span_that_fails_says_so_and_raises(speaking: Speaking) -> None:
    def fail() -> None:
        raise KeyError("id")

    async def fail_later() -> None:
        fail()

    with pytest.raises(KeyError):
        logger.trace("sync", fail)
    with pytest.raises(KeyError):
        asyncio.run(logger.trace("async", fail_later))  # type: ignore[arg-type]
    with pytest.raises(KeyError), logger.start_span("with", {"a": 1}):
        fail()
    assert [(line.level, line.message, line.exception) for line in speaking.lines()] == [
        ("error", name, "KeyError: 'id'") for name in ("sync", "async", "with")
    ]


def test_a_span_can_be_ended_by_hand_once(speaking: Speaking) -> None:
    span = logger.start_span("by hand")
    span.set_attributes({"a": 1})
    span.end()
    span.end()
    assert speaking.messages() == ["by hand"]


def test_trace_wants_a_function() -> None:
    with pytest.raises(InvalidOptionError, match="pass the function"):
        logger.trace("work", "result")  # type: ignore[call-overload]


# On the way to the store


def test_printing_makes_lines_of_what_ends_with_one(speaking: Speaking) -> None:
    logger.info("first")
    log = speaking.log
    assert log is not None
    for piece in ("a", " ", "b", "\n", "\n", "c\r\nd\n", "x" * 20_000, "rest"):
        log.print(piece)
    lines = speaking.messages()
    assert lines[1:4] == ["a b", "c", "d"]
    assert lines[4].startswith("xxx")
    assert lines[5] == "rest"


def test_lines_arrive_by_themselves(speaking: Speaking) -> None:
    logger.info("hello")
    run = speaking.durable.run_id
    wait_until(lambda: [line.message for line in runs.logs(run)] == ["hello"], "it is sent")


def test_many_lines_arrive_in_order_and_large_ones_in_several_calls(speaking: Speaking) -> None:
    for number in range(3000):
        logger.info("line %d", number, extra={"text": "x" * 200})
    assert speaking.messages() == [f"line {number}" for number in range(3000)]


def test_a_server_that_is_away_costs_time_and_no_lines(
    speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "INTERVAL", 0.01)
    store = speaking.trigger.store
    send, refusals = store.send, iter(range(3))

    def away(*calls: Any) -> Any:
        if next(refusals, None) is not None:
            send(*calls)  # it arrived, and the answer did not
            raise StoreUnavailableError("away")
        return send(*calls)

    monkeypatch.setattr(store, "send", away)
    for number in range(5):
        logger.info("line %d", number)
    assert speaking.messages() == [f"line {number}" for number in range(5)]


def test_a_long_pipeline_that_breaks_off_repeats_nothing(
    speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "INTERVAL", 0.01)
    monkeypatch.setattr(run_log, "CALL_LINES", 5)
    store = speaking.trigger.store
    send, sent = store.send, []

    def breaking(*calls: Any) -> Any:
        answer = send(*calls)
        if calls not in sent:  # everything arrived, and the answer did not
            sent.append(calls)
            raise StoreUnavailableError("away")
        return answer

    monkeypatch.setattr(store, "send", breaking)
    for number in range(200):
        logger.info("line %d", number)
    assert speaking.messages() == [f"line {number}" for number in range(200)]
    assert len(sent) >= 5


def test_what_no_buffer_can_hold_is_counted(
    speaking: Speaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_log, "MAX_BUFFER", 1000)
    monkeypatch.setattr(run_log, "INTERVAL", 60)
    for number in range(100):
        logger.info("line %d", number)
    kept = speaking.lines()
    missing = runs.logs(speaking.durable.run_id)
    assert len(list(missing)) == len(kept)
    assert 0 < len(kept) < 100
    assert missing.dropped == 100 - len(kept)


def test_a_log_goes_with_its_run(speaking: Speaking, client: Any) -> None:
    logger.info("hello")
    end_log_blocking(speaking)
    scope, run = speaking.trigger.scope, speaking.durable.run_id
    runs.cancel(run).sync()
    assert client.pttl(keys.key(scope, "logs", run)) > 0


def test_a_child_that_the_run_forks_sends_its_own_lines(speaking: Speaking) -> None:
    logger.info("in the parent")
    log = speaking.log
    assert log is not None
    log.print("not the child's to finish")
    child = os.fork()
    if not child:
        try:
            logger.info("in the child")
            log.print("printed in the child")
            end_log_blocking(speaking)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    said = speaking.messages()
    parents = ["in the parent", "not the child's to finish"]
    assert sorted(said) == sorted([*parents, "in the child", "printed in the child"])


def test_a_span_may_be_left_in_another_context() -> None:
    """As that of an async generator which the event loop closes."""
    span = logger.start_span("elsewhere")
    contextvars.copy_context().run(span.enter)
    span.leave()
    span.end()
