"""`idempotency_keys.create` gives a key that counts in its scope."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.driving import Engine
from trigger_celery import InvalidOptionError, TriggerCelery, idempotency_keys
from trigger_celery.bridge import durable
from trigger_celery.bridge.durable import Durable
from trigger_celery.engine.attempts import Grant

pytestmark = pytest.mark.usefixtures("trigger")


@contextmanager
def in_run(grant: Grant, attempt: int = 1) -> Iterator[None]:
    """Execute code of a run."""
    before = durable.current_scope.set(Durable(grant.id, grant.epoch, attempt, "").root)
    yield
    durable.current_scope.reset(before)


@pytest.fixture
def grants(engine: Engine) -> list[Grant]:
    engine.register()
    return [engine.begin(), engine.begin()]


def create(*args: Any, **kwargs: Any) -> str:
    return idempotency_keys.create(*args, **kwargs).sync()


def test_a_global_key_is_the_same_everywhere(grants: list[Grant]) -> None:
    outside = create("k", scope="global")
    assert create("k") == outside
    for grant in grants:
        with in_run(grant):
            assert create("k", scope="global") == outside


def test_a_key_of_a_run_is_the_same_in_its_attempts(grants: list[Grant]) -> None:
    one, two = grants
    with in_run(one):
        key = create("k")
        assert create("k", scope="run") == key
        assert create("other") != key
    with in_run(one, attempt=2):
        assert create("k") == key
    with in_run(two):
        assert create("k") != key


def test_a_key_of_an_attempt_is_another_in_the_next(grants: list[Grant]) -> None:
    with in_run(grants[0]):
        key = create("k", scope="attempt")
        assert create("k", scope="attempt") == key
    with in_run(grants[0], attempt=2):
        assert create("k", scope="attempt") != key


def test_several_texts_are_one_key(grants: list[Grant]) -> None:
    assert create(["a", "b"]) == create(("a", "b")) == create(["a", "b"])
    assert (
        len({create(["a", "b"]), create(["b", "a"]), create(["ab"]), create(["a", "b", ""])}) == 4
    )


@pytest.mark.parametrize("scope", ["run", "attempt"])
def test_outside_of_a_run_only_global_keys_can_be_made(scope: Any) -> None:
    with pytest.raises(InvalidOptionError, match="needs a run"):
        create("k", scope=scope)


@pytest.mark.parametrize("key", ["", [], "x" * 2049])
def test_keys_of_no_or_too_much_text(key: Any) -> None:
    with pytest.raises(InvalidOptionError, match="1 to 2,048 characters"):
        idempotency_keys.create(key)


def test_a_scope_that_there_is_not() -> None:
    with pytest.raises(InvalidOptionError, match="'forever' is none of"):
        idempotency_keys.create("k", scope="forever")  # type: ignore[arg-type]


def test_a_key_is_text(trigger: TriggerCelery) -> None:
    assert isinstance(create("k"), str)
    assert len(create("k" * 2048)) == 64
