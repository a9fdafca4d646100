"""An attempt starts once, ends once, and only its present holder may write."""

from __future__ import annotations

import dataclasses

import pytest

from tests.driving import ERROR, RETENTION, Engine
from trigger_celery.engine import attempts
from trigger_celery.engine.attempts import Ending
from trigger_celery.model.ids import op_id
from trigger_celery.model.packet import JSON, TEXT
from trigger_celery.model.run import RunStatus


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register()


def test_a_worker_gets_all_it_needs_with_the_run(engine: Engine) -> None:
    run = engine.create(
        queue="q", key="k", priority=1500, tags=("a", "b"), max_attempts=7, payload='{"a":"\x1f"}'
    )
    grant = engine.take_one()
    assert (grant.id, grant.task, grant.queue, grant.concurrency_key) == (run, "t", "q", "k")
    assert (grant.attempt, grant.executing, grant.max_attempts) == (1, True, 7)
    assert (grant.priority_ms, grant.tags) == (1500, ("a", "b"))
    assert (grant.payload_type, grant.payload) == (JSON, '{"a":"\x1f"}')


def test_a_run_is_handed_to_one_worker(engine: Engine) -> None:
    engine.register("w2")
    engine.create_many(10)
    first, second = engine.take("w1", 6), engine.take("w2", 6)
    assert (len(first), len(second)) == (6, 4)
    assert not {grant.id for grant in first} & {grant.id for grant in second}


def test_dequeue_then_start(engine: Engine) -> None:
    run = engine.create()
    grant = engine.take_one(start=False)
    assert (engine.status(run), grant.executing, grant.attempt) == ("DEQUEUED", False, 0)
    assert engine.start(grant) == 1
    assert engine.status(run) == "EXECUTING"
    assert engine.read(run).started_at is not None


def test_two_deliveries_of_one_start_execute_once(engine: Engine) -> None:
    engine.create()
    grant = engine.take_one(start=False)
    assert [engine.start(grant), engine.start(grant)] == [1, None]


def test_a_repeated_start_call_gets_its_first_answer(engine: Engine) -> None:
    engine.create()
    grant = engine.take_one(start=False)
    assert [engine.start(grant, op="once"), engine.start(grant, op="once")] == [1, 1]
    assert engine.start(grant, op="other") is None


def test_a_start_with_a_wrong_epoch_is_refused(engine: Engine) -> None:
    run = engine.create()
    grant = engine.take_one(start=False)
    for epoch in ("0", grant.epoch + "0", str(int(grant.epoch) - 1), ""):
        assert engine.start(dataclasses.replace(grant, epoch=epoch)) is None
    assert engine.status(run) == "DEQUEUED"


def test_a_cancelled_run_cannot_be_started(engine: Engine) -> None:
    run = engine.create()
    grant = engine.take_one(start=False)
    engine.cancel(run)
    assert engine.start(grant) is None


def test_a_run_that_is_done_keeps_its_output(engine: Engine) -> None:
    run = engine.create()
    assert engine.end(engine.take_one(), data='{"label":1}') == "ok"
    done = engine.read(run)
    assert (done.status, done.output, done.error) == (RunStatus.COMPLETED, {"label": 1}, None)
    assert done.finished_at is not None


@pytest.mark.parametrize("size", [0, 62, 63, 64, 65, 100_000])
def test_an_output_of_any_size_comes_back_whole(engine: Engine, size: int) -> None:
    run = engine.create()
    engine.end(engine.take_one(), data='"' + "x" * size + '"')
    assert engine.read(run).output == "x" * size


def test_text_comes_back_as_text(engine: Engine) -> None:
    run = engine.create()
    engine.end(engine.take_one(), detail=TEXT, data="{not json")
    assert engine.read(run).output == "{not json"


