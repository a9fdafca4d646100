"""A task is checked when its module is imported, before any run exists."""

from __future__ import annotations

import asyncio
import functools
import sys
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
import typing_extensions

from trigger_celery import (
    DefinitionError,
    DuplicateTaskIdError,
    InvalidQueueError,
    PayloadValidationError,
    Retry,
    TriggerError,
    UnknownTaskOptionError,
    queue,
    schema_task,
    task,
)
from trigger_celery.bridge.registry import REGISTRY

pytestmark = pytest.mark.usefixtures("registry")


def nothing(payload: Any = None) -> None:
    """Do nothing. And say so."""


def test_a_task_works_before_an_app_is_bound() -> None:
    @task(id="t", retry={"max_attempts": 5})
    def double(payload: int) -> int:
        """Double a number.

        Twice.
        """
        return payload * 2

    assert (double.id, double.description, double.__name__) == ("t", "Double a number.", "double")
    assert (double.run(2), double(3)) == (4, 6)
    assert double.queue.name == "task/t"
    assert "test_task_definitions.py" in repr(double)


def test_an_async_task_is_awaited() -> None:
    @task(id="t")
    async def double(payload: int) -> int:
        return payload * 2

    assert asyncio.run(double.run(2)) == 4


def test_functions_get_what_they_ask_for_by_name() -> None:
    @task(id="none")
    def none() -> str:
        return "none"

    @task(id="ctx")
    def with_ctx(payload: int, ctx: Any) -> Any:
        return payload, ctx

    @task(id="only-ctx")
    def only_ctx(*, ctx: Any) -> Any:
        return ctx

    @task(id="any-name")
    def any_name(order: int, extra: int = 7) -> int:
        return order + extra

    assert (none.run(), with_ctx.run(1), only_ctx.run(), any_name.run(1)) == (
        "none",
        (1, None),
        None,
        8,
    )


def _generator() -> Iterator[int]:
    yield 1


async def _async_generator() -> AsyncIterator[int]:
    yield 1


class _NotAFunction:
    pass


def _two(payload: Any, other: Any) -> None: ...


