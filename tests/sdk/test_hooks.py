"""Hooks as they are declared: what they may ask for, by name or position, and what replaces what."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest

from trigger_celery import DefinitionError, UnknownTaskOptionError, define_config, task, tasks
from trigger_celery.bridge.hooks import NAMES, bind_hook
from trigger_celery.bridge.registry import REGISTRY

pytestmark = pytest.mark.usefixtures("registry")

OFFERED = {name: name for names in NAMES.values() for name in names}


def call(name: str, hook: Any, **given: Any) -> Any:
    return bind_hook(name, hook, "here").call(lambda asked: OFFERED[asked], given)


@pytest.mark.parametrize(
    ("name", "hook", "got"),
    [
        ("on_failure", lambda payload, error: (payload, error), ("payload", "error")),
        ("on_failure", lambda payload, error, ctx: (payload, error, ctx), ("payload", "error", "ctx")),
        ("on_failure", lambda error, task: (error, task), ("error", "task")),
        ("on_failure", lambda ctx: ctx, "ctx"),
        ("on_failure", lambda p, e: (p, e), ("payload", "error")),
        ("on_failure", lambda data, exc, context: (data, exc, context), ("payload", "error", "ctx")),
        ("on_failure", lambda _, error: error, "error"),
        ("on_start", lambda payload, ctx: (payload, ctx), ("payload", "ctx")),
        ("on_start", lambda order, context: (order, context), ("payload", "ctx")),
        ("on_success", lambda payload, output, ctx: output, "output"),
        ("on_success", lambda payload, result, ctx: (result, ctx), ("output", "ctx")),
        ("on_complete", lambda payload, outcome: outcome, "result"),
        ("on_start", lambda *, task: task, "task"),
        ("on_start", lambda x, /: x, "payload"),
        ("on_start", lambda payload, limit=5: (payload, limit), ("payload", 5)),
        ("on_start", lambda: "nothing", "nothing"),
        ("on_success", lambda *everything: everything, ("payload", "output", "ctx")),
        ("on_start", lambda **rest: rest, {name: name for name in NAMES["on_start"]}),
        ("on_start", lambda payload, *args, **rest: sorted(rest), ["ctx", "init", "signal", "task"]),
        ("on_start", functools.partial(lambda word, payload: (word, payload), "w"), ("w", "payload")),
        ("middleware", lambda payload, ctx, go_on: (ctx, go_on), ("ctx", "next")),
        ("catch_error", lambda payload, error: error, "error"),
    ],
)  # fmt: skip
def test_a_hook_gets_what_it_asks_for(name: str, hook: Any, got: object) -> None:
    """By name; by position for parameters with names of their own, in the order of old."""
    assert call(name, hook) == got


class Recorder:
    def __call__(self, payload: Any) -> Any:
        return payload

    def method(self, payload: Any, ctx: Any) -> Any:
        return (payload, ctx)


def test_a_hook_may_be_an_object_or_its_method() -> None:
    assert call("on_start", Recorder()) == "payload"
    assert call("on_start", Recorder().method) == ("payload", "ctx")


def test_the_old_form_with_a_dict_of_the_rest_warns() -> None:
    def on_start(payload: Any, params: Any) -> Any:
        return payload, params["ctx"], params["init"]

    def on_success(payload: Any, output: Any, rest: Mapping[str, Any]) -> Any:
        return output, rest["ctx"]

    with pytest.warns(DeprecationWarning, match="Ask for what it needs by name"):
        assert call("on_start", on_start) == ("payload", "ctx", "init")
    with pytest.warns(DeprecationWarning, match="'rest'"):
        assert call("on_success", on_success) == ("output", "ctx")


async def generator(next: Any) -> Any:
    yield next


@pytest.mark.parametrize(
    ("name", "hook", "word"),
    [
        ("on_cancel", lambda payload, ctx, signl: 0, "'signl'. Did you mean 'signal'"),
        ("on_failure", lambda payload, context: 0, "'context'. Did you mean 'ctx'"),
        ("on_failure", lambda ctx, thing: 0, "cannot be given 'thing'"),
        ("on_failure", lambda payload, error, ctx, more: 0, "or by position for: payload, error, ctx"),
        ("on_success", lambda *, error: 0, "cannot be given 'error'"),
        ("on_success", lambda payload, error: 0, "cannot be given 'error'"),
        ("on_failure", lambda output: 0, "cannot be given 'output'"),
        ("on_start_attempt", lambda *, init: 0, "on_start gets it"),
        ("middleware", lambda payload: 0, "does not ask for `next`"),
        ("middleware", generator, "is a generator. Write `await next()`"),
        ("on_start", 5, "on_start=5 is not a function"),
        ("on_start", Recorder, "is not a function"),
    ],
)  # fmt: skip
def test_a_hook_that_cannot_be_called_is_refused_where_it_is_declared(
    name: str, hook: Any, word: str
) -> None:
    with pytest.raises(DefinitionError) as refused:
        task(id="t", **{name: hook})
    assert word in str(refused.value)
    assert "task(id='t')" in str(refused.value)
    with pytest.raises(DefinitionError, match=f"tasks.{name}"):
        getattr(tasks, name)(hook)
    assert not REGISTRY.hooks


def test_a_hook_that_there_is_not_is_answered_with_the_closest() -> None:
    with pytest.raises(UnknownTaskOptionError, match="'on_succes'. Did you mean 'on_success'"):
        task(id="t", on_succes=print)  # type: ignore[call-arg]


def test_handle_error_is_catch_error() -> None:
    with pytest.warns(DeprecationWarning, match="handle_error is now called catch_error") as warned:
        made = task(id="t", handle_error=lambda error: None)(lambda: None)
    assert warned[0].filename == __file__
    assert list(made.definition.hooks) == ["catch_error"]
    with pytest.warns(DeprecationWarning, match="catch_error"):
        tasks.handle_error(lambda error: None)
    assert list(REGISTRY.hooks) == ["catch_error"]
    refused = pytest.raises(DefinitionError, match="given as well")
    with pytest.warns(DeprecationWarning, match="catch_error"), refused:
        task(id="u", catch_error=lambda: None, handle_error=lambda: None)


def registered(name: str) -> list[Any]:
    made = task(id="some-task")(lambda: None)
    return [hook.function for hook in REGISTRY.hooks_of(made.definition, name)]


def module_level(payload: Any) -> None: ...


def test_the_same_function_registered_again_replaces_itself() -> None:
    """At its place, as a module that is imported again has it."""
    first = tasks.on_start(module_level)
    other = tasks.on_start("other", lambda: None)
    again = functools.wraps(first)(lambda payload: None)
    tasks.on_start(again)
    assert registered("on_start") == [again, other]


def test_a_name_replaces_a_name() -> None:
    tasks.on_start("mine", lambda: 1)

    @tasks.on_start("mine")
    def later() -> None: ...

    @tasks.on_start
    def other() -> None: ...

    assert registered("on_start") == [later, other]


def test_functions_made_in_functions_are_each_their_own() -> None:
    made = [tasks.on_success(lambda number=number: number) for number in range(3)]
    assert registered("on_success") == made
    objects = [tasks.on_failure(Recorder().method) for _ in range(2)]
    assert registered("on_failure") == objects


def test_a_name_comes_before_the_hook() -> None:
    with pytest.raises(DefinitionError, match="the name comes first"):
        tasks.on_start(module_level, "name")  # type: ignore[call-overload]


def test_hooks_of_the_configuration_come_first_and_replace_the_last() -> None:
    def mine() -> None: ...

    def before(payload: Any, ctx: Any) -> None: ...

    tasks.on_start("mine", mine)
    define_config(on_start=before, on_failure=lambda payload, error, ctx: None)
    assert registered("on_start") == [before, mine]
    define_config(on_success=lambda payload, output, ctx: None)
    assert registered("on_start") == [mine]
    assert not registered("on_failure")
    assert "on_failure" not in REGISTRY.hooks
    with pytest.raises(DefinitionError, match="define_config: on_start cannot be given 'c'"):
        define_config(on_start=lambda a, b, c: None)


def test_a_task_asks_for_init_by_name() -> None:
    made: Any = task(id="t")(lambda payload, init: init)
    assert made.run(1) == {}
