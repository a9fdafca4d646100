"""Triggers with a debounce key become one run, after a quiet time."""

from __future__ import annotations

import pytest

from tests.driving import DAY, HOUR, Engine, origin
from trigger_celery.engine import admission, metadata
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.triggering import NewRun, Triggered
from trigger_celery.model.duration import Delay
from trigger_celery.model.idempotency import scoped_key
from trigger_celery.model.trigger_options import Debounce

SECOND = 1000


@pytest.fixture(autouse=True)
def worker(engine: Engine) -> None:
    engine.register("w1", ["t", "u", "p"])


def debounced(
    engine: Engine,
    payload: str = "{}",
    *,
    key: str = "d",
    delay: int = 10 * SECOND,
    most: int | None = None,
    trailing: bool = False,
    first: int | None = None,
    own: tuple[str, ...] = (),
    machine: str = "",
    task: str = "t",
    tags: tuple[str, ...] = (),
    metadata: str = "",
    max_attempts: int | None = None,
    priority: int = 0,
) -> NewRun:
    extras = Extras(
        debounce=Debounce(key, delay, trailing, most), own=frozenset(own), machine=machine
    )
    return engine.new_run(
        task, payload=payload, delay=first or delay, extras=extras, tags=tags, metadata=metadata,
        max_attempts=max_attempts, priority=priority,
    )  # fmt: skip


def due_in(engine: Engine, run: str) -> float:
    """Return the seconds until the run starts."""
    score = engine.client.zscore(engine.key("timers"), run)
    assert score is not None
    assert int(engine.fields(run)["due"]) == score
    return (score - engine.clock.now()) / 1000


def test_calls_in_the_quiet_time_are_one_run_that_is_put_off(engine: Engine) -> None:
    first = engine.trigger(debounced(engine, '"one"'))
    assert first.is_cached is False
    engine.clock.advance(8 * SECOND)
    assert engine.trigger(debounced(engine, '"two"')) == (first.id, True)
    assert 8.9 < due_in(engine, first.id) <= 10
    engine.clock.advance(8 * SECOND)
    engine.fire()
    assert engine.status(first.id) == "DELAYED"
    engine.clock.advance(2 * SECOND)
    engine.fire()
    assert engine.read(first.id).status == "QUEUED"
    assert engine.read(first.id).payload == "one"


def test_once_it_is_queued_the_next_call_makes_a_new_run(engine: Engine) -> None:
    first = engine.trigger(debounced(engine))
    engine.clock.advance(10 * SECOND)
    engine.fire()
    assert engine.trigger(debounced(engine)).is_cached is False
    assert engine.status(first.id) == "QUEUED"


def test_once_it_is_cancelled_the_next_call_makes_a_new_run(engine: Engine) -> None:
    first = engine.trigger(debounced(engine))
    engine.cancel(first.id)
    again = engine.trigger(debounced(engine))
    assert again.is_cached is False
    assert engine.trigger(debounced(engine)) == (again.id, True)


def test_a_key_counts_per_task(engine: Engine) -> None:
    found = {
        engine.trigger(debounced(engine, key=key, task=task)).id for key in "ab" for task in "tu"
    }
    assert len(found) == 4


def test_a_start_is_only_put_off_never_brought_forward(engine: Engine) -> None:
    first = engine.trigger(debounced(engine, first=HOUR))
    assert due_in(engine, first.id) > 3590
    engine.trigger(debounced(engine))
    assert due_in(engine, first.id) > 3590
    engine.clock.advance(HOUR - 2 * SECOND)
    engine.trigger(debounced(engine))
    assert 8.9 < due_in(engine, first.id) <= 10


def test_starts_are_planned_in_whole_seconds(engine: Engine) -> None:
    first = engine.trigger(debounced(engine))
    engine.clock.advance(3 * SECOND)
    engine.trigger(debounced(engine))
    due = int(engine.fields(first.id)["due"])
    assert due % 1000 == 0
    changes = engine.fields(first.id)["n"]
    engine.clock.advance(999 - engine.clock.now() % 1000 - 200)  # still in the same second
    engine.trigger(debounced(engine))
    assert engine.fields(first.id)["n"] == changes, "a call in the same second writes nothing"


def test_with_trailing_the_last_call_counts(engine: Engine) -> None:
    long = '"' + "x" * 99 + '"'
    first = engine.trigger(
        debounced(engine, long, tags=("a", "b"), metadata='{"n":1}', max_attempts=2, trailing=True)
    )
    own = ("tags", "metadata", "max_attempts", "machine")
    last = debounced(
        engine, '"short"', tags=("b", "c"), metadata='{"n":2}', max_attempts=5, trailing=True,
        own=own, machine="large-1x", priority=HOUR,
    )  # fmt: skip
    assert engine.trigger(last) == (first.id, True)
    run = engine.read(first.id)
    assert (run.payload, run.tags, run.metadata) == ("short", ("b", "c"), {"n": 2})
    assert (run.max_attempts, run.machine, run.priority) == (5, "large-1x", 0)
    assert engine.trigger(debounced(engine, long, trailing=True)) == (first.id, True)
    run = engine.read(first.id)
    assert (run.payload, run.tags, run.metadata) == ("x" * 99, ("b", "c"), {"n": 2})


