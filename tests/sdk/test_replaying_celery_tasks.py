"""Recorded runs are sent again: the same arguments, a new message, and nothing else of the old one."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from celery import Celery, signals
from kombu.serialization import loads, prepare_accept_content

from tests.driving import LEASE, RETENTION, Engine
from tests.waiting import wait_until
from trigger_celery import (
    InvalidOptionError,
    PayloadNotSerializableError,
    Run,
    RunHandle,
    RunNotFoundError,
    StateError,
    TriggerCelery,
    UnknownOptionError,
    runs,
    task,
)
from trigger_celery.bridge import context
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.recording.calls import RecordedCalls, note_serializer
from trigger_celery.bridge.recording.sending_again import BulkSender
from trigger_celery.bridge.recording.values import MAX_BYTES, RecordedValues
from trigger_celery.engine import keys, sessions
from trigger_celery.engine.services.bulk_actions import LOOK_EVERY, BulkActions
from trigger_celery.model.ids import run_id_of
from trigger_celery.model.message import Exactness, Sent

ACCEPT = ["json", "yaml", "msgpack", "pickle"]
KOMBU_JSON = [
    datetime(2026, 3, 1, 12, tzinfo=UTC), date(2026, 3, 1), time(12, 30), Decimal("1.10"),
    UUID(int=7), b"text", b"\xff\x00", {"deep": [Decimal("0.1")]},
]  # fmt: skip


class Odd:
    """What only pickle carries."""

    def __init__(self, size: str, inner: Any = None) -> None:
        self.size = size
        self._inner = inner

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return 1


class Spelled:
    """What kombu's JSON asks for its form."""

    def __json__(self) -> dict[str, Any]:
        return {"spelled": True}


class Trap:
    """Says when it is opened."""

    opened = 0

    def __reduce__(self) -> Any:
        return _open, ()


def _open() -> None:
    Trap.opened += 1


@pytest.fixture
def shop(trigger: TriggerCelery) -> Iterator[Celery]:
    app = trigger.app
    app.conf.update(accept_content=ACCEPT, task_routes={"shop.routed": {"queue": "special"}})

    @app.task(name="shop.add", shared=False)
    def add(*args: Any, **kwargs: Any) -> None:
        pass

    @app.task(name="shop.pay", shared=False, serializer="json")
    def pay(card: str, secret: str = "") -> None:
        pass

    _purge(app)
    yield app
    _purge(app)


def _purge(app: Celery) -> None:
    """Empty the broker: it is one for all tests of a process."""
    with app.connection_for_write() as connection:
        for queue in ("celery", "special", "other"):
            connection.default_channel.queue_declare(queue)
            connection.default_channel.queue_purge(queue)


def recorded(task_id: str) -> Run:
    context.current().flush_recorded()

    def look() -> Run | None:
        try:
            return runs.retrieve(task_id).sync()
        except RunNotFoundError:
            return None

    found = wait_until(look, "it is recorded", timeout=30)
    assert found is not None
    return found


def message(app: Celery, queue: str = "celery") -> Any:
    """Take the next message from the broker."""
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        found = channel.basic_get(queue, no_ack=True)
    assert found is not None, "there is a message"
    return found


def told(found: Any) -> Any:
    """Return what a worker makes of a message: arguments, and what else its body says."""
    kinds = prepare_accept_content(ACCEPT)
    return loads(found.body, found.content_type, found.content_encoding, accept=kinds)


def called(app: Celery, *args: Any, kwargs: Any = None, task: str = "shop.add", **how: Any) -> Any:
    """Call a task; return its record and its message."""
    sent = app.tasks[task].apply_async(args, kwargs or {}, **how)
    return recorded(sent.id), message(app, how.get("queue", "celery"))


def replayed(app: Celery, run: Run, *, queue: str = "celery", **options: Any) -> tuple[Run, Any]:
    handle = runs.replay(run, **options).sync()
    again = runs.retrieve(handle).sync()  # at once: it is recorded when the call returns
    return again, message(app, queue)


