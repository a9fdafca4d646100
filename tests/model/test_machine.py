"""Machine presets."""

from __future__ import annotations

from typing import Any

import pytest

from trigger_celery.errors import DefinitionError, InvalidOptionError
from trigger_celery.model.machine import MACHINES, PRESETS, check_machine, has_more_memory
from trigger_celery.model.retry import OutOfMemory, Retry


@pytest.mark.parametrize("name", MACHINES)
def test_machines(name: str) -> None:
    assert check_machine(name) == check_machine({"preset": name}) == name


@pytest.mark.parametrize(
    "value", ["", "Small-1x", "small", 1, None, {"preset": "x"}, {}, {"name": "micro"}, ["micro"]]
)
def test_what_is_no_machine(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match="micro, small-1x, small-2x"):
        check_machine(value)


def test_the_closest_machine_is_named() -> None:
    with pytest.raises(InvalidOptionError, match="Did you mean 'large-1x'"):
        check_machine("large1x")


def test_every_machine_is_larger_than_the_one_before() -> None:
    assert tuple(PRESETS) == MACHINES
    pairs = zip(MACHINES[1:], MACHINES, strict=False)
    assert all(has_more_memory(larger, smaller) for larger, smaller in pairs)
    assert not has_more_memory("micro", "micro")


@pytest.mark.parametrize("given", [{"machine": "large-1x"}, OutOfMemory("large-1x")])
def test_where_a_run_goes_on_that_is_out_of_memory(given: Any) -> None:
    policy = Retry(out_of_memory=given)
    assert policy.larger_machine == "large-1x"
    assert Retry.of({"out_of_memory": given}, where="t") == policy
    assert Retry().larger_machine is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("large-1x", "is not a dict such as"),
        ({}, "is not a dict such as"),
        ({"machine": "large-1x", "more": 1}, "is not a dict such as"),
        ({"machine": "large1x"}, "Did you mean 'large-1x'"),
    ],
)
def test_where_it_cannot_go_on(given: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Retry.of({"out_of_memory": given}, where="task 't'")