def test_the_call_decides_whether_it_is_trailing(engine: Engine) -> None:
    first = engine.trigger(debounced(engine, "1", trailing=True))
    engine.trigger(debounced(engine, "2", trailing=False))
    assert engine.read(first.id).payload == 1


def test_above_its_maximum_a_new_window_begins(engine: Engine) -> None:
    first = engine.trigger(debounced(engine, most=25 * SECOND))
    for _ in range(2):
        engine.clock.advance(7 * SECOND)
        assert engine.trigger(debounced(engine, most=25 * SECOND)) == (first.id, True)
    planned = engine.fields(first.id)["due"]
    engine.clock.advance(5 * SECOND)
    second = engine.trigger(debounced(engine, most=25 * SECOND))
    assert second.is_cached is False
    assert engine.fields(first.id)["due"] == planned, "the first starts as it was planned"
    assert engine.trigger(debounced(engine, most=25 * SECOND)) == (second.id, True)


def test_a_planned_start_of_exactly_the_maximum_is_allowed(engine: Engine) -> None:
    first = engine.trigger(debounced(engine, delay=10 * SECOND, most=20 * SECOND))
    created = int(engine.fields(first.id)["created"])
    engine.clock.advance(created + 10 * SECOND - engine.clock.now() - 100)
    assert engine.trigger(debounced(engine, most=20 * SECOND)).is_cached
    engine.clock.advance(1200)
    assert not engine.trigger(debounced(engine, most=20 * SECOND)).is_cached


def test_two_runs_wait_for_the_one_run(engine: Engine) -> None:
    parents = [engine.begin("p") for _ in range(2)]
    found: set[Triggered] = set()
    for parent in parents:
        child = engine.trigger(debounced(engine), origin(parent, "1", "make"))
        found.add(child)
        assert engine.wait(parent, child.id, path="2") == "parked"
    assert len({child.id for child in found}) == 1
    engine.clock.advance(DAY)
    engine.renew()
    engine.fire()
    engine.end(engine.take_one())
    assert engine.statuses([parent.id for parent in parents]) == ["EXECUTING"] * 2


def test_items_of_a_batch_are_debounced_one_by_one(engine: Engine) -> None:
    new = [debounced(engine, "1"), debounced(engine, "2", key="e"), debounced(engine, "3")]
    batch = engine.batch(new)
    assert engine.read_batch(batch).runs == (new[0].id, new[1].id, new[0].id)


def test_a_hit_of_an_idempotency_key_wins(engine: Engine) -> None:
    new = debounced(engine)
    assert new.extras is not None
    new.extras.key = scoped_key(["k"], "global")
    first = engine.trigger(new)
    before = engine.fields(first.id)
    engine.clock.advance(5 * SECOND)
    again = debounced(engine, trailing=True, payload='"other"')
    assert again.extras is not None
    again.extras.key = new.extras.key
    assert engine.trigger(again) == (first.id, True)
    assert engine.fields(first.id) == before


def test_a_rescheduled_run_is_still_found(engine: Engine) -> None:
    first = engine.trigger(debounced(engine))
    engine.run(admission.reschedule_run(engine.scope, first.id, Delay(30 * DAY, None)))
    name = next(engine.client.scan_iter(match="*:debounce:*"))
    assert engine.client.pttl(name) > 30 * DAY
    assert engine.trigger(debounced(engine)) == (first.id, True)


def test_a_replayed_run_gets_the_run_that_it_got_before(engine: Engine) -> None:
    first = engine.trigger(debounced(engine))
    grant = engine.begin("p")
    mine = debounced(engine)
    assert engine.trigger(mine, origin(grant, "1", "make")) == (first.id, True)
    engine.cancel(first.id)
    assert engine.trigger(mine, origin(grant, "1", "make")) == (first.id, True)


def test_metadata_of_the_last_call_replaces_what_was_changed_from_outside(engine: Engine) -> None:
    def last(text: str) -> NewRun:
        return debounced(engine, metadata=text, own=("metadata",), trailing=True)

    run = engine.trigger(last('{"a":1}')).id
    engine.run(metadata.replace_metadata(engine.scope, run, '{"b":2}'))
    assert engine.trigger(last('{"c":3}')) == (run, True)
    assert engine.read(run).metadata == {"c": 3}
    engine.run(metadata.replace_metadata(engine.scope, run, '{"d":4}'))
    assert engine.run(metadata.read_seed(engine.scope, run)) == '{"c":3}'
    assert engine.read(run).metadata == {"d": 4}


def test_a_call_that_is_sent_again_after_the_start_makes_no_second_run(engine: Engine) -> None:
    first = engine.trigger(debounced(engine)).id
    engine.clock.advance(5 * SECOND)
    lost = debounced(engine)
    assert engine.trigger(lost) == (first, True)
    engine.clock.advance(11 * SECOND)
    engine.fire()
    engine.take_one()
    assert engine.trigger(lost) == (first, True)
    assert engine.trigger(debounced(engine)).is_cached is False


def test_a_run_that_had_begun_and_is_parked_is_not_put_off(engine: Engine) -> None:
    first = engine.trigger(debounced(engine)).id
    engine.clock.advance(11 * SECOND)
    engine.fire()
    engine.retry(engine.take_one(), 40 * SECOND)
    engine.clock.advance(41 * SECOND)
    engine.fire()
    engine.unknown(engine.take_one())
    assert engine.status(first) == "PENDING_VERSION"
    assert engine.trigger(debounced(engine)).is_cached is False
