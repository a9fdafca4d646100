"""A run tells of itself: metadata, seen at once by its own code and soon by everybody else."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.driving import HOUR, Engine
from tests.faultproxy import FaultProxy
from tests.waiting import wait_until
from trigger_celery import (
    InvalidOptionError,
    MetadataTooLargeError,
    Run,
    RunNotFoundError,
    StateError,
    TriggerCelery,
    metadata,
    runs,
)
from trigger_celery.bridge import live_metadata
from trigger_celery.bridge.context import current_execution, current_scope
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.live_metadata import SENDER, LiveMetadata, Sender
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.metadata import fold_metadata, read_metadata, read_seed
from trigger_celery.model.ids import run_id
from trigger_celery.model.metadata import document_size
from trigger_celery.model.task_options import MAX_METADATA_BYTES
from trigger_celery.store.store import Store


class Execution:
    """As much of an attempt as its code needs."""

    def __init__(self, engine: Engine, trigger: TriggerCelery, grant: Grant) -> None:
        self.grant = grant
        self.durable = Durable(grant.id, grant.epoch, grant.attempt, "")
        self.inside = contextvars.copy_context()
        self.inside.run(current_execution.set, self)
        self.inside.run(current_scope.set, self.durable.root)
        self._engine, self._trigger = engine, trigger

    @property
    def ctx(self) -> Any:
        return self

    @property
    def run(self) -> Any:
        grant = self.grant
        return Run(
            id=grant.id,
            status=None,
            task_identifier="t",
            queue="q",
            parent_id=grant.parent_id,
            root_id=grant.root_id,
        )  # type: ignore[call-arg, arg-type]

    def do(self, function: Any, *args: Any, **options: Any) -> Any:
        return self.inside.run(function, *args, **options)

    def begin(self, *, resumed: bool = False) -> Execution:
        """Do what a worker does before the code of an attempt that may have metadata."""
        self._engine.run(live_metadata.load(self.durable, self._trigger, resumed=resumed))
        return self

    def flush(self) -> None:
        self.do(lambda: metadata.flush().sync())


@pytest.fixture(autouse=True)
def by_hand(
    trigger: TriggerCelery,
    engine: Engine,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is sent in the background unless a test asks for it."""
    if "background" in request.node.name:
        trigger.configure(run_metadata_flush_interval=0.01)
    else:
        monkeypatch.setattr(Sender, "wants", lambda sender, one: None)
    engine.register()


@pytest.fixture
def make(engine: Engine, trigger: TriggerCelery) -> Any:
    def begin(**options: Any) -> Execution:
        return Execution(engine, trigger, engine.begin(**options)).begin()

    return begin


def test_changes_are_seen_at_once_and_stored_with_a_flush(make: Any, engine: Engine) -> None:
    run = make(metadata='{"progress": 0, "user": {"name": "Ada"}}')

    def work() -> None:
        metadata.set("progress", 0.5).append("log", "a").append("log", "b").increment("n", 2)
        metadata.decrement("n").remove("log", "a").set("$.user.age", 36).delete("nothing")
        assert metadata.get("log") == ["b"]
        assert metadata.get("$.user.name") == "Ada"
        assert metadata.get("missing", 3) == 3
        assert engine.read(run.grant.id).metadata == {"progress": 0, "user": {"name": "Ada"}}
        metadata.flush().sync()

    run.do(work)
    expected = {"progress": 0.5, "user": {"name": "Ada", "age": 36}, "log": ["b"], "n": 1}
    assert engine.read(run.grant.id).metadata == run.do(metadata.current) == expected


def test_what_is_handed_out_is_a_copy(make: Any) -> None:
    run = make()
    mine = {"list": [1]}
    run.do(metadata.set, "a", mine)
    mine["list"].append(2)
    run.do(metadata.get, "a")["list"].append(3)
    run.do(metadata.current)["a"] = None
    assert run.do(metadata.get, "a") == {"list": [1]}


def test_outside_of_a_run_nothing_happens(trigger: TriggerCelery) -> None:
    assert metadata.set("a", 1).parent.set("a", 1) is metadata.parent
    assert (metadata.get("a"), metadata.current()) == (None, None)
    assert metadata.refresh().sync() is None
    metadata.flush().sync()


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), {1: 2}, b"x", "\ud800"])
def test_what_is_not_json_is_refused_at_the_call(make: Any, value: Any) -> None:
    run = make()
    for call in (metadata.set, metadata.append, metadata.remove, metadata.parent.set):
        with pytest.raises(InvalidOptionError):
            run.do(call, "key", value)
    assert run.do(metadata.current) == {}


