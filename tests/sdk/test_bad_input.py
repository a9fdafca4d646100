"""Bad input: a named error that says what to write instead, and nothing is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pydantic
import pytest
import redis
from celery import Celery

from trigger_celery import (
    BatchTooLargeError,
    InvalidDurationError,
    InvalidOptionError,
    InvalidQueueError,
    InvalidTagsError,
    MetadataTooLargeError,
    PayloadNotSerializableError,
    PayloadTooLargeError,
    PayloadValidationError,
    RunNotFoundError,
    StoreAuthenticationError,
    StoreUnavailableError,
    Task,
    TriggerCelery,
    TriggerError,
    UnknownOptionError,
    runs,
    schema_task,
    task,
    tasks,
)
from trigger_celery.dev.embedded import EmbeddedServer

pytestmark = pytest.mark.filterwarnings("ignore:tasks.trigger_and_poll is:DeprecationWarning")

Way = Callable[..., Any]
UNKNOWN_RUN = "run_" + "0" * 26


class Order(pydantic.BaseModel):
    id: int
    email: str


@pytest.fixture
def my_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @task(id="my-task")
    def my_task(payload: Any) -> None:
        """Do nothing."""

    return my_task


@pytest.fixture
def order_task(trigger: TriggerCelery) -> Task[Any, Any]:
    @schema_task(id="order-task", schema=Order)
    def order_task(payload: Order) -> None:
        """Do nothing."""

    return order_task


WAYS: dict[str, Way] = {
    "my_task.trigger": lambda my_task, payload, **o: my_task.trigger(payload, **o).sync(),
    "tasks.trigger": lambda _, payload, **o: tasks.trigger("my-task", payload, **o).sync(),
    "tasks.trigger_and_poll": lambda _, payload, **o: tasks.trigger_and_poll(
        "my-task", payload, timeout=1, **o
    ).sync(),
    "my_task.batch_trigger": lambda my_task, payload, **o: my_task.batch_trigger(
        [{"payload": 1}, {"payload": payload, "options": o}]
    ).sync(),
    "tasks.batch_trigger": lambda _, payload, **o: tasks.batch_trigger(
        "my-task", [{"payload": payload, "options": o}]
    ).sync(),
    "my_task.apply_async": lambda my_task, payload, **o: my_task.apply_async((payload,), **o),
}


@pytest.fixture(params=WAYS, ids=str)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.fixture(autouse=True)
def nothing_is_stored(trigger: TriggerCelery, client: redis.Redis) -> Iterator[None]:
    before = sorted(client.scan_iter())
    yield
    assert sorted(client.scan_iter()) == before


class Recursive(dict[str, Any]):
    def __init__(self) -> None:
        self["me"] = self


PAYLOADS: dict[str, tuple[Any, type[Exception], str]] = {
    "a lock": (
        {"items": [1, threading.Lock()]},
        PayloadNotSerializableError,
        r"payload\.items\[1\]|items.*1",
    ),
    "a function": (print, PayloadNotSerializableError, "payload"),
    "an open file": ({"f": Path}, PayloadNotSerializableError, "f"),
    "not a number": ({"x": float("nan")}, PayloadNotSerializableError, "x"),
    "infinity": ([float("inf")], PayloadNotSerializableError, "inf"),
    "keys that are not text": ({1: "one"}, PayloadNotSerializableError, "1"),
    "half of a character": ({"name": "\ud800"}, PayloadNotSerializableError, "name"),
    "itself": (Recursive(), PayloadNotSerializableError, "me"),
    "over 10 MB": ("x" * (10 * 1024 * 1024 + 1), PayloadTooLargeError, r"10,485,761 bytes"),
    "over 10 MB in UTF-8": ("é" * (5 * 1024 * 1024 + 1), PayloadTooLargeError, r"10,485,762"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads(my_task: Task[Any, Any], way: Way, name: str) -> None:
    payload, error, message = PAYLOADS[name]
    with pytest.raises(error, match=message):
        way(my_task, payload)


OPTIONS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "11 tags": ({"tags": [str(n) for n in range(11)]}, InvalidTagsError, "11 tags.*at most 10"),
    "a tag of 129 characters": ({"tags": "x" * 129}, InvalidTagsError, "129 characters.*128"),
    "an empty tag": ({"tags": ["a", ""]}, InvalidTagsError, "empty"),
    "a number as tag": ({"tags": [7]}, InvalidTagsError, "type int, not text"),
    "a tag with a control character": ({"tags": ["a\x1fb"]}, InvalidTagsError, "control"),
    "metadata over 256 KB": ({"metadata": {"x": "y" * 262_144}}, MetadataTooLargeError, "262,1"),
    "metadata that is a list": ({"metadata": [1]}, InvalidOptionError, "must be a dict"),
    "metadata with a date": (
        {"metadata": {"at": datetime(2024, 1, 1)}},  # noqa: DTZ001
        InvalidOptionError,
        "at",
    ),
    "an option that does not exist": (
        {"concurency_key": "a"},
        UnknownOptionError,
        "concurrency_key",
    ),
    "an option of another release": (
        {"external_deployment_id": "a"},
        UnknownOptionError,
        "ptions: delay",
    ),
    "a negative delay": ({"delay": -1}, InvalidDurationError, "negative"),
    "a delay that does not parse": ({"delay": "5 parsecs"}, InvalidDurationError, "1h30m"),
    "an empty delay": ({"delay": ""}, InvalidDurationError, "delay=''"),
    "a delay of true": ({"delay": True}, InvalidDurationError, "delay=True"),
    "a delay that is no number": ({"delay": float("nan")}, InvalidDurationError, "finite"),
    "a delay of 11 years": ({"delay": "4015d"}, InvalidDurationError, "10 years"),
    "a delay as a dict": ({"delay": {}}, InvalidDurationError, "delay"),
    "a priority that is no number": (
        {"priority": float("nan")},
        InvalidOptionError,
        "priority=nan",
    ),
    "a priority as text": ({"priority": "high"}, InvalidOptionError, "number of seconds"),
    "a priority out of range": ({"priority": 1e18}, InvalidOptionError, "10\\^9"),
    "an empty queue name": ({"queue": ""}, InvalidQueueError, "empty"),
    "a queue name of 129 characters": ({"queue": "q" * 129}, InvalidQueueError, "129.*128"),
    "a queue name with a space": ({"queue": "my queue"}, InvalidQueueError, "character ' '"),
    "a queue name with a brace": ({"queue": "{x}"}, InvalidQueueError, "allowed are"),
    "a number as queue": ({"queue": 7}, InvalidQueueError, "must be text"),
    "an empty concurrency key": ({"concurrency_key": ""}, InvalidOptionError, "None for no key"),
    "a long concurrency key": ({"concurrency_key": "k" * 513}, InvalidOptionError, "512"),
    "a list as concurrency key": ({"concurrency_key": [1]}, InvalidOptionError, "type list"),
    "no attempts": ({"max_attempts": 0}, InvalidOptionError, "from 1 to 250"),
    "251 attempts": ({"max_attempts": 251}, InvalidOptionError, "from 1 to 250"),
    "attempts as text": ({"max_attempts": "3"}, InvalidOptionError, "max_attempts='3'"),
    "half an attempt": ({"max_attempts": 1.5}, InvalidOptionError, "whole number"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(my_task: Task[Any, Any], way: Way, name: str) -> None:
    options, error, message = OPTIONS[name]
    with pytest.raises(error, match=message) as raised:
        way(my_task, {}, **options)
    assert isinstance(raised.value, TriggerError)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("countdown", "Write delay=30."),
        ("eta", "Write delay="),
        ("expires", "Write ttl="),
        ("args", "Write the payload, one value"),
        ("order_id", "If it belongs to the payload, which is one value, write trigger({'order_id'"),
    ],
)
def test_options_of_celery_and_arguments_of_the_task(
    my_task: Task[Any, Any], word: str, instead: str
) -> None:
    with pytest.raises(UnknownOptionError) as raised:
        my_task.trigger({}, **{word: 1})
    assert f"has no option {word!r}. {instead}" in str(raised.value)


def test_bad_input_raises_before_the_operation_is_run(my_task: Task[Any, Any]) -> None:
    with pytest.raises(InvalidTagsError):
        my_task.trigger({}, tags=[""])


@pytest.mark.parametrize("error", [ValueError, TriggerError])
def test_bad_input_is_a_value_error_too(my_task: Task[Any, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        my_task.trigger({}, priority="high")
    with pytest.raises(TypeError):
        my_task.trigger({}, no_such_option=1)


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ({}, ("id: Field required", "email: Field required")),
        ({"id": "seven", "email": "a"}, ("id: Input should be a valid integer",)),
        (None, ("Order",)),
        ("text", ("Order",)),
    ],
)
def test_a_payload_that_does_not_match_its_schema(
    order_task: Task[Any, Any], payload: Any, fields: tuple[str, ...]
) -> None:
    for trigger_it in (
        lambda: order_task.trigger(payload),
        lambda: order_task.batch_trigger([{"payload": payload}]),
        lambda: order_task.delay(payload),
        lambda: order_task.run(payload),
    ):
        with pytest.raises(PayloadValidationError, match="does not match Order") as raised:
            trigger_it()
        assert all(field in str(raised.value) for field in fields)


def test_a_bad_item_is_named_and_refuses_the_whole_batch(my_task: Task[Any, Any]) -> None:
    items: list[Any] = [{"payload": n} for n in range(500)]
    items[321] = {"payload": 1, "options": {"tags": [""]}}
    with pytest.raises(InvalidTagsError, match="batch item 321: A tag is empty"):
        my_task.batch_trigger(items)


@pytest.mark.parametrize("size", [1001, 5000])
def test_a_batch_of_more_than_1000(my_task: Task[Any, Any], size: int) -> None:
    for batch in (my_task.batch_trigger, lambda items: tasks.batch_trigger("my-task", items)):
        with pytest.raises(BatchTooLargeError, match=r"at most 1,000 items, this one has [15],"):
            batch([{"payload": 1}] * size)


@pytest.mark.parametrize(
    "items", ["text", {"payload": 1}, [1], [{"pay": 1}], [{"payload": 1, "option": {}}], [None]]
)
def test_a_batch_of_something_else(my_task: Task[Any, Any], items: Any) -> None:
    with pytest.raises(InvalidOptionError, match="payload"):
        my_task.batch_trigger(items)


@pytest.mark.parametrize(
    "task_id", ["", "a b", "x" * 129, "../é", "{x}", "a\nb", "*", 7, None, b"bytes"]
)
def test_task_ids(trigger: TriggerCelery, task_id: Any) -> None:
    with pytest.raises(TriggerError, match="Task id"):
        tasks.trigger(task_id, {})


@pytest.mark.parametrize(
    "run_id", [UNKNOWN_RUN, "", "run_", "run_../../x", "run_*", "run_" + "X" * 26, "x" * 10_000]
)
def test_unknown_runs(trigger: TriggerCelery, run_id: str) -> None:
    for look in (runs.retrieve, runs.poll, runs.cancel):
        with pytest.raises(RunNotFoundError, match="never triggered in this environment"):
            look(run_id).sync()


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"status": "finished"}, "no status"),
        ({"status": "complete"}, "Did you mean 'COMPLETED'"),
        ({"statuses": "queued"}, "no filter 'statuses'. Did you mean 'status'"),
        ({"limit": 0}, "1 to 100 runs"),
        ({"limit": 101}, "1 to 100 runs"),
        ({"after": "garbage"}, "is not a cursor"),
        ({"tag": ""}, "not a text to filter by"),
        ({"task": [7]}, "not a text to filter by"),
        ({"period": "soon"}, "period='soon'"),
        ({"period": "1h", "created_from": datetime(2024, 1, 1)}, "not both"),  # noqa: DTZ001
    ],
)
def test_filters(trigger: TriggerCelery, filters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runs.list(**filters).sync()


@pytest.fixture
def bind_to(trigger: TriggerCelery) -> Iterator[Callable[[str], None]]:
    """Binds an app to another address instead."""
    bound: list[TriggerCelery] = []
    trigger.unbind()

    def bind(url: str) -> None:
        app = Celery("other", broker="memory://", set_as_current=False)
        bound.append(TriggerCelery(app, redis_url=url, store_retry=0.1))

    yield bind
    for one in bound:
        one.unbind()
    trigger.init_app(trigger.app)


def test_a_server_that_is_down(bind_to: Callable[[str], None], tmp_path: Path) -> None:
    bind_to(f"unix://{tmp_path}/nobody.sock")
    for call in (lambda: tasks.trigger("t", {}), lambda: runs.retrieve(UNKNOWN_RUN)):
        with pytest.raises(StoreUnavailableError, match=r"nobody\.sock.*cannot serve now"):
            call().sync()


def test_a_wrong_password(bind_to: Callable[[str], None], server: EmbeddedServer) -> None:
    bind_to(server.url.replace("unix://", "unix://bob:secret@"))
    with pytest.raises(StoreAuthenticationError, match="Check user and password") as raised:
        tasks.trigger("t", {}).sync()
    assert "secret" not in str(raised.value)


def test_a_user_that_may_not_run_scripts(
    bind_to: Callable[[str], None], server: EmbeddedServer, client: redis.Redis
) -> None:
    client.execute_command(
        "ACL", "SETUSER", "bob", "on", ">pw", "~*", "&*", "+@all", "-eval", "-evalsha"
    )
    bind_to(server.url.replace("unix://", "unix://bob:pw@"))
    with pytest.raises(StoreAuthenticationError, match="may run EVALSHA"):
        tasks.trigger("t", {}).sync()
    client.execute_command("ACL", "DELUSER", "bob")
