"""What waiting calls answer: results that are values, dicts and errors to raise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.driving import Engine
from trigger_celery import (
    BatchResult,
    SubtaskUnwrapError,
    TaskResult,
    TokenResult,
    TriggerCelery,
    WaitpointTimeoutError,
    runs,
    tasks,
    wait,
)
from trigger_celery.engine.querying import read_outcomes
from trigger_celery.model.packet import decode, encode
from trigger_celery.sdk.results import result_of

pytestmark = pytest.mark.usefixtures("trigger")


@pytest.fixture
def worker(engine: Engine) -> Engine:
    engine.register()
    return engine


def result(worker: Engine, run: str) -> TaskResult[Any]:
    """Return what a parent gets of a run."""
    (outcome,) = worker.run(read_outcomes(worker.scope, [run]))
    return result_of(outcome)


def completed(worker: Engine, output: str = '{"a":1}') -> TaskResult[Any]:
    handle = tasks.trigger("t").sync()
    worker.end(worker.take_one(), data=output)
    return result(worker, handle.id)


def failed(worker: Engine) -> TaskResult[Any]:
    handle = tasks.trigger("t").sync()
    worker.fail(worker.take_one())
    return result(worker, handle.id)


def test_the_result_of_a_run_that_completed(worker: Engine) -> None:
    result = completed(worker)
    assert (result.ok, result.task_identifier, result.output) == (True, "t", {"a": 1})
    assert result.error is None
    assert result.unwrap() == {"a": 1}
    assert result == {"ok": True, "id": result.id, "task_identifier": "t", "output": {"a": 1}}


def test_the_result_of_a_run_that_did_not(worker: Engine) -> None:
    result = failed(worker)
    assert (result.ok, result.output) == (False, None)
    assert result.error is not None
    assert result.error.name == "ValueError"
    assert set(result) == {"ok", "id", "task_identifier", "error"}
    with pytest.raises(SubtaskUnwrapError, match="did not complete: ValueError: no") as raised:
        result.unwrap()
    assert (raised.value.run_id, raised.value.task_id) == (result.id, "t")
    assert raised.value.error == result.error


def test_a_cancelled_run_has_its_reason(worker: Engine) -> None:
    handle = tasks.trigger("t").sync()
    runs.cancel(handle, reason="ordered twice").sync()
    cancelled = result(worker, handle.id)
    assert not cancelled.ok
    assert cancelled.error is not None
    assert cancelled.error.message == "ordered twice"


@pytest.mark.parametrize("which", [completed, failed])
def test_a_task_may_return_a_result_as_it_is(worker: Engine, which: Any) -> None:
    result = which(worker)
    assert json.loads(json.dumps(result)) == result
    packet = encode({"child": result})
    assert decode(packet.data, packet.type) == {"child": dict(result)}


def test_the_result_of_a_batch(worker: Engine) -> None:
    good, bad = completed(worker), failed(worker)
    result = BatchResult("batch_1", [good, bad])
    assert [one.ok for one in result] == [True, False]
    assert (len(result), result[0], result.runs) == (2, good, [good, bad])
    with pytest.raises(SubtaskUnwrapError, match=bad.id):
        result.unwrap()
    assert BatchResult("batch_1", [good, good]).unwrap() == [{"a": 1}] * 2


def test_the_result_of_a_token() -> None:
    result = TokenResult(True, {"by": "Ada"})
    assert result.data == result.output == result.unwrap() == {"by": "Ada"}
    assert result.error is None


def test_the_result_of_a_token_that_timed_out() -> None:
    result: TokenResult[Any] = TokenResult(False, None, WaitpointTimeoutError("too late"))
    assert (result.ok, result.data) == (False, None)
    with pytest.raises(WaitpointTimeoutError, match="too late"):
        result.unwrap()


def test_an_operation_that_is_never_run_warns(trigger: TriggerCelery) -> None:
    with pytest.warns(RuntimeWarning, match=r"wait.create_token was never run: write `await"):
        wait.create_token()
