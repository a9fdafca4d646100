"""Recorded runs: facts in any order, twice, late or never make the same record."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import police
from tests.driving import DAY, LEASE, RETENTION, Clock, Engine
from trigger_celery.engine import recording
from trigger_celery.engine.recording import About, Fact, end_detail, start_detail
from trigger_celery.engine.services.pruner import Pruner
from trigger_celery.model.ids import run_id_of, token
from trigger_celery.model.packet import JSON
from trigger_celery.model.recorded import BACK, RETRY, position
from trigger_celery.model.run import Run
from trigger_celery.model.run_error import RunError

STEP = 10.0
"""Seconds between two facts: what is measured is some ms off, never this much."""
FINAL = ("COMPLETED", "CANCELED", "TIMED_OUT", "FAILED", "EXPIRED", "CRASHED")
THROWN_AWAY = "SYSTEM_FAILURE"
"""What a worker says that executes nothing of a message."""


def error(text: str) -> str:
    return json.dumps(RunError("ValueError", text).to_dict())


@dataclass(frozen=True)
class Happened:
    """A fact, without the run it is of. `at` in steps of ten seconds."""

    kind: str
    retries: int
    at: int
    execution: str = ""
    outcome: str = ""
    due: int | None = None

    def of(self, task_id: str, base: float) -> Fact:
        at = base + self.at * STEP
        where = "~" if self.retries < 0 else position(0, self.retries)
        about = About(task_id, "old.task", "celery", None, task_id, JSON)
        payload = f'{{"args":[{max(0, self.retries)}],"kwargs":{{}}}}'
        if self.kind == "p":
            due = "" if self.due is None else str(self.due * 1000)
            return Fact(
                run_id_of(task_id), "p", where, at, about=about, payload=payload, detail=due
            )
        if self.kind == "s":
            return Fact(
                run_id_of(task_id), "s", where, at, execution=self.execution, about=about,
                payload=payload, detail=start_detail("w@host", self.execution == "again"),
            )  # fmt: skip
        more = JSON if self.outcome == "COMPLETED" else "10000" if self.outcome == RETRY else ""
        body = str(self.at) if self.outcome == "COMPLETED" else error(self.outcome)
        no_payload = About(task_id, "old.task", "celery", None, task_id, "")
        return Fact(
            run_id_of(task_id), "e", where, at, execution=self.execution, about=no_payload,
            detail=end_detail(self.outcome, more), body=body,
        )  # fmt: skip


def published(retries: int, at: int, due: int | None = None) -> Happened:
    return Happened("p", retries, at, due=due)


def started(retries: int, at: int, execution: str = "x") -> Happened:
    return Happened("s", retries, at, execution)


def ended(retries: int, at: int, outcome: str, execution: str = "x") -> Happened:
    return Happened("e", retries, at, execution, outcome)


class Recording:
    """Sends facts as producers and workers do."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.base = time.monotonic() - 1000 * STEP

    def send(self, task_id: str, *happened: Happened, dropped: int = 0) -> int:
        facts = [one.of(task_id, self.base) for one in happened]
        return self.send_facts(facts, dropped)

    def send_facts(self, facts: Sequence[Fact], dropped: int = 0) -> int:
        calls = recording.record_calls(
            self.engine.scope, facts, time.monotonic(), LEASE, RETENTION, dropped
        )
        return sum(self.engine.store.send(*calls))

    def renew(self, task_id: str, retries: int = 0, execution: str = "x") -> None:
        place = (run_id_of(task_id), position(0, retries), execution)
        self.engine.store.send(recording.renew_call(self.engine.scope, [place], LEASE, RETENTION))

    def sweep(self) -> tuple[str, ...]:
        return self.engine.run(recording.sweep_recorded(self.engine.scope, LEASE, RETENTION)).lost

    def read(self, task_id: str) -> Run:
        return self.engine.read(run_id_of(task_id))


@pytest.fixture
def recorder(engine: Engine) -> Recording:
    return Recording(engine)


# Any order


def steps_of(moment: datetime | None, base: datetime) -> int | None:
    return None if moment is None else round((moment - base).total_seconds() / STEP)


