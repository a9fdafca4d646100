"""Messages of plain Celery tasks that the code of a run sends: once, whatever becomes of its memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery, canvas, chain, chord, group
from kombu.utils.uuid import uuid

from tests.broker import ids_taken_off
from tests.deploying import deploy
from tests.driving import Engine
from trigger_celery import (
    MaxDurationExceededError,
    ReplayMismatchError,
    RunCanceledError,
    RunEvictedError,
    RunLeaseLostError,
    StateError,
    StoreUnavailableError,
    TriggerCelery,
    runs,
    step,
    task,
    wait,
)
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.durable import Durable, task_factory
from trigger_celery.bridge.parking import NO_PARKING
from trigger_celery.engine import keys
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.codec import dump_links
from trigger_celery.model.ids import run_id_of


class Sender:
    """The code of one run, which is executed as often as a test says."""

    def __init__(self, trigger: TriggerCelery, engine: Engine, grant: Grant) -> None:
        self._trigger, self.engine, self.grant = trigger, engine, grant

    @contextmanager
    def inside(self, *, again: bool = False, attempt: int = 1) -> Iterator[Durable]:
        grant = self.grant
        links = dump_links(grant.id, grant.id, 1)
        durable = Durable(grant.id, grant.epoch, attempt, links)
        durable.record = self.engine.record(grant) if again else None
        token = current_scope.set(durable.root)
        try:
            yield durable
        finally:
            current_scope.reset(token)

    def do(self, code: Callable[[], Any], **options: Any) -> tuple[Any, list[str]]:
        """Execute the code of the run; returns what it returns and the ids that the broker got."""
        with self.inside(**options):
            value = code()
        return value, self.taken_off()

    def forget(self) -> None:
        """Lose what the store has noted, as it has not when a process dies just before."""
        self.engine.client.delete(keys.key(self.engine.scope, "calls", self.grant.id))

    def taken_off(self) -> list[str]:
        """Return the ids of the messages that wait, and take them off the broker."""
        return ids_taken_off(self._trigger.app)


@pytest.fixture
def old(app: Celery) -> SimpleNamespace:
    """Plain tasks."""
    app.conf.result_backend = "cache+memory://"

    @app.task(name="plain.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="plain.total", shared=False)
    def total(values: list[int]) -> int:
        return sum(values)

    return SimpleNamespace(add=add, total=total)


@pytest.fixture
def run(trigger: TriggerCelery, old: SimpleNamespace, engine: Engine) -> Sender:
    """The code of a run that executes."""

    @task(id="ours")
    def ours(payload: Any) -> Any:
        return payload

    deploy(trigger)
    engine.register()
    tail = Sender(trigger, engine, SimpleNamespace())  # type: ignore[arg-type]
    tail.taken_off()
    engine.create("ours")
    tail.grant = engine.take_one()
    return tail


@pytest.mark.parametrize(
    "call",
    [
        lambda old, app: old.add.delay(1),
        lambda old, app: old.add.apply_async((1,), {"y": 2}, countdown=30),
        lambda old, app: old.add.s(1).apply_async(),
        lambda old, app: app.send_task("plain.add", (1,)),
        lambda old, app: app.send_task("plain.add", [1], {}, None, None, None),
        lambda old, app: app.send_task("elsewhere", task_id=None),
        lambda old, app: app.signature("elsewhere", (1,)).delay(),
    ],
)
def test_a_call_is_sent_once(run: Sender, old: SimpleNamespace, app: Celery, call: Any) -> None:
    first, sent = run.do(lambda: [call(old, app), call(old, app)])
    assert sent == [result.id for result in first]
    assert len({UUID(one) for one in sent}) == 2
    again, sent = run.do(lambda: [call(old, app), call(old, app), call(old, app)], again=True)
    assert [result.id for result in again[:2]] == [result.id for result in first]
    assert sent == [again[2].id]
    assert type(again[0]) is type(first[0])
    assert again[0].ignored == first[0].ignored


def test_an_id_that_is_given_is_kept(run: Sender, old: SimpleNamespace, app: Celery) -> None:
    def code() -> list[str]:
        named = old.add.apply_async((1,), task_id="order-7")
        by_chance = app.send_task("plain.add", (1,), {}, None, None, str(uuid4()))
        mine = app.send_task("ours", ({},), task_id=str(uuid4()))
        return [named.id, by_chance.id, mine.id]

    first, sent = run.do(code)
    assert sent == first[:2]
    assert first[0] == "order-7"
    assert run.do(code, again=True) == (first, [])
    assert runs.retrieve(first[2]).sync().celery_task_id == first[2]


def test_a_new_attempt_sends_again_under_other_ids(run: Sender, old: SimpleNamespace) -> None:
    first, _ = run.do(lambda: old.add.delay(1).id)
    run.forget()
    second, sent = run.do(lambda: old.add.delay(1).id, attempt=2)
    assert sent == [second] != [first]


def test_a_message_that_was_not_noted_is_sent_again_under_its_id(
    run: Sender, old: SimpleNamespace
) -> None:
    """The process died between the broker and the store."""
    first, _ = run.do(lambda: old.add.delay(1).id)
    run.forget()
    assert run.do(lambda: old.add.delay(1).id, again=True) == (first, [first])


def made_runs() -> int:
    """Count runs; those that record messages come a moment later."""
    return sum(not one.recorded for one in runs.list().sync().runs)


def ids_of(result: Any) -> list[str]:
    """Return the ids of a result, of its parts and of what came before it."""
    parts = [one for part in getattr(result, "results", ()) for one in ids_of(part)]
    before = [] if result.parent is None else ids_of(result.parent)
    return [*before, *parts, result.id]


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda add, total, ours: chain(add.s(1), add.s(2), ours.s(), add.s(3)), 1),
        (lambda add, total, ours: group(add.s(n) for n in range(3)), 3),
        (lambda add, total, ours: chord([add.s(1), add.s(2)], total.s()), 2),
        (lambda add, total, ours: chord([add.s(1), ours.s(2)], total.s()), 1),
        (lambda add, total, ours: group(chain(add.s(1), add.s(2)), ours.s({}), add.s(1)), 2),
        (lambda add, total, ours: chain(add.s(1), group(add.s(1), add.s(2)), total.s()), 1),
        (lambda add, total, ours: add.map([1, 2]), 1),
        (lambda add, total, ours: add.chunks([(1, 1), (2, 2), (3, 3)], 2), 2),
    ],
)
def test_a_canvas_is_sent_once(
    run: Sender, old: SimpleNamespace, app: Celery, make: Any, count: int
) -> None:
    """Parts that are still to come keep their ids, and so does a group."""
    ours: Any = app.tasks["ours"]

    def code() -> list[str]:
        return ids_of(make(old.add, old.total, ours).apply_async())

    first, sent = run.do(code)
    unlocks = sum("chord_unlock" in call for call in run.engine.record(run.grant).calls.values())
    assert len(sent) == count + unlocks
    made = made_runs()
    assert run.do(code, again=True) == (first, [])
    assert made_runs() == made
    run.forget()
    assert run.do(code, again=True) == (first, sent)
    assert len(set(first)) == len(first)


def test_branches_are_told_apart(run: Sender, old: SimpleNamespace) -> None:
    """Each asyncio task of a run counts for itself, whatever order they are in."""

    def code(order: list[int]) -> dict[int, str]:
        async def branch(number: int) -> str:
            for _ in range(order.index(number)):
                await asyncio.sleep(0)
            return str(old.add.delay(number).id)

        async def main() -> dict[int, str]:
            asyncio.get_running_loop().set_task_factory(task_factory)
            found = await asyncio.gather(*(branch(number) for number in range(3)))
            return dict(enumerate(found))

        return asyncio.run(main())

    first, sent = run.do(lambda: code([0, 1, 2]))
    assert sorted(sent) == sorted(first.values())
    assert run.do(lambda: code([2, 1, 0]), again=True) == (first, [])


def test_a_program_that_asks_for_something_else_is_stopped(
    run: Sender, old: SimpleNamespace
) -> None:
    run.do(lambda: old.add.delay(1))
    with pytest.raises(
        ReplayMismatchError, match=r"before: send plain\.add\s+now:    send plain\.total"
    ):
        run.do(lambda: old.total.delay([1]), again=True)
    with pytest.raises(ReplayMismatchError), run.inside(again=True):
        wait.for_duration(seconds=1).sync()
    assert run.taken_off() == []
    other, sent = run.do(lambda: old.add.delay(2).id, again=True)  # the values may be others
    assert sent == []
    assert isinstance(other, str)


def test_in_a_step_it_is_sent_as_often_as_the_step_is_called(
    run: Sender, old: SimpleNamespace
) -> None:
    def code() -> list[str]:
        inside = step.run(
            "tell", lambda: [old.add.delay(1).id, ids_of(group(old.add.s(1))())]
        ).sync()
        return [*inside, old.add.delay(2).id, ids_of(group([old.add.s(1), old.add.s(2)])())]

    first, sent = run.do(code)
    assert len(sent) == 5
    assert run.do(code, again=True) == (first, [])


def test_outside_of_runs_nothing_is_noted(
    run: Sender, old: SimpleNamespace, trigger: TriggerCelery
) -> None:
    one, other = old.add.delay(1), old.add.delay(1)
    assert run.taken_off() == [one.id, other.id]
    assert not run.engine.record(run.grant).calls
    assert one.id != other.id
    elsewhere = Celery("elsewhere", broker="memory://", set_as_current=False)
    with run.inside():
        elsewhere.send_task("theirs", (1,))
    assert not run.engine.record(run.grant).calls
    assert len(run.taken_off()) == 1
    assert canvas.uuid is not uuid
    trigger.unbind()
    assert canvas.uuid is uuid
    trigger.init_app(trigger.app)


def test_a_store_that_is_away_does_not_say_that_nothing_was_sent(
    run: Sender, old: SimpleNamespace, trigger: TriggerCelery, caplog: Any, monkeypatch: Any
) -> None:
    def away(flow: Any) -> Any:
        flow.close()
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(trigger.store, "run_blocking", away)
        first, sent = run.do(lambda: old.add.delay(1).id)
    assert sent == [first]
    assert [one.action for one in caplog.records if hasattr(one, "action")] == ["message_not_noted"]
    assert run.do(lambda: old.add.delay(1).id, again=True) == (first, [first])


def test_code_of_a_run_that_was_taken_away_is_stopped(run: Sender, old: SimpleNamespace) -> None:
    runs.cancel(run.grant.id).sync()
    with pytest.raises(RunLeaseLostError), run.inside():
        old.add.delay(1)


def test_a_run_that_was_cancelled_may_still_clean_up(run: Sender, old: SimpleNamespace) -> None:
    """One that lost its memory may not: it is executed again, and sends then."""
    for problem in (RunCanceledError("no"), MaxDurationExceededError("late")):
        with run.inside() as durable:
            durable.parking = StoppedParking(problem)
            sent = old.add.delay(1)
        assert run.taken_off() == [sent.id]
    with run.inside() as durable:
        durable.parking = StoppedParking(RunEvictedError("gone"))
        with pytest.raises(RunEvictedError):
            old.add.delay(1)
    assert run.taken_off() == []


class StoppedParking(type(NO_PARKING)):  # type: ignore[misc]
    """That of a run which was stopped."""

    def __init__(self, stopped: RunLeaseLostError) -> None:
        self.stopped = stopped

    def check(self) -> None:
        raise self.stopped


def test_more_than_are_noted(run: Sender, old: SimpleNamespace, monkeypatch: Any) -> None:
    """Above 10,000 calls an attempt goes on: such a message may be sent again, under its id."""
    filler = {f"x/{number}": "call" for number in range(10_000)}
    name = keys.key(run.engine.scope, "calls", run.grant.id)
    run.engine.client.hset(name, mapping=filler)
    run.engine.client.hset(keys.key(run.engine.scope, "run", run.grant.id), "waits", "1")
    first, sent = run.do(lambda: old.add.delay(1).id)
    assert run.do(lambda: old.add.delay(1).id, again=True) == (first, sent)


def test_a_call_of_a_task_that_is_taken_over_keeps_its_id(
    trigger: TriggerCelery, app: Celery, engine: Engine
) -> None:
    app.conf.result_backend = "cache+memory://"
    trigger.configure(manage=["taken.*"], **trigger.keywords)

    @app.task(name="taken.add", shared=False)
    def add(x: Any) -> Any:
        return x

    app.finalize()
    deploy(trigger)
    engine.register()
    engine.create("taken.add", payload='{"args":[1],"kwargs":{}}')
    run = Sender(trigger, engine, engine.take_one())

    def code() -> list[Any]:
        through_the_broker = add.apply_async((object(),), serializer="pickle").id
        return [add.delay(1).id, through_the_broker, ids_of(group([add.s(1), add.s(2)])())]

    first, sent = run.do(code)
    assert sent == [first[1]]
    assert runs.retrieve(first[0]).sync().id == run_id_of(first[0])
    made = made_runs()
    assert run.do(code, again=True) == (first, [])
    assert made_runs() == made


def test_a_step_of_a_durable_call_stays_refused(run: Sender, app: Celery) -> None:
    with pytest.raises(StateError, match="not in the function of step"), run.inside():
        step.run("wrong", lambda: app.send_task("ours", ({},))).sync()