# What is sent


def test_a_replay_is_a_new_message_with_the_same_arguments(shop: Celery) -> None:
    old, before = called(shop, 1, "a", kwargs={"deep": {"x": [None, 1.5]}})
    runs.add_tags(old, ["spring"]).sync()
    again, after = replayed(shop, old)
    assert told(after) == told(before)
    assert (again.replayed_from, again.is_replay, again.recorded) == (old.id, True, True)
    assert (again.payload, again.queue, again.tags) == (old.payload, "celery", ("spring",))
    assert again.celery_task_id == after.headers["id"] != before.headers["id"]
    different = {name for name in before.headers if before.headers[name] != after.headers[name]}
    assert different == {"id", "root_id"}
    assert {run.id for run in runs.list(tag="spring").sync()} == {again.id, old.id}
    third, _ = replayed(shop, again)
    assert (third.replayed_from, third.payload) == (again.id, old.payload)
    assert not runs.retrieve(old).sync().is_replay


def test_it_has_nothing_of_the_canvas_the_times_and_the_headers_of_the_old_one(
    shop: Celery,
) -> None:
    add = shop.tasks["shop.add"]
    old, before = called(
        shop, 1, link=add.s(2), link_error=add.s(3), headers={"mine": 1}, countdown=3600,
        expires=7200, group_id="g", chain=[add.s(4)], root_id="r", parent_id="p", shadow="s",
    )  # fmt: skip
    assert told(before)[2]["chain"]
    _, after = replayed(shop, old)
    args, kwargs, canvas = told(after)
    assert (args, kwargs, set(canvas.values())) == ([1], {}, {None})
    headers = after.headers
    assert headers["root_id"] == headers["id"]
    assert "mine" not in headers
    assert not any(headers[name] for name in ("eta", "expires", "group", "parent_id", "shadow"))


@pytest.mark.parametrize("kind", ["json", "yaml", "msgpack", "pickle"])
def test_the_serializer_and_the_priority_are_those_of_the_old_message(
    shop: Celery, kind: str
) -> None:
    old, before = called(shop, 1, None, "é", serializer=kind, priority=3)
    again, after = replayed(shop, old)
    assert (after.content_type, told(after)) == (before.content_type, told(before))
    assert after.properties["priority"] == 3
    _, third = replayed(shop, again)
    assert (third.body, third.properties["priority"]) == (after.body, 3)


def test_types_of_kombus_json_come_back_as_they_were(shop: Celery) -> None:
    old, before = called(shop, *KOMBU_JSON, kwargs={"at": KOMBU_JSON[0]})
    again, after = replayed(shop, old)
    assert after.body == before.body
    assert told(after)[0] == KOMBU_JSON
    assert list(map(type, told(after)[0])) == list(map(type, KOMBU_JSON))
    assert again.payload == old.payload


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("pickle", (1, (2, {3}), bytearray(b"x"))),
        ("pickle", {1: Odd("s", Odd("t"))}),
        ("pickle", datetime(2026, 3, 1, tzinfo=UTC)),
        ("json", {1: float("inf")}),
        ("json", Spelled()),
        ("msgpack", [b"\xff", {"a": (1, b"y")}]),
        ("yaml", [date(2026, 3, 1), {"s": {1, 2}}]),
    ],
)
def test_what_json_does_not_carry_is_sent_as_the_bytes_it_was(
    shop: Celery, kind: str, value: Any
) -> None:
    old, before = called(shop, value, kwargs={"k": value}, serializer=kind)
    again, after = replayed(shop, old)
    assert told(after) == told(before)
    assert after.content_type == before.content_type
    third, last = replayed(shop, again)
    assert told(last) == told(before)
    assert third.payload == old.payload


