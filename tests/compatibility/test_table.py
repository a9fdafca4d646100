"""What must keep working when `TriggerCelery(app)` is added to a Celery project: a test a row.

Each row has two halves. *Celery today*: `table.same` compares what Celery shows without the line and
with it: return values, states, results, messages on the broker, signals, callbacks, events; what is
called is in `table_program.py`, under the row's name. *With the line*: what the records show then.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.compatibility.conftest import Table
from trigger_celery import Run, runs
from trigger_celery.errors import RunNotFoundError

pytestmark = pytest.mark.processes


def delays(run: Run) -> list[float | None]:
    return [attempt.retry_delay for attempt in run.attempts]


def reasons(run: Run) -> list[str | None]:
    return [None if one.error is None else one.error.message for one in run.attempts]


def notes(run: Run) -> list[str | None]:
    return [attempt.note for attempt in run.attempts]


def test_kinds_of_tasks(table: Table) -> None:
    """`@app.task`, `@shared_task`, `bind=True`, a base class, a name of its own."""
    shows = table.same("kinds_of_tasks")
    assert [one["value"] for one in shows["results"][::3]] == [3, "hello"]
    for name in ("add", "shout", "describe", "watched"):
        assert table.run("kinds_of_tasks", name).task_identifier == f"table.{name}"


def test_calls(table: Table) -> None:
    """`.delay()`, `.apply_async()`, `send_task`, `.s()`, `.si()`: the same `AsyncResult`."""
    shows = table.same("calls")
    assert {one["type"] for one in shows["results"]} == {"celery.result.AsyncResult"}
    names = ("delay", "apply_async", "send_task", "s", "si", "signature")
    found = [table.run("calls", name) for name in names]
    assert [run.output for run in found] == [3, 4, 5, 6, 7, 8]
    assert [run.celery_task_id for run in found] == [
        table.line["calls"]["ids"][name] for name in names
    ]


def test_retries(table: Table) -> None:
    """`self.retry`, `autoretry_for`, `retry_backoff`, `retry_jitter`: attempts of one run."""
    assert table.same("retries")["times begun"] == [3, 4, 2, 2]
    flaky = table.run("retries", "flaky")
    assert (delays(flaky), reasons(flaky)) == ([0.2, 0.2, None], ["try 0", "try 1", None])
    gives_up = table.run("retries", "gives up", "FAILED")
    assert reasons(gives_up) == ["try 0", "try 1", "try 2", "try 3"]
    auto = table.run("retries", "auto", "FAILED")
    assert (delays(auto), reasons(auto)) == ([1.0, None], ["'try 0'", "'try 1'"])
    jittery = table.run("retries", "jittery")
    assert jittery.attempt_count == 2
    assert (jittery.attempts[0].retry_delay or 0) <= 1


def test_times(table: Table) -> None:
    """`countdown`, `eta`, `expires`; a delay that the broker would cut short is told."""
    shows = table.same("times")
    assert shows["not too early"] == [True, True]
    assert shows["late"][0] == "REVOKED"
    assert table.run("times", "countdown").notes == ()
    assert table.run("times", "late", "EXPIRED").attempts == ()
    far = table.run("times", "far", "DELAYED")
    assert far.delayed_until is not None
    assert far.created_at is not None
    assert abs(far.delayed_until - far.created_at - timedelta(hours=2)) < timedelta(minutes=1)
    assert far.notes == ("delay beyond the visibility timeout",)
    [warning] = [line for line in table.log.splitlines() if "visibility_timeout" in line]
    assert "task table.add is sent with a countdown or eta of 7," in warning


def test_rate_limit(table: Table) -> None:
    """`rate_limit="1/h"`: of each worker, as ever."""
    assert table.same("rate_limit")["held back"] == ["PENDING", []]
    assert table.run("rate_limit", "executed").attempt_count == 1
    assert table.run("rate_limit", "held back", "QUEUED").attempt_count == 0


def test_canvas(table: Table) -> None:
    """chain, group, chord, map, starmap, chunks, `link`, `link_error`, `self.replace`."""
    shows = table.same("canvas")
    assert [one["value"] for one in shows["chain"]] == [10, 13, 3]
    assert shows["chord"][0]["value"] == 6
    first, second, third = (table.run("canvas", f"chain{of}") for of in (" 1", " 2", ""))
    assert (first.parent_id, second.parent_id, third.parent_id) == (None, first.id, second.id)
    assert {second.root_id, third.root_id} == {first.id}
    assert table.run("canvas", "chord").payload == {"args": [[2, 4]], "kwargs": {}}
    assert table.run("canvas", "map").task_identifier == "celery.map"
    swapped = table.run("canvas", "swapped")
    assert (swapped.task_identifier, swapped.output, swapped.attempt_count) == (
        "table.swap",
        101,
        2,
    )
    assert table.run("canvas", "failed", "FAILED").error is not None
    assert table.run("canvas", "group").notes == ()
    flagged = table.run("canvas", "flagged")
    assert flagged.notes == ("in a chord without a result",)
    assert "in the header of a chord and ignores its result" in table.log


def test_beat(table: Table) -> None:
    """`beat_schedule`: beat goes on; its entries can be looked at."""
    assert table.same("beat")["sent"] == [["often"], ["often"]]
    tick = table.run("beat", "tick")
    assert (tick.task_identifier, tick.payload) == (
        "table.ticked", {"args": ["often"], "kwargs": {}},
    )  # fmt: skip
    assert table.entries == {
        "often": "every 0.3 s",
        "nightly": "30 2 * * *",
        "every-week": "every 604800 s",
        "dawn": "solar: dawn_civil at latitude 52.5, longitude: 13.4",
    }


def test_routing(table: Table) -> None:
    """`task_routes`, `queue=`, `exchange`, `priority`: the broker's queue is the run's."""
    shows = table.same("routing")
    assert [one["delivery"][:2] for one in shows["results"]] == [
        ["", "celery"], ["", "mail"], ["post", "letters"],
    ]  # fmt: skip
    queues = {
        name: table.run("routing", name).queue for name in ("default", "queue", "exchange", "route")
    }
    assert queues == {"default": "celery", "queue": "mail", "exchange": "mail", "route": "mail"}


def test_time_limits(table: Table) -> None:
    """`time_limit`, `soft_time_limit`: the run says which it was."""
    assert [one["state"] for one in table.same("time_limits")["results"]] == ["FAILURE", "FAILURE"]
    for name, error in (("soft", "SoftTimeLimitExceeded"), ("hard", "TimeLimitExceeded")):
        run = table.run("time_limits", name, "TIMED_OUT")
        assert run.error is not None
        assert run.error.name == error


def test_acknowledgements(table: Table) -> None:
    """`acks_late`, `reject_on_worker_lost`, `acks_on_failure_or_timeout`, `Reject`, `Ignore`."""
    assert table.same("acknowledgements")["times begun"] == [0, 2, 2, 1, 1, 1]
    died = table.run("acknowledgements", "died", "CRASHED")
    assert died.error is not None
    assert died.error.name == "WorkerLostError"
    assert table.run("acknowledgements", "died once").output == "the second time"
    back = table.run("acknowledgements", "back")
    assert notes(back) == ["returned to the broker", "redelivered"]
    assert notes(table.run("acknowledgements", "thrown", "FAILED")) == ["rejected"]
    assert notes(table.run("acknowledgements", "ignored")) == ["ignored"]
    unacked = table.run("acknowledgements", "unacked", "FAILED")
    assert reasons(unacked) == ["not acknowledged"]


def test_results(table: Table) -> None:
    """`ignore_result`, the result backend, `AsyncResult`, `update_state`, whose meta is metadata."""
    shows = table.same("results")
    assert shows["silent"] == ["PENDING", None, None]
    assert shows["on the way"][0] == {"done": 3, "of": 9, "password": "hunter2"}
    assert table.run("results", "silent").output == "nobody hears it"
    said = table.run("results", "progress")
    assert said.metadata == {"done": 3, "of": 9, "password": "[redacted]", "state": "PROGRESS"}
    parent, child = table.run("results", "parent"), table.run("results", "child")
    assert (child.parent_id, child.root_id) == (parent.id, parent.id)


def test_signals_and_serializers(table: Table) -> None:
    """Signals, `task_always_eager`, json, yaml, msgpack, pickle, headers, hooks of a base class."""
    shows = table.same("signals_and_serializers")
    assert shows["eager"] == ["EagerResult", "SUCCESS", "hello"]
    assert shows["by the worker"][0][:4] == [
        "signal task_prerun",
        "before_start",
        "body",
        "on_success",
    ]
    with pytest.raises(RunNotFoundError):
        runs.retrieve(table.line["signals_and_serializers"]["ids"]["eager"]).sync()
    arguments = {
        kind: table.run("signals_and_serializers", kind).payload["args"][0]
        for kind in ("json", "yaml", "msgpack", "pickle")
    }
    assert arguments == {
        "json": [1], "yaml": [1, None], "msgpack": [1, "é"], "pickle": [{7}, {"size": "x"}],
    }  # fmt: skip
    for kind in arguments:
        old, again = (
            table.run("signals_and_serializers", name) for name in (kind, f"{kind} again")
        )
        assert (again.output, again.replayed_from) == (old.output, old.id)
    assert "<odd x>" in again.output


def test_pools_and_brokers(table: Table) -> None:
    """threads, gevent, and solo with a broker that is no Redis; prefork are the other rows.

    RabbitMQ: `tests/worker/test_rabbitmq.py`.
    """
    table.same("pools_and_brokers")
    for pool in ("threads", "gevent", "solo"):
        run = table.run("pools_and_brokers", f"{pool} describe")
        assert (run.queue, run.attempts[0].worker) == (pool, f"{pool}@tests")
        failed = table.run("pools_and_brokers", f"{pool} fail", "FAILED")
        assert reasons(failed) == ["no"]
        assert delays(table.run("pools_and_brokers", f"{pool} auto", "FAILED")) == [1.0, None]


def test_events(table: Table) -> None:
    """What Flower and exporters hear. Sentry, Flower: `tests/worker/test_beside_us.py`."""
    first, _, tried = table.same("events")["counts"]
    assert dict(first) == dict.fromkeys(
        ("task-sent", "task-received", "task-started", "task-succeeded"), 1
    )
    assert dict(tried)["task-retried"] == 1
    assert table.run("events", "jittery").attempt_count == 2