@pytest.mark.parametrize("status", ["FAILED", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT"])
def test_a_run_that_failed_keeps_its_error_and_its_attempt(engine: Engine, status: str) -> None:
    run = engine.create()
    assert engine.fail(engine.take_one(), status) == "ok"
    failed = engine.read(run)
    assert failed.status == status
    assert failed.error is not None
    assert failed.error.message == "no"
    assert [(attempt.number, attempt.error) for attempt in failed.attempts] == [(1, failed.error)]


@pytest.mark.parametrize("status", ["EXPIRED", "QUEUED", "DELAYED", "nonsense"])
def test_an_attempt_cannot_end_in_a_status_that_the_table_forbids(
    engine: Engine, status: str
) -> None:
    run = engine.create()
    assert engine.fail(engine.take_one(), status) == "stale"
    assert engine.status(run) == "EXECUTING"


def test_the_first_final_outcome_wins(engine: Engine) -> None:
    run = engine.create()
    grant = engine.take_one()
    assert engine.end(grant, data='"first"') == "ok"
    before = engine.fields(run)
    assert engine.fail(grant) == "final"
    assert engine.end(grant, data='"second"') == "final"
    assert engine.retry(grant, 0) == "final"
    assert engine.back(grant) == "final"
    assert engine.fields(run) == before


def test_the_same_ending_again_gets_the_same_answer(engine: Engine) -> None:
    engine.create()
    grant = engine.take_one()
    assert [engine.end(grant, op="x"), engine.end(grant, op="x")] == ["ok", "ok"]


def test_an_ending_needs_the_present_epoch(engine: Engine) -> None:
    run = engine.create()
    old = engine.take_one()
    engine.back(old)
    new = engine.take_one()
    assert int(new.epoch) > int(old.epoch)
    for kind in (engine.end, engine.fail, engine.back, engine.unknown):
        assert kind(old) == "stale"
    assert engine.retry(old, 0) == "stale"
    assert engine.status(run) == "EXECUTING"
    assert engine.end(new) == "ok"


def test_epochs_grow_even_when_the_server_has_lost_its_last_writes(engine: Engine) -> None:
    engine.create()
    kept = engine.photograph()
    old = engine.take_one()
    engine.restore(kept)
    new = engine.take_one()
    assert int(new.epoch) > int(old.epoch)
    assert engine.end(old) == "stale"
    assert engine.end(new) == "ok"


@pytest.mark.parametrize(
    ("kind", "detail"),
    [("done", JSON), ("failed", "FAILED"), ("failed", "SYSTEM_FAILURE"), ("failed", "CANCELED"),
     ("retry", 0), ("retry", 30_000), ("lost", 0), ("lost", "")],
)  # fmt: skip
def test_an_unstarted_run_can_only_be_given_back(
    engine: Engine, kind: str, detail: str | int
) -> None:
    run = engine.create()
    grant = engine.take_one(start=False)
    assert engine.end(grant, kind, detail, ERROR) == "stale"
    assert engine.status(run) == "DEQUEUED"


def test_a_run_given_back_has_used_no_attempt(engine: Engine) -> None:
    run = engine.create()
    for start in (False, True):
        assert engine.back(engine.take_one(start=start)) == "ok"
        assert engine.status(run) == "QUEUED"
    assert engine.take_one().attempt == 1


def test_endings_of_runs_that_are_gone_are_told_so(engine: Engine) -> None:
    engine.create()
    grant = dataclasses.replace(engine.take_one(), id="run_" + "0" * 26)
    assert engine.end(grant) == "gone"


def test_endings_and_the_next_runs_travel_in_one_call(engine: Engine) -> None:
    runs = engine.create_many(5)
    one, two, three = engine.take(want=3)
    engine.end(three)
    endings = [
        Ending(one.id, one.epoch, "done", JSON, "1"),
        Ending(two.id, two.epoch, "failed", "FAILED", ERROR),
        Ending(three.id, three.epoch, "done", JSON, "1"),
    ]
    answer = engine.dequeue("w1", 5, endings)
    assert answer.answers == ["ok", "ok", "final"]
    assert [grant.id for grant in answer.runs or ()] == runs[3:]


def test_endings_count_although_the_lease_is_gone_and_no_runs_are_given(engine: Engine) -> None:
    first, second = engine.create_many(2)
    grant = engine.take_one()
    engine.client.zrem(engine.key("workers"), "w1")
    answer = engine.dequeue("w1", 5, [Ending(grant.id, grant.epoch, "done", JSON, "1")])
    assert answer.answers == ["ok"]
    assert answer.runs is None
    assert engine.statuses([first, second]) == ["COMPLETED", "QUEUED"]


def test_no_endings_no_answers(engine: Engine) -> None:
    assert engine.run(attempts.finish(engine.scope, op_id(), [], RETENTION)) == []