def test_bad_calls_say_what_is_wrong(make: Any) -> None:
    run = make(metadata='{"list": []}')
    with pytest.raises(InvalidOptionError, match="amount"):
        run.do(metadata.increment, "n", "1")
    with pytest.raises(InvalidOptionError, match="amount"):
        run.do(metadata.decrement, "n", float("inf"))
    with pytest.raises(InvalidOptionError, match="JSON path"):
        run.do(metadata.set, "$.a[", 1)
    with pytest.raises(InvalidOptionError, match="something else"):
        run.do(metadata.set, "$.list.x", 1)
    with pytest.raises(InvalidOptionError, match="a dict"):
        run.do(metadata.replace, [1])
    with pytest.raises(InvalidOptionError, match="key is text"):
        run.do(metadata.delete, 3)
    with pytest.warns(DeprecationWarning, match="replace"):
        run.do(metadata.save, {"a": 1})
    assert run.do(metadata.current) == {"a": 1}


def test_ten_thousand_sets_cost_one_call(make: Any, client: redis.Redis) -> None:
    run = make()

    def work() -> None:
        for number in range(10_000):
            metadata.set("progress", number).set(f"step {number % 7}", number)
        metadata.flush().sync()

    work_calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    run.do(work)
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - work_calls <= 2


def test_changes_go_out_in_the_background(make: Any, engine: Engine) -> None:
    run = make()
    run.do(metadata.set, "progress", 1)
    wait_until(lambda: engine.read(run.grant.id).metadata == {"progress": 1}, "it is stored")