def shape(run: Run, base: datetime) -> dict[str, Any]:
    """Return all that a run shows, its times in steps."""
    times = ("created_at", "started_at", "finished_at", "delayed_until", "queued_at")
    return {
        **{name: steps_of(getattr(run, name), base) for name in times},
        **{
            name: getattr(run, name)
            for name in (
                "status",
                "payload",
                "output",
                "error",
                "attempt_count",
                "queue",
                "recorded",
            )
        },
        "attempts": [
            (
                attempt.number,
                steps_of(attempt.started_at, base),
                steps_of(attempt.finished_at, base),
                attempt.error,
                attempt.retry_delay,
                attempt.note,
            )
            for attempt in run.attempts
        ],
    }


def expected(happened: Sequence[Happened]) -> str:
    """Say in which status the facts leave a run: the rules once more, in other words."""
    top = max((one.retries for one in happened), default=-1)
    here = [one for one in happened if one.retries in (top, -1)]
    ends = [one for one in here if one.kind == "e" and one.outcome in FINAL]
    over = {one.execution for one in here if one.kind == "e" and one.retries == top}
    going = [one.at for one in here if one.kind == "s" and one.execution not in over]
    if any(one.outcome == "COMPLETED" for one in ends):
        return "COMPLETED"
    if ends:
        best = min(ends, key=lambda one: (FINAL.index(one.outcome), one.at))
        return "EXECUTING" if going and max(going) > best.at else best.outcome
    if going:
        return "EXECUTING"
    if any(one.outcome == THROWN_AWAY for one in here):
        return THROWN_AWAY
    return "DELAYED" if any(one.due and one.due > 9000 for one in here) else "QUEUED"


@st.composite
def histories(draw: st.DrawFn) -> list[Happened]:
    """What producers and workers may say of a task, some of it missing."""
    said: list[Happened] = []
    at = 0
    for retries in range(draw(st.integers(1, 3))):
        said.append(published(retries, at, draw(st.sampled_from([None, None, 100_000]))))
        for execution in draw(st.sampled_from([(), ("x",), ("x", "again")])):
            at += 1
            said.append(started(retries, at, execution))
            outcome = draw(st.sampled_from(["", BACK, RETRY, *FINAL]))
            if outcome:
                at += 1
                said.append(ended(retries, at, outcome, execution))
        if draw(st.sampled_from([False, False, True])):
            at += 1
            moment = draw(st.integers(0, at))  # workers may get the message in any order
            said.append(ended(retries, moment, THROWN_AWAY, ""))
        at += 1
    if draw(st.booleans()):
        at += 1
        said.append(ended(-1, at, draw(st.sampled_from(["CRASHED", "TIMED_OUT", "CANCELED"])), ""))
    kept = draw(st.lists(st.booleans(), min_size=len(said), max_size=len(said)))
    # Most arrive; what a killed process had not sent yet does not.
    lost = draw(st.sampled_from([0, 0, 1]))
    return [one for one, keep in zip(said, kept, strict=True) if keep or not lost] or said[:1]


def test_any_order_in_any_parcels_gives_the_same_run(
    engine: Engine, recorder: Recording, client: redis.Redis
) -> None:
    number = 0

    @settings(max_examples=60, deadline=None)
    @given(histories(), st.randoms(use_true_random=False))
    def check(happened: list[Happened], rng: random.Random) -> None:
        nonlocal number
        number += 1
        shapes = []
        in_order, shuffled = list(happened), [*happened, rng.choice(happened)]
        rng.shuffle(shuffled)
        for name, order in (("a", in_order), ("b", shuffled)):
            task_id = f"{number}-{name}"
            while order:
                count = rng.randint(1, len(order))
                recorder.send(task_id, *order[:count])
                order = order[count:]
            run = recorder.read(task_id)
            base = min(
                filter(None, [run.created_at, run.started_at, run.finished_at]),
            )
            shapes.append(shape(run, base))
        assert shapes[0] == shapes[1]
        assert shapes[0]["status"] == expected(happened)

    check()
    police.inspect(client, engine.scope)


# What is told late, twice, or not at all


def test_the_same_call_again_changes_nothing(engine: Engine, recorder: Recording) -> None:
    facts = [published(0, 0), started(0, 1), ended(0, 2, "COMPLETED")]
    recorder.send("t", *facts)
    before = {name: dump for name, (dump, _) in engine.photograph().items()}
    recorder.send("t", *facts)
    assert {name: dump for name, (dump, _) in engine.photograph().items()} == before