def _keyword(payload: Any, *, other: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_generator, "generator; a task returns one value"),
        (_async_generator, "generator; a task returns one value"),
        (_NotAFunction, "not a function"),
        (7, "not a function"),
        (_two, "parameter 'other'.*A task takes one payload"),
        (_keyword, "parameter 'other'"),
    ],
)
def test_what_cannot_be_a_task(function: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        task(id="t")(function)
    assert REGISTRY.tasks == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"id": ""}, DefinitionError, "needs an id"),
        ({"id": "a b"}, DefinitionError, "character ' '"),
        ({"id": "x" * 129}, DefinitionError, "129 characters"),
        ({"id": 7}, DefinitionError, "must be text"),
        ({"retries": 3}, UnknownTaskOptionError, "Did you mean 'retry'"),
        ({"idd": 3}, UnknownTaskOptionError, "Options: id, retry, queue"),
        ({"retry": {"attempts": 3}}, DefinitionError, "max_attempts"),
        ({"retry": {"max_attempts": 0}}, DefinitionError, "task.*'t'.*max_attempts=0"),
        ({"retry": {"factor": float("inf")}}, DefinitionError, "factor=inf"),
        ({"retry": {"min_timeout_in_ms": 5, "max_timeout_in_ms": 1}}, DefinitionError, "above"),
        ({"retry": 3}, DefinitionError, "a Retry or a dict"),
        ({"queue": ""}, InvalidQueueError, "empty"),
        ({"queue": "my queue"}, InvalidQueueError, "character"),
        ({"queue": {"concurrency_limit": -1}}, InvalidQueueError, "from 0 to 100,000"),
        ({"queue": {"limit": 1}}, UnknownTaskOptionError, "queue has no option 'limit'"),
        ({"queue": 7}, DefinitionError, "is not a queue. Write queue=queue"),
        ({"max_duration": 4}, DefinitionError, "minimum of 5 seconds"),
        ({"max_duration": -1}, DefinitionError, "negative"),
        ({"max_duration": "soon"}, DefinitionError, "max_duration='soon'"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        task(**{"id": "t", **options})(nothing)
    assert isinstance(raised.value, TriggerError)
    assert REGISTRY.tasks == REGISTRY.queues == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"name": ""}, InvalidQueueError, "empty"),
        ({"name": "x" * 129}, InvalidQueueError, "129.*128"),
        ({"name": "a", "concurrency_limit": -1}, InvalidQueueError, "from 0 to 100,000"),
        ({"name": "a", "concurrency_limit": "4"}, InvalidQueueError, "concurrency_limit='4'"),
        ({"name": "a", "concurrency_limit": True}, InvalidQueueError, "None for no limit"),
        ({"name": "a", "limit": 4}, UnknownTaskOptionError, "Options: name, concurrency_limit"),
        (
            {"name": "a", "concurency_limit": 4},
            UnknownTaskOptionError,
            "Did you mean 'concurrency_",
        ),
    ],
)
def test_bad_queues(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        queue(**options)
    assert REGISTRY.queues == {}


@pytest.mark.parametrize(
    ("word", "instead"),
    [
        ("max_retries", "Write retry={'max_attempts': 5"),
        ("bind", "Write a parameter called ctx"),
        ("rate_limit", "Write queue=queue(name=…, rate_limit='100/m')"),
        ("time_limit", "Write max_duration="),
    ],
)
def test_options_of_celery_are_answered_with_what_they_are_here(word: str, instead: str) -> None:
    with pytest.raises(UnknownTaskOptionError) as raised:
        task(id="t", **{word: 1})
    assert f"has no option {word!r}. {instead}" in str(raised.value)


def test_forms_of_a_queue() -> None:
    shared = queue(name="shared", concurrency_limit=4)
    one = task(id="one", queue=shared)(nothing)
    two = task(id="two", queue="shared")(nothing)
    three = task(id="three", queue={"concurrency_limit": 1})(nothing)
    with pytest.warns(DeprecationWarning, match=r"queue\(name='four', concurrency_limit=0\)"):
        four = task(id="four", queue={"name": "four", "concurrency_limit": 0})(nothing)
    assert one.queue == two.queue == shared
    assert (three.queue.name, three.queue.concurrency_limit) == ("task/three", 1)
    assert (four.queue.name, four.queue.concurrency_limit) == ("four", 0)


@pytest.mark.filterwarnings("ignore:.*the form of earlier versions:DeprecationWarning")
@pytest.mark.parametrize("named", ["later", {"name": "later"}])
def test_a_name_alone_does_not_declare_a_queue(named: Any) -> None:
    one = task(id="one", queue=named)(nothing)
    assert (one.queue.name, one.queue.concurrency_limit) == ("later", None)
    assert REGISTRY.queues == {}
    later = queue(name="later", concurrency_limit=4)
    assert later.concurrency_limit == 4
    assert one.queue == later


def test_a_schema_given_to_task_is_sent_to_schema_task() -> None:
    with pytest.raises(UnknownTaskOptionError, match="'schema'. Use schema_task") as raised:
        task(id="t", schema=int)
    assert "description, worker_queue, " in str(raised.value)


def test_one_queue_with_two_limits_warns_and_the_first_counts() -> None:
    queue(name="q", concurrency_limit=1)
    with pytest.warns(UserWarning, match="the first counts"):
        assert queue(name="q", concurrency_limit=2).concurrency_limit == 1


def test_two_tasks_with_one_id_name_both_places() -> None:
    task(id="t")(nothing)

    def other() -> None: ...

    with pytest.raises(DuplicateTaskIdError, match=r"nothing\)(.|\n)*other\)(.|\n)*rename one"):
        task(id="t")(other)


def test_a_reloaded_module_defines_its_tasks_again() -> None:
    for _ in range(2):
        task(id="t")(nothing)


def test_a_retry_policy_object_and_a_long_duration() -> None:
    task(id="t", retry=Retry(max_attempts=2), max_duration="1h")(nothing)
    assert REGISTRY.tasks["t"].retry == Retry(max_attempts=2)
    assert REGISTRY.tasks["t"].max_duration == 3600


def test_a_decorated_function_keeps_its_signature() -> None:
    @functools.wraps(nothing)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        nothing(*args, **kwargs)

    assert task(id="t")(wrapped).run(1) is None


class Model(pydantic.BaseModel):
    n: int


@dataclass
class Data:
    n: int


class Typed(typing_extensions.TypedDict):
    n: int


def positive(payload: Any) -> Any:
    if payload["n"] <= 0:
        raise ValueError("n must be positive")
    return payload


@pytest.mark.parametrize(
    "schema", [Model, Data, Typed, pydantic.TypeAdapter(dict[str, int]), dict[str, int], positive]
)
def test_forms_of_a_schema(schema: Any) -> None:
    @schema_task(id="t", schema=schema)
    def get(payload: Any) -> int:
        return int(payload["n"] if isinstance(payload, dict) else payload.n)

    assert get.run({"n": 7}) == 7
    for bad in ({"n": "seven"}, [7], 7):
        with pytest.raises(PayloadValidationError, match="the payload of task 't' does not match"):
            get.run(bad)


def test_decorators_without_an_id_show_what_to_write() -> None:
    def greet_user(payload: str) -> str:
        return payload

    for decorate in (task, schema_task):
        with pytest.raises(DefinitionError, match=r'needs an id: write @\w+\(id="greet-user"\)'):
            decorate(greet_user)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="needs a schema"):
        schema_task(id="t")