def test_nothing_is_opened_where_it_is_sent_again(shop: Celery) -> None:
    old, _ = called(shop, Trap(), serializer="pickle")
    opened = Trap.opened
    _, after = replayed(shop, old)
    assert Trap.opened == opened
    assert pickle.loads(after.body)[0] == (None,)  # noqa: S301 - that of this test
    assert Trap.opened == opened + 1


def test_signals_and_events_of_a_publish_are_as_ever(shop: Celery) -> None:
    old, _ = called(shop, Odd("s"), serializer="pickle")
    plain, _ = called(shop, 1)
    heard: list[tuple[str, str]] = []

    def before(headers: Any = None, **_: Any) -> None:
        heard.append(("before", headers["id"]))

    def after(headers: Any = None, **_: Any) -> None:
        heard.append(("after", headers["id"]))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    shop.conf.task_send_sent_event = True
    try:
        for one in (old, plain):
            _, sent = replayed(shop, one)
            assert heard[-2:] == [(word, sent.headers["id"]) for word in ("before", "after")]
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)


# Where it goes


def test_it_goes_to_the_queue_of_the_old_message_while_that_is_known(
    shop: Celery, engine: Engine
) -> None:
    old, _ = called(shop, 1, queue="other")
    _, after = replayed(shop, old, queue="other")
    assert after.delivery_info["routing_key"] == "other"
    shop.amqp.queues.pop("other")  # a process that never heard of it
    assert replayed(shop, old)[0].queue == "celery"
    told_of = {"queues": ["other"]}
    worker = sessions.SessionDeclaration("w1", LEASE, told_of, ("other",), [], [], None)
    engine.run(sessions.register(engine.scope, worker))
    assert replayed(shop, old, queue="other")[0].queue == "other"
    handle = runs.replay(old, queue="special").sync()
    assert runs.retrieve(handle).sync().queue == "special"
    assert message(shop, "special").headers["id"]


# Other arguments and options


def test_other_arguments_in_the_shape_of_the_record(shop: Celery) -> None:
    old, _ = called(shop, "me", "hunter2", task="shop.pay")
    assert old.payload == {"args": ["me", "[redacted]"], "kwargs": {}}
    with pytest.raises(StateError, match=r"hidden \(args\[1\]; the setting mask\).*payload="):
        runs.replay(old).sync()
    with pytest.raises(InvalidOptionError, match=r"args\[1\].*hidden"):
        runs.replay(old, payload={"args": ["you", "[redacted]"]}).sync()
    for wrong in ([1], {"arguments": []}, {"args": 1}, {"kwargs": [1]}, None):
        with pytest.raises(InvalidOptionError, match="args"):
            runs.replay(old, payload=wrong).sync()
    again, after = replayed(shop, old, payload={"args": ["you"], "kwargs": {"secret": "s"}})
    assert told(after)[:2] == [["you"], {"secret": "s"}]
    assert again.payload == {"args": ["you"], "kwargs": {"secret": "[redacted]"}}
    with pytest.raises(PayloadNotSerializableError):
        runs.replay(old, payload={"args": [object()]}).sync()