def test_an_output_of_a_later_delivery_does_not_replace_the_first(recorder: Recording) -> None:
    recorder.send("t", published(0, 0), started(0, 1), ended(0, 2, "COMPLETED"))
    recorder.send("t", started(0, 3, "again"), ended(0, 4, "FAILED", "again"))
    run = recorder.read("t")
    assert (run.status, run.output, run.error) == ("COMPLETED", 2, None)
    assert [attempt.note for attempt in run.attempts] == [None, "redelivered"]


def test_a_failure_that_is_delivered_again_executes_again(recorder: Recording) -> None:
    recorder.send("t", published(0, 0), started(0, 1), ended(0, 2, "FAILED"))
    recorder.send("t", started(0, 3, "again"))
    run = recorder.read("t")
    assert (run.status, run.error, run.finished_at) == ("EXECUTING", None, None)
    recorder.send("t", ended(0, 4, "COMPLETED", "again"))
    assert recorder.read("t").status == "COMPLETED"


def test_a_worker_that_executes_a_message_counts_before_one_that_threw_it_away(
    recorder: Recording, clock: Clock
) -> None:
    recorder.send("t", published(0, 0), ended(0, 1, THROWN_AWAY, ""))
    run = recorder.read("t")
    assert (run.status, run.error.message, run.attempts) == (THROWN_AWAY, THROWN_AWAY, ())
    recorder.send("t", started(0, 2))
    run = recorder.read("t")
    assert (run.status, run.error, run.finished_at) == ("EXECUTING", None, None)
    assert (run.attempts[0].finished_at, run.attempts[0].error) == (None, None)
    recorder.send("t", ended(0, 4, "CRASHED"))
    assert recorder.read("t").status == "CRASHED"
    # Also when it began before: another delivery of the message came to the other worker.
    recorder.send("b", published(0, 0), started(0, 1), ended(0, 2, THROWN_AWAY, ""))
    assert recorder.read("b").status == "EXECUTING"
    clock.advance(LEASE + 1)
    recorder.sweep()
    assert recorder.read("b").status == "CRASHED"


def test_a_silent_execution_is_presumed_lost_until_it_speaks(
    recorder: Recording, clock: Clock, engine: Engine
) -> None:
    engine.register("w1", ["t"])
    engine.sweep()
    clock.advance(LEASE)
    engine.sweep()  # the first one of all holds off for a lease
    recorder.send("t", published(0, 990), started(0, 991))
    clock.advance(LEASE - 5000)
    recorder.renew("t")
    clock.advance(LEASE - 5000)
    assert recorder.sweep() == ()
    clock.advance(5001)
    assert recorder.sweep() == (run_id_of("t"),)
    run = recorder.read("t")
    assert run.status == "CRASHED"
    assert run.error is not None
    assert run.error.code == "TASK_RUN_WORKER_SILENT"
    assert run.attempts[0].note == "presumed lost"
    recorder.renew("t")
    assert recorder.read("t").status == "EXECUTING"
    clock.advance(LEASE + 1)
    recorder.sweep()
    recorder.send("t", started(0, 992, "again"))
    assert recorder.read("t").status == "EXECUTING"
    recorder.send("t", ended(0, 993, "COMPLETED", "again"))
    run = recorder.read("t")
    assert (run.status, run.error) == ("COMPLETED", None)


def test_after_an_outage_nobody_is_presumed_lost(
    recorder: Recording, clock: Clock, engine: Engine
) -> None:
    recorder.send("t", started(0, 991))
    clock.advance(10 * LEASE)
    engine.sweep()
    assert recorder.sweep() == ()
    recorder.renew("t")
    clock.advance(LEASE - 1)
    engine.sweep()
    assert recorder.sweep() == ()
    assert recorder.read("t").status == "EXECUTING"


def test_a_delayed_run_is_queued_when_it_is_due(recorder: Recording, clock: Clock) -> None:
    recorder.send("t", published(0, 999, due=3600))
    assert recorder.read("t").status == "DELAYED"
    recorder.sweep()
    assert recorder.read("t").status == "DELAYED"
    clock.advance(3_600_000)
    recorder.sweep()
    assert recorder.read("t").status == "QUEUED"


