"""What a producer of plain Celery tasks notices of recording: nothing, whatever the store does."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Iterator
from copy import copy
from enum import StrEnum
from typing import Any, NamedTuple

import pytest
from celery import Celery, signals
from celery.app.task import Context

from tests.conftest import Environment
from tests.waiting import wait_until
from trigger_celery import Run, TriggerCelery, runs, task
from trigger_celery.bridge.recording import fact_sender
from trigger_celery.bridge.recording.values import MAX_BYTES, RecordedValues
from trigger_celery.dev.embedded import EmbeddedServer
from trigger_celery.engine import recording
from trigger_celery.errors import InvalidOptionError, RunNotFoundError
from trigger_celery.model.packet import Packet, decode
from trigger_celery.model.recorded import RecordRule

NOWHERE = "redis://127.0.0.1:1/0"
"""Nobody listens there."""


@pytest.fixture
def old(app: Celery) -> Iterator[Celery]:
    """An app with tasks, as before the library came."""

    @app.task(name="shop.add", shared=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="shop.pay", shared=False)
    def pay(card: str, secret: str) -> None:
        pass

    @app.task(name="shop.quiet", shared=False, record=False)
    def quiet() -> None:
        pass

    @app.task(name="shop.loud", shared=False, record=True)
    def loud() -> None:
        pass

    yield app
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("celery")


def bind(app: Celery, server: EmbeddedServer, environment: Environment, **more: Any) -> Any:
    return TriggerCelery(
        app, redis_url=server.url, project=environment.project, env=environment.env, **more
    )


@pytest.fixture
def bound(
    old: Celery, server: EmbeddedServer, environment: Environment, registry: None
) -> Iterator[TriggerCelery]:
    made = bind(old, server, environment, mask=["pin"])
    yield made
    made.unbind()


def recorded(task_id: str) -> Run:
    def look() -> Run | None:
        try:
            return runs.retrieve(task_id).sync()
        except RunNotFoundError:
            return None

    found = wait_until(look, "the call is recorded")
    assert found is not None
    return found


def is_recorded_before(bound: TriggerCelery, task_id: str) -> bool:
    """Say whether a call was recorded, once a later one was."""
    recorded(bound.app.send_task("shop.loud").id)
    try:
        return bool(runs.retrieve(task_id).sync())
    except RunNotFoundError:
        return False


def message_on_the_broker(app: Celery) -> dict[str, Any]:
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get("celery", no_ack=True)
        assert message is not None
        headers = {**message.headers, "id": "", "root_id": ""}
        return {"body": bytes(message.body), "headers": headers, "type": message.content_type}


# The call


def test_a_call_is_recorded_with_masked_arguments(bound: TriggerCelery) -> None:
    result = bound.app.tasks["shop.pay"].delay("4711", "hunter2")
    assert recorded(result.id).payload == {"args": ["4711", "[redacted]"], "kwargs": {}}
    named = bound.app.send_task("shop.elsewhere", kwargs={"a": {"pin": 1, "ok": (1, 2)}})
    assert recorded(named.id).payload == {
        "args": [],
        "kwargs": {"a": {"pin": "[redacted]", "ok": [1, 2]}},
    }


def test_the_message_is_the_same_with_and_without_the_line(
    old: Celery, server: EmbeddedServer, environment: Environment, registry: None
) -> None:
    old.tasks["shop.add"].apply_async((1,), {"y": 2}, headers={"mine": "x"}, priority=3)
    before = message_on_the_broker(old)
    made = bind(old, server, environment)
    old.tasks["shop.add"].apply_async((1,), {"y": 2}, headers={"mine": "x"}, priority=3)
    made.unbind()
    assert message_on_the_broker(old) == before


def test_an_execution_that_a_worker_stopped_for_its_end_is_nothing_that_is_missed(
    bound: TriggerCelery,
) -> None:
    """Celery tells of it as of a retry, but gives no reason."""
    old = bound.app.tasks["shop.add"]
    signals.task_retry.send(old, request=Context({"id": "stopped"}), einfo=None)
    assert bound.unrecorded == 0


def test_a_task_may_say_that_it_is_not_recorded(bound: TriggerCelery) -> None:
    assert not is_recorded_before(bound, bound.app.tasks["shop.quiet"].delay().id)


def test_recording_is_switched_off_for_an_app_or_by_patterns(
    old: Celery, server: EmbeddedServer, environment: Environment, registry: None
) -> None:
    for rule, wanted in ((False, False), (["other.*"], False), ("shop.*,!shop.pay", True)):
        made = bind(old, server, environment, record=rule)
        task_id = old.tasks["shop.add"].delay(1).id
        assert is_recorded_before(made, task_id) is wanted, rule
        assert not is_recorded_before(made, old.tasks["shop.pay"].delay("a", "b").id)
        made.unbind()


def test_a_task_of_ours_is_not_recorded_beside_its_run(bound: TriggerCelery) -> None:
    @task(id="new")
    def new(payload: dict[str, int]) -> None:
        pass

    assert not runs.retrieve(new.delay({"x": 1}).id).sync().recorded


def test_eager_calls_work_and_are_not_recorded(bound: TriggerCelery) -> None:
    bound.app.conf.task_always_eager = True
    result = bound.app.tasks["shop.add"].delay(1, 2)
    assert result.get() == 3
    bound.app.conf.task_always_eager = False
    assert not is_recorded_before(bound, result.id)


def test_tasks_of_another_app_in_the_process_are_not_recorded(bound: TriggerCelery) -> None:
    other = Celery("other", broker="memory://", set_as_current=False)
    assert not is_recorded_before(bound, other.send_task("shop.add", (1,)).id)


def test_a_call_by_name_does_not_finalize_the_app(
    registry: None, server: EmbeddedServer, environment: Environment
) -> None:
    app = Celery("plain", broker="memory://", autofinalize=False, set_as_current=False)
    made = bind(app, server, environment)
    assert recorded(app.send_task("shop.elsewhere", (1,)).id).payload["args"] == [1]
    assert not app.finalized
    made.unbind()


class OwnApp(Celery):
    """An app whose ways are its own."""

    def send_task(self, task_name: str, *args: Any, tenant: str = "", **more: Any) -> Any:  # type: ignore[override]
        return task_name, args, tenant, more

    def AsyncResult(self, task_id: str) -> str:  # type: ignore[override]
        return f"my {task_id}"


def test_an_app_with_ways_of_its_own_keeps_them(registry: None) -> None:
    app: Any = OwnApp("own", broker="memory://", set_as_current=False)
    made = TriggerCelery(app, redis_url=NOWHERE)
    assert app.send_task("x", 1, kwargs={}, tenant="t") == ("x", (1,), "t", {"kwargs": {}})
    assert app.send_task(task_name="x") == ("x", (), "", {})
    assert app.AsyncResult("y") == "my y"
    made.unbind()
    assert not {"send_task", "AsyncResult"} & set(vars(app))


def test_results_look_as_before(old: Celery, registry: None) -> None:
    before = repr(old.AsyncResult("x"))
    made = TriggerCelery(old, redis_url=NOWHERE)
    assert repr(old.AsyncResult("x")) == before
    assert copy(old.AsyncResult("x")) == old.AsyncResult("x")
    made.unbind()


def test_unbinding_leaves_no_thread(old: Celery, registry: None) -> None:
    made = TriggerCelery(old, redis_url=NOWHERE)
    old.tasks["shop.add"].delay(1)
    thread = made._recorder.sender._thread
    assert thread is not None
    made.unbind()
    thread.join(10)
    assert not thread.is_alive()


# The store


def test_a_store_that_is_down_neither_breaks_nor_delays_a_publish(
    old: Celery, registry: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_sender, "MAX_FACTS", 50)
    made = TriggerCelery(old, redis_url=NOWHERE)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "trigger_celery.recording"):
        for _ in range(60):
            old.tasks["shop.add"].delay(1)
        assert time.monotonic() - began < 5
        assert made.unrecorded == 10
        wait_until(
            lambda: (
                {"facts_dropped", "facts_wait"}
                <= {getattr(record, "action", "") for record in caplog.records}
            ),
            "the log says so",
        )
        made.unbind()
    assert made.unrecorded == 60
    with old.connection_for_read() as connection:
        assert connection.default_channel.queue_purge("celery") == 60


def test_what_was_dropped_is_counted_in_the_store_when_it_is_back(
    old: Celery,
    server: EmbeddedServer,
    environment: Environment,
    registry: None,
    monkeypatch: pytest.MonkeyPatch,
    store: Any,
) -> None:
    monkeypatch.setattr(fact_sender, "MAX_FACTS", 5)
    made = bind(old, server, environment)
    monkeypatch.setattr(made._recorder.sender, "_start", lambda: None)
    ids = [old.tasks["shop.add"].delay(1).id for _ in range(8)]
    monkeypatch.undo()
    assert recorded(old.tasks["shop.add"].delay(2).id).payload["args"] == [2]
    assert recorded(ids[4]).recorded
    found = store.run_sync(recording.read_unrecorded(environment.scope))
    assert (found.count, made.unrecorded) == (3, 3)
    made.unbind()


def test_without_a_place_to_record_to_tasks_go_on(
    old: Celery, registry: None, caplog: pytest.LogCaptureFixture
) -> None:
    made = TriggerCelery(old)  # the broker is not Redis, and nothing says where the store is
    with caplog.at_level(logging.WARNING, "trigger_celery.recording"):
        for _ in range(3):
            old.tasks["shop.add"].delay(1)
    made.unbind()
    assert [record.action for record in caplog.records] == ["recording_failed"]  # type: ignore[attr-defined]


# Values


class Strange:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def values(packet: Packet) -> Any:
    return decode(packet.data, packet.type)


def test_no_value_is_too_strange() -> None:
    made = RecordedValues(())
    loop: list[Any] = []
    loop.append(loop)
    for value in (loop, object(), Strange(), {1: 2}, float("inf"), "\ud800", b"\xff", {"a": loop}):
        packet, _ = made.payload(None, (value,), {"password": value})
        json.dumps(packet.data)
        packet.data.encode()
        assert "…" in packet.data or values(packet) is not None


def test_one_strange_value_hides_no_other_and_shows_no_secret() -> None:
    kept = values(
        RecordedValues(()).payload(None, (1, float("nan")), {"token": "t", "b": {2: 3}})[0]
    )
    assert kept["args"] == [1, "nan"]
    assert kept["kwargs"] == {"token": "[redacted]", "b": {"2": 3}}


class Account(NamedTuple):
    user: str
    password: str


class Slotted:
    __slots__ = ("password",)

    def __init__(self) -> None:
        self.password = "hunter2"

    def __repr__(self) -> str:
        return self.password


class Key(StrEnum):
    PASSWORD = "password"


class Items(list[Any]):
    pass


def test_no_kind_of_value_shows_a_secret() -> None:
    secret = {"password": "hunter2"}
    deep: Any = {**secret, "strange": object()}
    for _ in range(9):
        deep = {"inner": deep}
    loop: dict[str, Any] = {**secret}
    loop["loop"] = loop
    account = Account("me", "hunter2")
    for value in (
        account, [account, object()], frozenset([account]), Items([secret]), deque([secret]),
        Slotted(), [Slotted(), object()], {Key.PASSWORD: "hunter2"}, {b"password": "hunter2"},
        secret.items(), {1: secret}.values(), deep, loop, ValueError(secret),
    ):  # fmt: skip
        for packet in (
            RecordedValues(()).value(value),
            RecordedValues(()).payload(None, (value,), {})[0],
        ):
            assert "hunter2" not in packet.data, value


class Paying:
    name = "pay"

    def run(self, user: str, *tokens: str) -> None:
        """Pay."""


class Mapping:
    name = "celery.starmap"


def test_positional_secrets_are_hidden_in_lists_too() -> None:
    made = RecordedValues(())
    assert values(made.payload(Paying(), ("me", "a", "b"), {})[0])["args"] == [
        "me",
        *["[redacted]"] * 2,
    ]
    calls = {"task": {}, "it": [("me", "a"), ("you", None)]}
    kept = values(made.payload(Mapping(), (), calls, Paying())[0])["kwargs"]["it"]
    assert kept == [["me", "[redacted]"], ["you", None]]


def test_nobody_waits_for_a_value_without_an_end() -> None:
    wide: list[Any] = []
    wide.extend([wide] * 300)
    doubled: list[Any] = []
    for _ in range(60):
        doubled = [doubled, doubled]
    began = time.monotonic()
    for value in (wide, doubled, list(range(1_000_000)), {"x": "y" * 50_000_000}):
        assert len(RecordedValues(()).value(value).data) < MAX_BYTES
    assert time.monotonic() - began < 10


def test_large_values_are_cut() -> None:
    packet, _ = RecordedValues(()).payload(None, ("x" * (MAX_BYTES + 1),), {})
    assert len(packet.data) < 10_000
    assert "more characters" in packet.data


def test_rules_say_which_tasks_are_recorded() -> None:
    rule = RecordRule.of("shop.*,!shop.noisy")
    assert [rule.fits(name) for name in ("shop.a", "shop.noisy", "mail.a")] == [True, False, False]
    out = RecordRule.of(["!mail.*"])
    assert [out.fits(name) for name in ("shop.a", "mail.a")] == [True, False]
    every = RecordRule.of("true")
    assert every.fits("shop.a")
    assert not every.fits("celery.chord_unlock")
    assert RecordRule.of(["celery.*"]).fits("celery.chord_unlock")
    assert not RecordRule.of(False).fits("shop.a")
    with pytest.raises(InvalidOptionError, match="patterns of task names"):
        RecordRule.of(7)