def test_options_that_mean_something_to_a_message(shop: Celery) -> None:
    old, _ = called(shop, 1)
    again, after = replayed(shop, old, delay="1h", ttl="10m", priority=7, tags=["t"])
    assert (again.status, again.tags) == ("DELAYED", ("t",))
    due, over = (datetime.fromisoformat(after.headers[name]) for name in ("eta", "expires"))
    assert 590 < (over - due).total_seconds() < 610
    assert after.properties["priority"] == 7
    due_at = datetime(2099, 1, 1, tzinfo=UTC)
    _, after = replayed(shop, old, delay=due_at)
    assert datetime.fromisoformat(after.headers["eta"]) == due_at


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"metadata": {"a": 1}}, UnknownOptionError, "no metadata.*delay, ttl, queue.*manage="),
        ({"idempotency_key": "k"}, UnknownOptionError, "no idempotency_key"),
        ({"retries": 1}, UnknownOptionError, "no option 'retries'"),
        ({"priority": -1}, InvalidOptionError, "0 to 255"),
        ({"priority": 1.5}, InvalidOptionError, "0 to 255"),
    ],
)
def test_other_options_are_refused_before_anything_is_sent(
    shop: Celery, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    old, _ = called(shop, 1)
    with pytest.raises(error, match=text):
        runs.replay(old, **options).sync()
    with pytest.raises(AssertionError, match="there is a message"):
        message(shop)


def test_a_queue_that_the_app_does_not_have(shop: Celery) -> None:
    old, _ = called(shop, 1)
    shop.amqp.queues.create_missing = False
    with pytest.raises(InvalidOptionError, match="no such queue"):
        runs.replay(old, queue="nowhere").sync()


# What is not known


def test_arguments_that_were_not_kept(
    shop: Celery, trigger: TriggerCelery, client: redis.Redis
) -> None:
    large, _ = called(shop, "x" * (MAX_BYTES + 1))
    private, _ = called(shop, Odd("s", {"password": "hunter2"}), serializer="pickle")
    for run, text in ((large, "larger than 1 MB"), (private, "hidden .what an object keeps")):
        with pytest.raises(StateError, match=f"{text}.*payload="):
            runs.replay(run).sync()
    with pytest.raises(RunNotFoundError):
        runs.replay(str(uuid4())).sync()
    odd, _ = called(shop, Odd("s"), serializer="pickle")
    kept = [client.exists(keys.key(trigger.scope, "message", run.id)) for run in (private, odd)]
    assert kept == [0, 1]


def test_a_broker_that_does_not_answer(shop: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    old, _ = called(shop, 1)

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError("nobody")

    monkeypatch.setattr("kombu.transport.memory.Channel._put", away)
    shop.conf.task_publish_retry = False
    with pytest.raises(StateError, match="could not be sent again: the broker"):
        runs.replay(old).sync()


def test_a_serializer_that_is_not_known(shop: Celery) -> None:
    """Of a message of protocol 1, or one made with what this worker does not have."""
    request = SimpleNamespace(content_type=None, request_dict={})
    note_serializer(request)
    calls = RecordedCalls(RecordedValues(()), shop.conf)
    plain, odd = (
        Sent.of(calls.received(None, (value,), {}, None, request.request_dict).sent)
        for value in (1, Odd("s"))
    )
    assert (plain.exactness, odd.exactness) == (Exactness.WHOLE, Exactness.LOST)
    assert plain.serializer == odd.serializer == ""


def test_objects_are_looked_through_for_secrets() -> None:
    class Slotted:
        __slots__ = ("__token", "size")

        def __init__(self, token: Any) -> None:
            self.__token, self.size = token, 1

    values = RecordedValues(["pin"])
    circle: list[Any] = [Odd("s")]
    circle.append(circle)
    for harmless in (Slotted(None), Odd("password"), circle, {1: {"size": (frozenset({b"x"}),)}}):
        assert not values.holds_secret(harmless), harmless
    for telling in (Slotted("x"), Odd("s", {"a": [{"PIN": 1}]}), list(map(Odd, "x" * 6_000))):
        assert values.holds_secret(telling)


# Tasks that make runs by now


def test_a_task_that_was_taken_over_since(shop: Celery, trigger: TriggerCelery) -> None:
    plain, _ = called(shop, 1, kwargs={"at": KOMBU_JSON[0]}, queue="other")
    spelled, _ = called(shop, Spelled())
    odd, _ = called(shop, Odd("s"), serializer="pickle")
    trigger.configure(manage=["shop.add"])
    trigger.taken_over.look()
    try:
        again = runs.retrieve(runs.replay(plain, delay="1h", metadata={"m": 1}).sync()).sync()
        assert (again.recorded, again.replayed_from, again.metadata) == (False, plain.id, {"m": 1})
        assert again.payload == {"args": [1], "kwargs": {"at": KOMBU_JSON[0]}}
        made = asyncio.run(_in_a_loop(trigger, spelled))
        assert (made.recorded, made.payload["args"]) == (False, [{"spelled": True}])
        through = runs.retrieve(runs.replay(odd).sync()).sync()  # as a call with it would
        assert (through.recorded, told(message(shop))[0]) == (True, (Odd("s"),))
    finally:
        trigger.taken_over.give_back()


async def _in_a_loop(trigger: TriggerCelery, run: Run) -> Run:
    made = await runs.retrieve(await runs.replay(run))
    await trigger.store.aclose()
    return made


def test_a_task_that_is_ours_since(shop: Celery) -> None:
    old, _ = called(shop, {"x": 1})
    two, _ = called(shop, 1, 2)
    odd, _ = called(shop, Odd("s"), serializer="pickle")

    @task(id="shop.add")
    def add(payload: Any) -> None:
        pass

    again = runs.retrieve(runs.replay(old, tags=["t"], priority=9.5).sync()).sync()
    assert (again.recorded, again.payload, again.replayed_from) == (False, {"x": 1}, old.id)
    assert (again.tags, again.priority) == (("t",), 9.5)
    with pytest.raises(InvalidOptionError, match="takes one payload"):
        runs.replay(two).sync()
    with pytest.raises(StateError, match="application/x-python-serialize.*not opened.*payload="):
        runs.replay(odd).sync()


# Async code, runs, and many at once


def test_in_async_code(shop: Celery, trigger: TriggerCelery) -> None:
    old, _ = called(shop, 1)

    async def twice() -> list[RunHandle]:
        made = [await runs.replay(old), await runs.replay(old.celery_task_id or "")]
        await trigger.store.aclose()
        return made

    first, second = asyncio.run(twice())
    assert {message(shop).headers["id"] for _ in range(2)} == {
        runs.retrieve(one).sync().celery_task_id for one in (first, second)
    }


def test_in_a_run_it_is_sent_once(
    shop: Celery, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = called(shop, 1)
    engine.register("w1", ["t"], {})
    engine.create("t")
    grant = engine.take_one()

    def code(*, again: bool) -> list[str]:
        durable = Durable(grant.id, grant.epoch, 1, "")
        monkeypatch.setattr(Durable, "had_before", lambda *_, **__: again)
        token = context.current_scope.set(durable.root)
        try:
            return [runs.replay(old).sync().id, runs.replay(old).sync().id]
        finally:
            context.current_scope.reset(token)

    first = code(again=False)
    assert sorted(first) == sorted(run_id_of(message(shop).headers["id"]) for _ in range(2))
    assert code(again=True) == first


def test_many_at_once(shop: Celery, trigger: TriggerCelery) -> None:
    well = [called(shop, number)[0] for number in range(3)]
    hidden, _ = called(shop, "me", "hunter2", task="shop.pay")
    action = runs.bulk.replay(run_ids=[run.id for run in (*well, hidden)]).sync()
    service = BulkActions(
        trigger.scope, RETENTION, lambda name: trigger.placement(None, name), BulkSender(trigger)
    )
    while trigger.store.run_sync(service.tick()) != LOOK_EVERY:
        pass
    done = runs.bulk.retrieve(action).sync()
    assert (done.status, done.success_count, done.failure_count) == ("COMPLETED", 3, 1)
    assert sorted(told(message(shop))[0][0] for _ in well) == [0, 1, 2]
    made = runs.list(bulk_action=action).sync().runs
    assert {run.replayed_from for run in made} == {run.id for run in well}
    originals = [SimpleNamespace(id=run.id) for run in well]
    # A worker that takes the piece over sends nothing a second time.
    assert trigger.store.run_sync(BulkSender(trigger)(originals, action.id)) == [True] * 3  # type: ignore[arg-type]