def test_a_run_that_nobody_speaks_of_is_pruned_and_a_final_one_after_its_retention(
    recorder: Recording, clock: Clock, engine: Engine
) -> None:
    recorder.send("silent", published(0, 999))
    recorder.send("far", published(0, 999, due=30 * DAY // 1000))
    recorder.send("done", published(0, 998), started(0, 999), ended(0, 999, "COMPLETED"))
    clock.advance(max(RETENTION, DAY) + 60_000)
    engine.prune()
    assert engine.status(run_id_of("silent")) == engine.status(run_id_of("done")) == ""
    assert engine.status(run_id_of("far")) == "DELAYED"


# Beside the engine's runs


def test_a_run_of_the_engine_is_left_alone(recorder: Recording, engine: Engine) -> None:
    run = engine.create()
    before = engine.fields(run)
    assert recorder.send(run, published(0, 0), started(0, 1), ended(0, 2, "FAILED")) == 3
    assert engine.fields(run) == before


def test_a_record_gives_way_to_the_run_that_is_made_of_its_message(
    recorder: Recording, engine: Engine
) -> None:
    """The producer did not know that the task makes runs; a worker that does has the message."""
    run, parent = run_id_of("t"), run_id_of("parent")
    about = About("t", "old.task", "celery", parent, parent, JSON, again=f"{run}\x1e\x1espring")
    fact = Fact(run, "p", "0", time.monotonic(), about=about, payload=f'"{"x" * 100}"')
    recorder.send_facts([fact])
    changes = int(engine.fields(run)["n"])
    engine.register("w1", ["t"])
    assert engine.create(id=run) == run
    made = engine.read(run)
    assert (made.recorded, made.status, made.tags, made.parent_id) == (False, "QUEUED", (), None)
    assert int(engine.fields(run)["n"]) > changes
    assert recorder.send("t", published(0, 0)) == 1, "what is told later does not count"
    engine.create(id=run)
    [grant] = engine.take()
    engine.end(grant)
    assert engine.status(run) == "COMPLETED"
    assert engine.take() == []


def test_the_engine_leaves_recorded_runs_alone(recorder: Recording, engine: Engine) -> None:
    recorder.send("t", published(0, 0))
    run = run_id_of("t")
    assert engine.cancel(run) == "QUEUED"
    engine.register("w1", ["old.task"], {"celery": 5})
    assert engine.take() == []
    assert engine.status(run) == "QUEUED"


def test_a_parent_of_the_engine_knows_its_recorded_children_and_is_cancelled_alone(
    recorder: Recording, engine: Engine
) -> None:
    engine.register("w1", ["t"])
    parent = engine.begin()
    about = About("child", "old.task", "celery", parent.id, parent.id, JSON)
    now = time.monotonic()
    recorder.send_facts([Fact(run_id_of("child"), "p", "0", now, about=about, payload="1")])
    child = recorder.read("child")
    assert (child.parent_id, child.root_id, child.depth) == (parent.id, parent.id, 1)
    assert engine.members("children", parent.id) == [child.id]
    engine.cancel(parent.id)
    engine.fire()
    assert engine.status(child.id) == "QUEUED"


def test_a_family_is_the_same_in_whatever_order_its_messages_are_told(
    recorder: Recording, engine: Engine
) -> None:
    """A child may be executed, and told of, before its parent's process tells of the parent."""
    now = time.monotonic()
    for number, order in enumerate(itertools.permutations(range(5))):
        a, b, c = (f"{name}{number}" for name in "abc")
        messages = [
            (a, "", 0),
            (b, a, 0),
            (c, b, 0),
            (c, c, 1),
            (a, a, 1),
        ]  # two replaced themselves
        for task_id, parent, nesting in (messages[index] for index in order):
            about = About(task_id, "old.task", "celery", parent or None, a, JSON)
            place = position(nesting, 0)
            fact = Fact(run_id_of(task_id), "p", place, now, about=about, payload="1")
            recorder.send_facts([fact])
        links = [(run.parent_id, run.root_id, run.depth) for run in map(recorder.read, (a, b, c))]
        a, b, c = map(run_id_of, (a, b, c))
        assert links == [(None, None, 0), (a, a, 1), (b, a, 2)], order
        children = [engine.members("children", run) for run in (a, b, c)]
        assert children == [[b], [c], []], order


def test_an_end_of_which_nobody_knows_the_task_does_not_count(recorder: Recording) -> None:
    fact = Fact(run_id_of("t"), "e", "0", time.monotonic(), detail=end_detail("COMPLETED", JSON))
    assert recorder.send_facts([fact]) == 1


def test_who_knows_the_function_says_what_the_payload_is(recorder: Recording) -> None:
    """A producer that does not know it cannot know which arguments are secrets."""
    run, now = run_id_of("t"), time.monotonic()
    blind = About("t", "old.task", "celery", None, None, JSON, blind=True)
    sees = About("t", "old.task", "celery", None, None, JSON)
    secret = json.dumps({"args": ["hunter2" * 20], "kwargs": {}})
    masked = json.dumps({"args": ["[redacted]"], "kwargs": {}})
    recorder.send_facts([Fact(run, "p", "0", now, about=blind, payload=secret)])
    recorder.send_facts(
        [
            Fact(
                run,
                "s",
                "0",
                now,
                execution="x",
                about=sees,
                payload=masked,
                detail=start_detail("w", False),
            )
        ]
    )
    assert recorder.read("t").payload == json.loads(masked)
    recorder.send_facts([Fact(run, "p", "0", now, about=blind, payload=secret)])
    assert recorder.read("t").payload == json.loads(masked)


@pytest.mark.parametrize("worker_first", [False, True])
def test_the_body_of_a_message_and_what_it_repeats(
    recorder: Recording, engine: Engine, *, worker_first: bool
) -> None:
    run, old, now = run_id_of("t"), run_id_of("old"), recorder.base
    payload = json.dumps({"args": ["[redacted]"], "kwargs": {}})
    again = recording.repeats(old, ["a", "b"], "bulk_1")
    sent = "b\x1epickle\x1e5"

    def about(blind: bool, sent: str, again: str = "") -> About:
        return About(
            "t", "old.task", "celery", None, None, JSON, blind=blind, sent=sent, again=again
        )

    facts = [
        Fact(run, "p", "0", now, about=about(True, sent, again), payload=f"{payload}\x1fbody"),
        Fact(run, "s", "0", now + STEP, execution="x", about=about(False, "h\x1e\x1e"),
             payload=payload, detail=start_detail("w", False)),
    ]  # fmt: skip
    body = engine.key("message", run)
    for fact in facts[::-1] if worker_first else facts:
        recorder.send_facts([fact])
        if fact is facts[0] and not worker_first:
            assert engine.client.get(body) == b"body"
            assert 0 < engine.client.pttl(body) <= RETENTION + 8 * DAY
        recorder.send_facts([fact])
    found = recorder.read("t")
    assert (found.replayed_from, found.tags, found.payload) == (
        old,
        ("a", "b"),
        json.loads(payload),
    )
    # What the worker hides is not kept, whoever told first.
    assert not engine.client.exists(body)
    assert engine.client.hget(engine.key("run", run), "sent") == b"h\x1e\x1e"
    for name, part in (("index_tag", token("b")), ("index_label", "bulk_1")):
        assert engine.client.zrange(engine.key(name, part), 0, -1) == [run.encode()]
    engine.client.zadd(engine.key("retention"), {run: 0})
    engine.run(Pruner(engine.scope).tick())
    police.inspect(engine.client, engine.scope)
    assert not engine.client.exists(engine.key("index_label", "bulk_1"))


def test_dropped_facts_are_counted(recorder: Recording, engine: Engine) -> None:
    assert engine.run(recording.read_unrecorded(engine.scope)).count == 0
    recorder.send("t", published(0, 0), dropped=3)
    recorder.send("t", dropped=4)
    found = engine.run(recording.read_unrecorded(engine.scope))
    assert found.count == 7
    assert found.at is not None


def test_a_task_that_retries_for_ever_stays_bounded(recorder: Recording, engine: Engine) -> None:
    for retries in range(0, 600, 100):
        facts: list[Happened] = []
        for one in range(retries, retries + 100):
            facts += [published(one, one), started(one, one), ended(one, one, RETRY)]
        recorder.send("t", *facts)
    assert int(engine.client.hlen(engine.key("run", run_id_of("t")))) <= 1020
    recorder.send("t", started(600, 601), ended(600, 602, "COMPLETED"))
    assert recorder.read("t").status == "COMPLETED"