@pytest.mark.parametrize("schema", [7, "Model"])
def test_what_is_no_schema(schema: Any) -> None:
    with pytest.raises(DefinitionError, match="cannot validate a payload. Pass a pydantic model"):
        schema_task(id="t", schema=schema)


def refuses_everything(payload: Any) -> Any:
    return payload["no such key"]


def test_whatever_a_schema_function_raises_refuses_the_payload() -> None:
    @schema_task(id="t", schema=refuses_everything)
    def do_nothing(payload: Any) -> None: ...

    with pytest.raises(
        PayloadValidationError, match=r"refuses_everything: KeyError\('no such key'"
    ):
        do_nothing.run({})


class Base(typing.TypedDict):
    n: int


class Nested(Base, total=False):
    note: str
    required: typing.Required[int]
    items: list[Base]
    by_name: dict[str, typing.Annotated[Base | None, "any"]]
    again: Nested | None
    old: typing.Optional[Base]  # noqa: UP045


def test_a_typed_dict_of_the_standard_library_on_every_python() -> None:
    @schema_task(id="t", schema=Nested)
    def get(payload: Any) -> Any:
        return payload

    full = {"n": 1, "required": 2, "items": [{"n": 3}], "by_name": {"x": {"n": 4}, "y": None}}
    full |= {"again": {"n": 5, "required": 6}, "old": {"n": 7}}
    assert get.run(full) == full
    assert get.run({"n": "1", "required": 2}) == {"n": 1, "required": 2}
    bad = ({"n": 1}, {"required": 1}, {"n": 1, "required": 2, "items": [{}]})
    for one in bad:
        with pytest.raises(PayloadValidationError, match="does not match Nested"):
            get.run(one)


def test_a_typed_dict_that_cannot_be_resolved() -> None:
    class Local(typing.TypedDict):
        n: NotThere  # type: ignore[name-defined]  # noqa: F821

    if sys.version_info < (3, 12):  # where pydantic takes no such type
        with pytest.raises(DefinitionError, match="schema="):
            schema_task(id="t", schema=Local)
    else:  # a name may be defined further down
        made = schema_task(id="t", schema=Local)(lambda payload: payload)
        with pytest.raises(PayloadValidationError, match="not fully defined"):
            made.run({"n": 1})


def test_an_unknown_option_of_a_schema_task() -> None:
    make: Callable[..., Any] = schema_task
    with pytest.raises(UnknownTaskOptionError, match="schema_task.*Did you mean 'retry'"):
        make(id="t", schema=Model, retrry={})