def test_megabytes_in_the_background_do_not_wait(
    make: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    monkeypatch.setattr(SENDER, "interval", 1000)
    for number in range(40):
        run.do(lambda number=number: metadata.set("$.a.x", "x" * 50_000).set("$.a.y", number))
    wait_until(lambda: engine.read(run.grant.id).metadata, "it is stored")
    run.flush()
    assert run.do(metadata.current) == engine.read(run.grant.id).metadata


def test_at_the_limit_the_change_is_made_and_over_it_is_not(
    make: Any, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    run = make()
    room = MAX_METADATA_BYTES - document_size({"a": "", "b": 1})
    run.do(metadata.set, "b", 1)
    run.do(metadata.set, "a", "x" * room)
    run.flush()
    with caplog.at_level(logging.WARNING):
        run.do(metadata.set, "b", 10)
        run.do(metadata.append, "b", 10)
    assert [record.action for record in caplog.records] == ["metadata_refused"]  # type: ignore[attr-defined]
    run.do(metadata.set, "b", 2)
    run.flush()
    stored = engine.read(run.grant.id).metadata
    assert stored is not None
    assert (stored["b"], document_size(stored)) == (2, MAX_METADATA_BYTES)
    run.durable.close()
    assert caplog.records[-1].count == 2  # type: ignore[attr-defined]
    with pytest.raises(MetadataTooLargeError):
        run.do(metadata.replace, {"a": "x" * MAX_METADATA_BYTES})


def test_a_stale_attempt_changes_nothing(make: Any, engine: Engine) -> None:
    run = make()
    run.do(metadata.set, "a", 1)
    run.flush()
    run.do(metadata.set, "a", 2)
    engine.cancel(run.grant.id)
    run.flush()
    assert engine.read(run.grant.id).metadata == {"a": 1}


def test_what_arrives_just_after_the_end_counts(make: Any, engine: Engine) -> None:
    run = make()
    run.do(metadata.set, "a", 1)
    engine.fail(run.grant, "TIMED_OUT")
    run.flush()
    assert engine.read(run.grant.id).metadata == {"a": 1}


def test_it_survives_retries(make: Any, engine: Engine, trigger: TriggerCelery) -> None:
    run = make(metadata='{"tries": 0}')
    run.do(metadata.increment, "tries")
    run.flush()
    engine.retry(run.grant, 0)
    run.grant.attempt += 1
    again = Execution(engine, trigger, run.grant).begin()
    again.do(metadata.increment, "tries")
    again.flush()
    assert engine.read(run.grant.id).metadata == {"tries": 2}
    assert engine.run(read_seed(engine.scope, run.grant.id)) == '{"tries": 0}'
    assert engine.run(read_seed(engine.scope, engine.create(metadata='{"a":1}'))) == '{"a":1}'
    assert engine.run(read_seed(engine.scope, engine.create())) == ""


def test_executed_again_it_sees_the_same_and_changes_nothing_twice(
    make: Any, engine: Engine, trigger: TriggerCelery
) -> None:
    run = make(metadata='{"n": 1}')
    token = engine.token()
    seen: list[Any] = []

    def first() -> None:
        metadata.increment("n").append("log", metadata.get("n"))
        seen.append(metadata.current())

    run.do(first)
    run.flush()
    assert engine.wait(run.grant, token, path="1", call="wait.for_token x") == "parked"
    assert engine.evict(run.grant) == ["evicted"]
    runs.update_metadata(run.grant.id, {"n": 50, "outside": True}).sync()
    engine.complete(token)
    grant = engine.take_one()
    assert grant.resumed
    assert grant.has_data
    again = Execution(engine, trigger, grant).begin(resumed=True)
    again.durable.record = engine.record(grant)

    def replay() -> None:
        first()
        again.durable.begin("wait.for_token x")
        metadata.increment("n")

    again.do(replay)
    again.flush()
    assert seen[0] == seen[1] == {"n": 2, "log": [2]}
    assert engine.read(grant.id).metadata == {"n": 51, "outside": True}
    assert again.do(lambda: metadata.refresh().sync()) == {"n": 51, "outside": True}
    assert again.do(metadata.get, "outside") is True


def test_refresh_is_the_same_in_a_replay(make: Any, engine: Engine, trigger: TriggerCelery) -> None:
    run = make()
    runs.update_metadata(run.grant.id, {"from": "outside"}).sync()
    assert run.do(lambda: metadata.refresh().sync()) == {"from": "outside"}
    runs.update_metadata(run.grant.id, {"from": "later"}).sync()
    again = Execution(engine, trigger, run.grant).begin(resumed=True)
    again.durable.record = engine.record(run.grant)
    assert again.do(lambda: metadata.refresh().sync()) == {"from": "outside"}
    assert again.do(metadata.get, "from") == "outside"


def child_of(make: Any, engine: Engine, trigger: TriggerCelery, parent: Execution) -> Execution:
    child = engine.child(parent.grant, engine.new_run("t"), path=run_id())
    return next(
        Execution(engine, trigger, grant) for grant in engine.take(want=50) if grant.id == child
    )


def test_a_child_changes_its_parent_and_root(
    make: Any, engine: Engine, trigger: TriggerCelery
) -> None:
    root = make(metadata='{"done": 5}')
    child = child_of(make, engine, trigger, root)
    grandchild = child_of(make, engine, trigger, child)

    def work() -> None:
        metadata.parent.increment("done").append("log", "x").set("$.a.b", 1)
        metadata.root.decrement("done", -2).set("own", False)
        metadata.set("own", True)
        assert metadata.current() == {"own": True}
        metadata.flush().sync()

    grandchild.do(work)
    assert engine.read(child.grant.id).metadata == {"done": 1, "log": ["x"], "a": {"b": 1}}
    assert engine.read(root.grant.id).metadata == {"done": 3, "own": False}
    assert engine.read(grandchild.grant.id).metadata == {"own": True}


def test_a_run_without_a_parent_is_its_own(make: Any, engine: Engine) -> None:
    run = make()
    run.do(lambda: metadata.parent.set("a", 1) and metadata.root.set("b", 2))
    assert run.do(metadata.current) == {"a": 1, "b": 2}


def test_many_children_count_on_their_parent_while_it_changes_other_keys(
    make: Any, engine: Engine, trigger: TriggerCelery
) -> None:
    parent = make()
    children = [child_of(make, engine, trigger, parent) for _ in range(6)]

    def count(child: Execution) -> None:
        for number in range(60):
            child.do(lambda: metadata.parent.increment("done").append("log", child.grant.id))
            if number % 3 == 0:
                child.flush()
        child.flush()

    def work() -> None:
        for number in range(100):
            parent.do(metadata.set, "mine", number)
            parent.flush()

    threads = [threading.Thread(target=count, args=(child,)) for child in children]
    threads.append(threading.Thread(target=work))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stored = engine.read(parent.grant.id).metadata
    assert stored is not None
    assert (stored["done"], stored["mine"], len(stored["log"])) == (360, 99, 360)
    left = engine.client.llen(engine.key("metadata_changes", parent.grant.id))
    assert left < 64, "the changes are folded in"


def test_folding_twice_at_once_counts_once(make: Any, engine: Engine) -> None:
    run = make()
    run.do(metadata.increment, "n")
    run.flush()
    flow = fold_metadata(engine.scope, run.grant.id)
    step = next(flow)
    late = flow.send(engine.run(_asked(step)))
    engine.run(fold_metadata(engine.scope, run.grant.id))
    with pytest.raises(StopIteration):
        flow.send(engine.run(_asked(late)))
    assert engine.read(run.grant.id).metadata == {"n": 1}


def _asked(step: Any) -> Any:
    return (yield step)


def test_a_thousand_changes_without_a_reader_are_folded_by_who_comes_next(
    make: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    monkeypatch.setattr("trigger_celery.engine.metadata.FOLD_AT", 10_000)
    for _ in range(1002):
        run.do(metadata.increment, "n")
        run.flush()
    assert engine.read(run.grant.id).metadata == {"n": 1002}
    assert engine.client.llen(engine.key("metadata_changes", run.grant.id)) == 2


def test_a_lost_reply_counts_once(engine: Engine, make: Any, server: EmbeddedServer) -> None:
    run = make()
    with FaultProxy(str(server.socket_path)) as proxy:
        store = Store(proxy.url, engine.scope)
        live = run.durable.metadata = LiveMetadata(run.durable, store)
        for _ in range(3):
            run.do(metadata.increment, "n")
            proxy.lose(1)
            store.run_sync(live.flush())
            assert proxy.lost
        store.close()
    assert engine.read(run.grant.id).metadata == {"n": 3}


def test_from_outside_it_is_replaced_until_an_hour_after_the_end(make: Any, engine: Engine) -> None:
    run = make(metadata='{"a": 1}')
    assert runs.update_metadata(run.grant.id, {"b": [1.5, {}, []]}).sync() == {"b": [1.5, {}, []]}
    engine.end(run.grant)
    engine.clock.advance(HOUR - 2000)
    assert runs.update_metadata(run.grant.id, {"c": 1}).sync() == {"c": 1}
    engine.clock.advance(2001)
    with pytest.raises(StateError, match="an hour"):
        runs.update_metadata(run.grant.id, {"d": 1}).sync()
    with pytest.raises(RunNotFoundError):
        runs.update_metadata(run_id(), {}).sync()
    with pytest.raises(MetadataTooLargeError):
        runs.update_metadata(run.grant.id, {"a": "x" * MAX_METADATA_BYTES}).sync()
    assert engine.read(run.grant.id).metadata == {"c": 1}


def test_changes_for_runs_that_are_gone_are_logged(
    make: Any, engine: Engine, trigger: TriggerCelery, caplog: pytest.LogCaptureFixture
) -> None:
    parent = make()
    child = child_of(make, engine, trigger, parent)
    engine.end(parent.grant)
    engine.clock.advance(HOUR + 1)
    with caplog.at_level(logging.WARNING):
        child.do(lambda: metadata.parent.increment("n"))
        child.flush()
    assert "more than an hour ago" in caplog.text
    assert engine.read(parent.grant.id).metadata is None


def test_subscribers_see_changes_of_metadata_and_the_attempts_stay_right(
    make: Any, engine: Engine
) -> None:
    run = make()
    seen: Iterator[Run] = iter(runs.subscribe_to_run(run.grant.id))
    assert next(seen).attempt_count == 1
    run.do(metadata.set, "a", 1)
    run.flush()
    engine.end(run.grant)
    rest = list(seen)
    assert [one.status for one in rest] == ["EXECUTING", "COMPLETED"]
    assert rest[0].metadata == {"a": 1}
    assert [one.attempt_count for one in rest] == [1, 1]


def test_the_document_is_read_whole(make: Any, engine: Engine) -> None:
    value = {"int": 2**62, "float": 1.0, "small": 1e-9, "empty": [], "object": {}, "null": None}
    run = make()
    run.do(metadata.replace, {"a": [value, [[]]]})
    run.flush()
    engine.run(fold_metadata(engine.scope, run.grant.id))
    found = engine.read(run.grant.id).metadata
    assert found == {"a": [value, [[]]]}
    assert found is not None
    assert isinstance(found["a"][0]["float"], float)
    stored = engine.run(read_metadata(engine.scope, run.grant.id))
    assert stored is not None
    assert stored.start == {}
