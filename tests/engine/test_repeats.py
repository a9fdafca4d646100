"""A call that is sent twice, as after a lost reply, does what it does once."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.driving import RETENTION, Engine
from tests.engine.lifecycle import Life, state
from tests.engine.lifecycle_bulk import Bulk
from tests.engine.lifecycle_continuing import Continued
from tests.engine.lifecycle_data import Data
from tests.engine.lifecycle_keys import Keys
from tests.engine.lifecycle_recorded import Recorded
from tests.engine.lifecycle_schedules import Schedules
from tests.engine.lifecycle_waits import Waits
from trigger_celery.engine.attempts import Ending
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.ids import token
from trigger_celery.model.packet import JSON
from trigger_celery.store.op import Call

READERS = {name for name in SCRIPTS.scripts if name.startswith(("read_", "list_", "trace_"))}

# These say how much work the call did: of a repeat that is nothing, and nobody relies on it.
REPORTS = {
    "create_runs", "fire_timers", "prune_runs", "close_session", "sweep_sessions", "unpark_runs",
    "shorten_token", "prune_objects", "sweep_recorded",
}  # fmt: skip
# These say that it is there already; what follows is the same.
MAKERS = {"create_waitpoint", "create_batch", "record_step", "create_bulk", "advance_bulk"}
# These do it once, and say of a repeat that it is one.
ONCE = {
    "change_metadata": [b"again"], "append_stream": [b"again"], "fold_metadata": b"changed",
    "claim_bulk": [], "claim_continuing": [],
}  # fmt: skip

# These say first what time it is.
OF_THE_MOMENT = {"read_schedule", "read_due", "list_schedules"}
# These answer with whole hashes, whose fields come in no order.
HASHES = {"put_schedule", *OF_THE_MOMENT}


def nothing_was_done(name: str, reply: Any) -> bool:
    if name == "create_runs":
        return all(word == b"again" or word.startswith(b"cached ") for word in reply)
    if isinstance(reply, list):
        return int(reply[0]) == 0
    return int(reply) == 0


def unordered(reply: Any) -> Any:
    """Return a reply with the hashes in it as dicts."""
    if not isinstance(reply, list):
        return reply
    return [
        dict(zip(part[::2], part[1::2], strict=True)) if isinstance(part, list) else part
        for part in reply
    ]


def said_again(first: Any, second: Any) -> bool:
    if not isinstance(first, list):
        return bool(second == b"again")
    return bool(second[0] == b"again" and second[1:] == first[1:])


class Twice:
    """Sends every script call twice and compares replies and store."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.seen: dict[str, int] = defaultdict(int)

    def send(self, step: Any) -> Any:
        calls: list[Call] = step if isinstance(step, list) else [step]
        replies = self.engine.store.send(*calls)
        if all(call.script is not None for call in calls):
            once = state(self.engine.client, self.engine.scope, moment=True)
            again = self.engine.store.send(*calls)
            assert state(self.engine.client, self.engine.scope, moment=True) == once
            for call, first, second in zip(calls, replies, again, strict=True):
                assert call.script is not None
                name = call.script.name
                self.seen[name] += 1
                if name in HASHES:
                    first, second = unordered(first), unordered(second)
                if name in MAKERS:
                    assert said_again(first, second), (name, first, second)
                elif name in ONCE:
                    assert second == ONCE[name], (name, first, second)
                elif name in REPORTS:
                    assert nothing_was_done(name, second), (name, first, second)
                elif name in OF_THE_MOMENT:
                    assert first[1:] == second[1:], (name, first, second)
                else:
                    assert first == second, name
        decoded = [
            call.decode(reply) if call.decode else reply
            for call, reply in zip(calls, replies, strict=True)
        ]
        return decoded if isinstance(step, list) else decoded[0]


def test_every_script_that_writes_may_be_sent_twice(engine: Engine) -> None:
    twice = Twice(engine)
    for life in (
        Life(engine.scope, 0),
        Waits(engine.scope, [], 2 * RETENTION),
        Keys(engine.scope, 0),
        Data(engine.scope, 0),
        Bulk(engine.scope, 0),
        Schedules(engine.scope, 0),
        Recorded(engine.scope, 0),
        Continued(engine.scope, 0),
    ):
        engine.client.flushall()
        flow = life.flow()
        try:
            step = next(flow)
            while True:
                step = flow.send(twice.send(step))
        except StopIteration:
            pass
    assert set(twice.seen) - READERS == set(SCRIPTS.scripts) - READERS


def test_a_repeated_dequeue_gives_the_same_runs_although_others_took_some_since(
    engine: Engine,
) -> None:
    engine.register("w1")
    engine.register("w2")
    engine.create_many(6)
    first = engine.dequeue("w1", 2, op="lost").runs
    engine.take("w2", 2)
    assert engine.dequeue("w1", 2, op="lost").runs == first
    assert len(engine.take("w1")) == 2


def test_a_repeated_dequeue_does_not_give_what_was_taken_away_since(engine: Engine) -> None:
    engine.register("w1")
    one, two = engine.create_many(2)
    engine.dequeue("w1", 2, op="lost", start=False)
    engine.cancel(one)
    assert [grant.id for grant in engine.dequeue("w1", 2, op="lost").runs or ()] == [two]


def test_a_repeated_dequeue_does_not_give_what_another_worker_has_since(engine: Engine) -> None:
    engine.register("w1")
    engine.register("w2")
    engine.create()
    (grant,) = engine.dequeue("w1", 2, op="lost").runs or ()
    engine.back(grant)
    engine.take_one("w2")
    assert engine.dequeue("w1", 2, op="lost").runs == []


def test_a_repeated_dequeue_that_found_nothing_may_find_something(engine: Engine) -> None:
    engine.register("w1")
    assert engine.dequeue("w1", 2, op="lost").runs == []
    run = engine.create()
    assert [grant.id for grant in engine.dequeue("w1", 2, op="lost").runs or ()] == [run]


def test_a_repeated_dequeue_of_a_session_that_was_ended_gives_nothing(engine: Engine) -> None:
    engine.register("w1")
    engine.create()
    engine.dequeue("w1", 2, op="lost")
    engine.let_lapse()
    assert engine.dequeue("w1", 2, op="lost").runs is None


def test_a_repeated_ending_is_ok_although_the_run_went_on_to_another_worker(
    engine: Engine,
) -> None:
    engine.register("w1")
    engine.register("w2")
    engine.create()
    grant = engine.take_one("w1")
    assert engine.back(grant, op="lost") == "ok"
    other = engine.take_one("w2")
    assert engine.back(grant, op="lost") == "ok"
    assert engine.end(other) == "ok"


def test_an_ending_in_a_repeated_dequeue_counts_once(engine: Engine) -> None:
    engine.register("w1", queues={"q": 1})
    engine.create_many(2, queue="q")
    grant = engine.take_one()
    endings = [Ending(grant.id, grant.epoch, "retry", 60_000, "{}")]
    replies = [engine.dequeue("w1", 1, endings, op="lost") for _ in range(2)]
    assert replies[0] == replies[1]
    assert replies[0].answers == ["ok"]
    assert len(engine.read(grant.id).attempts) == 1
    assert engine.client.zcard(engine.key("queue_slots", token("q"))) == 1
    assert engine.end((replies[0].runs or [])[0], detail=JSON) == "ok"
