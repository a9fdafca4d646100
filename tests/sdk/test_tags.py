"""A run gets more tags: from its own code, and from outside."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from tests.driving import Engine
from trigger_celery import (
    InvalidTagsError,
    OutsideRunError,
    RunLeaseLostError,
    RunNotFoundError,
    TriggerCelery,
    runs,
    tags,
)
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.durable import Durable
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.waiting import Record
from trigger_celery.model.ids import run_id


@pytest.fixture
def grant(engine: Engine, trigger: TriggerCelery) -> Grant:
    engine.register()
    return engine.begin(tags=["a"])


@pytest.fixture
def do(grant: Grant) -> Callable[..., Any]:
    inside = contextvars.copy_context()
    inside.run(current_scope.set, Durable(grant.id, grant.epoch, 1, "").root)
    return inside.run


def add(*given: Any) -> None:
    tags.add(*given).sync()


def test_tags_are_added_and_found(engine: Engine, grant: Grant, do: Callable[..., Any]) -> None:
    do(add, "user:42")
    do(add, ["a", "b", "", "b", "user:42"])
    assert engine.read(grant.id).tags == ("a", "user:42", "b")
    assert [run.id for run in runs.list(tag="b").sync()] == [grant.id]
    assert runs.add_tags(grant.id, ["c", "a"]).sync().tags == ("a", "user:42", "b", "c")


def test_the_eleventh_tag_is_refused_and_the_ten_stay(
    engine: Engine, grant: Grant, do: Callable[..., Any]
) -> None:
    do(add, [f"t{number}" for number in range(8)])
    with pytest.raises(InvalidTagsError, match=r"has 9 tags.*'t8', 'x'"):
        do(add, ["t8", "x"])
    assert len(engine.read(grant.id).tags) == 9
    do(add, "t8")
    with pytest.raises(InvalidTagsError, match="has 10 tags"):
        runs.add_tags(grant.id, "x").sync()
    with pytest.raises(InvalidTagsError):
        do(add, [f"new{number}" for number in range(11)])
    do(add, "t8")
    assert len(engine.read(grant.id).tags) == 10
    assert not runs.list(tag="x").sync().runs


def test_a_tag_has_at_most_128_characters(grant: Grant, do: Callable[..., Any]) -> None:
    do(add, "x" * 128)
    for bad in ("x" * 129, 3, b"x", "a\x1fb"):
        with pytest.raises(InvalidTagsError):
            do(add, bad if isinstance(bad, str) else [bad])


def test_a_change_of_tags_is_a_change(engine: Engine, grant: Grant, do: Callable[..., Any]) -> None:
    seen = iter(runs.subscribe_to_run(grant.id))
    next(seen)
    do(add, "b")
    do(add, "b")
    engine.end(grant)
    assert [(run.status, run.tags) for run in seen] == [
        ("EXECUTING", ("a", "b")),
        ("COMPLETED", ("a", "b")),
    ]


def test_a_replay_adds_nothing_again(engine: Engine, grant: Grant) -> None:
    durable = Durable(grant.id, grant.epoch, 1, "")
    durable.record = Record({"1": "wait.for_token x"})
    inside = contextvars.copy_context()
    inside.run(current_scope.set, durable.root)
    inside.run(add, "b")
    assert engine.read(grant.id).tags == ("a",)
    durable.begin("wait.for_token x")
    inside.run(add, "c")
    assert engine.read(grant.id).tags == ("a", "c")


def test_a_stale_attempt_adds_nothing(engine: Engine, grant: Grant, do: Callable[..., Any]) -> None:
    engine.cancel(grant.id)
    with pytest.raises(RunLeaseLostError):
        do(add, "b")
    assert runs.add_tags(grant.id, "late").sync().tags == ("a", "late")


def test_outside_of_a_run(trigger: TriggerCelery) -> None:
    with pytest.raises(OutsideRunError, match=r"tags\.add"):
        tags.add("a")
    with pytest.raises(RunNotFoundError):
        runs.add_tags(run_id(), "a").sync()
