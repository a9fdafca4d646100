"""Waiting is for the code of runs; elsewhere it is refused at once, before anything is stored."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.driving import Engine
from trigger_celery import (
    DateInPastError,
    InvalidDurationError,
    InvalidOptionError,
    NotBoundError,
    OutsideRunError,
    Task,
    TokenNotFoundError,
    TriggerCelery,
    batch,
    retry,
    step,
    task,
    tasks,
    wait,
)

UNKNOWN = "waitpoint_" + "0" * 26


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="t")
    def my_task(payload: Any) -> None:
        """Do nothing."""

    return my_task


CALLS: dict[str, Callable[[Task[Any, Any]], Any]] = {
    "wait.for_duration()": lambda _: wait.for_duration(seconds=1),
    "wait.until()": lambda _: wait.until(date="2999-01-01"),
    "wait.for_token()": lambda _: wait.for_token(UNKNOWN),
    "trigger_and_wait()": lambda t: t.trigger_and_wait({}),
    "batch_trigger_and_wait()": lambda t: t.batch_trigger_and_wait([{"payload": 1}]),
    "batch.trigger_and_wait()": lambda _: batch.trigger_and_wait([{"id": "t"}]),
    "batch.trigger_by_task_and_wait()": lambda t: batch.trigger_by_task_and_wait([{"task": t}]),
    "step.run()": lambda _: step.run("name", print),
    "retry.on_throw()": lambda _: retry.on_throw(print),
    "retry.fetch()": lambda _: retry.fetch("http://localhost"),
}
BY_ID: dict[str, Callable[[], Any]] = {
    "trigger_and_wait()": lambda: tasks.trigger_and_wait("t", {}),
    "batch_trigger_and_wait()": lambda: tasks.batch_trigger_and_wait("t", [{"payload": 1}]),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_waiting_call_is_refused(my_task: Task[Any, Any], engine: Engine, name: str) -> None:
    with pytest.raises(OutsideRunError) as refused:
        CALLS[name](my_task)
    assert str(refused.value).startswith(f"{name} can only be called in a task's run")
    assert "runs.poll" in str(refused.value)
    assert not list(engine.client.scan_iter(f"{engine.scope}:run:*"))


@pytest.mark.parametrize("name", BY_ID)
def test_by_id_it_is_the_same(trigger: TriggerCelery, name: str) -> None:
    with pytest.raises(OutsideRunError) as refused:
        BY_ID[name]()
    assert name in str(refused.value)


async def test_in_async_code_it_is_the_same(my_task: Task[Any, Any]) -> None:
    with pytest.raises(OutsideRunError, match="wait.for_duration"):
        await wait.for_duration(seconds=1)


def test_without_a_bound_app(registry: None) -> None:
    with pytest.raises(NotBoundError):
        wait.create_token()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wait.for_duration(), "needs a length"),
        (lambda: wait.for_duration("1h", seconds=1), "one duration or units"),
        (lambda: wait.for_duration(second=1), "Did you mean 'seconds'"),
        (lambda: wait.for_duration(seconds=True), "not a number"),
        (lambda: wait.for_duration(seconds="1"), "not a number"),
        (lambda: wait.for_duration(seconds=-1), "negative"),
        (lambda: wait.for_duration(seconds=float("nan")), "finite"),
        (lambda: wait.for_duration("soon"), "not a duration"),
        (lambda: wait.for_duration(years=11), "10 years"),
        (lambda: wait.until(date="tomorrow"), "neither an ISO date"),
        (lambda: wait.until(date="1h"), "wait.for_duration"),
        (lambda: wait.until(date=3600), "wait.for_duration"),  # type: ignore[arg-type]
        (lambda: wait.for_duration(seconds=1, idempotency_key=""), "idempotency_key"),
        (lambda: wait.for_duration(seconds=1, idempotency_key="k" * 2049), "2,048"),
        (lambda: wait.for_duration(seconds=1, idempotency_key_ttl=0), "there is none"),
        (
            lambda: wait.for_duration(seconds=1, idempotency_key="k", idempotency_key_ttl=0),
            "no time at all",
        ),
        (lambda: wait.for_token(7), "not a token"),  # type: ignore[call-overload]
        (lambda: wait.for_token(), "not a token"),
        (lambda: wait.for_token(UNKNOWN, result_type=len), "result_type=<built-in function len>"),
    ],
)
def test_bad_input_is_named_before_that(
    trigger: TriggerCelery, call: Callable[[], Any], message: str
) -> None:
    with pytest.raises((InvalidDurationError, InvalidOptionError), match=message):
        call()


def test_a_token_that_cannot_exist(trigger: TriggerCelery) -> None:
    with pytest.raises(TokenNotFoundError, match="'token_1'"):
        wait.for_token("token_1")


def test_a_date_in_the_past_is_the_runs_affair(trigger: TriggerCelery) -> None:
    with pytest.raises(OutsideRunError):
        wait.until(date="1999-01-01", throw_if_in_the_past=True)
    assert issubclass(DateInPastError, ValueError)


@pytest.mark.parametrize("old", [{"token": UNKNOWN}, {"timeout_in_seconds": 5}])
def test_old_spellings_warn(trigger: TriggerCelery, old: dict[str, Any]) -> None:
    arguments = () if "token" in old else (UNKNOWN,)
    with (
        pytest.warns(DeprecationWarning, match="wait.create_token\\(timeout"),
        pytest.raises(OutsideRunError),
    ):
        wait.for_token(*arguments, **old)


def test_the_new_spelling_does_not_warn(trigger: TriggerCelery) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OutsideRunError):
            wait.for_token(UNKNOWN)
