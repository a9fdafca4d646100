"""What runs say is in their logs, on every pool, once, and in theirs only."""

from __future__ import annotations

import time

import pytest

from tests.waiting import wait_until
from tests.worker.workers import Deployment
from trigger_celery import RunStatus, runs, wait
from trigger_celery.model.log_line import LogLine

pytestmark = pytest.mark.processes

EVERYTHING = [
    ("info", "structured", "logger"),
    ("info", "as in TypeScript", "logger"),
    ("warn", "careful", "logger"),
    ("warn", "by the standard library: 7", "logging"),
    ("warn", "by Celery's task logger", "logging"),
    ("info", "printed words", "print"),
    ("info", "second line", "print"),
    ("error", "it failed", "logger"),
    ("info", "inside", "logger"),
    ("info", "sync span", "span"),
]


def log_of(run: str) -> list[LogLine]:
    return list(runs.logs(run))


def said(run: str) -> list[str]:
    return [line.message for line in log_of(run)]


@pytest.mark.parametrize("kind", ["", "-sync"])
def test_all_that_a_run_says_is_there_when_it_has_ended(shared: Deployment, kind: str) -> None:
    began = time.time()
    run = shared.run(f"say{kind}", {"id": 4711, "none": None})
    lines = log_of(run.id)
    assert run.status == RunStatus.COMPLETED, run.error
    assert [(line.level, line.message, line.source) for line in lines[:10]] == EVERYTHING
    more = [line.message for line in lines[10:]]
    if kind:
        assert more == []
    else:
        assert more[:2] == ["async span", "in a thread"]
        assert sorted(more[2:]) == ["task 0", "task 1"]
    structured, _, careful, plain, of_celery, _, _, failed, inside, span = lines[:10]
    clash = {"message": "m", "name": "n", "args": [1], "levelname": "x"}
    assert structured.attributes == {"id": 4711, "none": None, **clash}
    assert careful.attributes == {"password": "[redacted]", "nested": {"api_key": "[redacted]"}}
    assert (plain.logger, plain.attributes) == ("shop.orders", {"order": 4711})
    assert not of_celery.attributes  # Celery's formatter gives its records the task's id and name
    assert failed.exception is not None
    assert failed.exception.endswith("ValueError: no luck\n")
    assert (inside.parent_span_id, span.parent_span_id) == (span.span_id, None)
    assert span.duration_ms is not None
    assert all(line.attempt == 1 and began <= line.at.timestamp() + 0.01 for line in lines)
    assert 0 < run.output["ms"] < (time.time() - began) * 1000
    assert began - 30 < run.output["beat"] <= time.time()
    (worker,) = shared.workers
    assert "CANARY" not in worker.log
    wait_until(lambda: "second line" in worker.log, "Celery's redirection has it as well")


def test_every_attempt_says_its_own(shared: Deployment) -> None:
    run = shared.run("say-and-fail", {})
    assert [(line.message, line.attempt) for line in log_of(run.id)] == [
        ("trying", attempt) for attempt in (1, 2, 3)
    ]


def test_runs_next_to_each_other_keep_their_lines_apart(shared: Deployment) -> None:
    ids = shared.batch("say-in-threads", [f"number {number}" for number in range(30)])
    shared.wait_all(ids)
    assert [said(run) for run in ids] == [[f"number {number}"] for number in range(30)]


def test_nothing_is_said_again_after_a_wait(shared: Deployment) -> None:
    token = wait.create_token().sync()
    run = shared.trigger("say-around-a-wait", token.id)
    wait_until(lambda: shared.status(run) == "WAITING", "it waits")
    wait_until(lambda: len(said(run)) == 3, "what it said is there while it waits")
    time_of_waiting = time.monotonic()
    wait_until(lambda: time.monotonic() - time_of_waiting > 0.5, "its memory is given up")
    wait.complete_token(token).sync()
    ended = shared.wait(run)
    before = ["before", "plain before", "printed before"]
    assert said(run) == [*before, "printed after", "after"]
    assert ended.output["active"] < 400  # the wait does not count
