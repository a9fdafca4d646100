"""Checks of trigger options: each limit just inside and just outside, and what the errors teach."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import InputError, InvalidDurationError, InvalidOptionError
from trigger_celery.model import trigger_options as check
from trigger_celery.model.idempotency import IdempotencyKey, key_digest, scoped_key
from trigger_celery.model.trigger_options import Debounce

MS = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("value", "ms"),
    [("10m", 600_000), (600, 600_000), (0, 0), ("0s", 0), (timedelta(seconds=1), 1000), (1, 1000),
     ("520w", 520 * 7 * 86_400_000)],
)  # fmt: skip
def test_ttl(value: Any, ms: int) -> None:
    assert check.check_ttl(value) == ms


@pytest.mark.parametrize(
    "value",
    [-1, 1.5, 1.0, "1.5s", "", "soon", True, None, "522w", timedelta(seconds=1) + MS, [], "10"],
)
def test_what_is_no_ttl(value: Any) -> None:
    with pytest.raises(InvalidDurationError, match="ttl="):
        check.check_ttl(value)


@pytest.mark.parametrize("value", ["20260821.1", "x" * 128, "a", "9f3c2e1+dirty", "v1.2/rc-1_2"])
def test_versions(value: str) -> None:
    assert check.check_version(value) == value


@pytest.mark.parametrize("value", ["", "x" * 129, ".1", "a b", "a\n", "é", 1, None])
def test_what_is_no_version(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match="20260821.1"):
        check.check_version(value)


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_what_is_no_test(value: Any) -> None:
    assert check.check_test(True) is True
    with pytest.raises(InvalidOptionError, match="neither True nor False"):
        check.check_test(value)


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ({"delay": "1s"}, Debounce("k", 1000)),
        ({"delay": 1}, Debounce("k", 1000)),
        ({"delay": timedelta(seconds=1)}, Debounce("k", 1000)),
        ({"delay": "1s", "mode": "leading", "max_delay": None}, Debounce("k", 1000)),
        ({"delay": "1s", "mode": "trailing"}, Debounce("k", 1000, True)),
        ({"delay": "1s", "max_delay": 1.001}, Debounce("k", 1000, False, 1001)),
    ],
)
def test_debounces(given_: dict[str, Any], wanted: Debounce) -> None:
    assert check.check_debounce({"key": "k", **given_}) == wanted


def test_the_length_of_a_debounce_key() -> None:
    assert check.check_debounce({"key": "x" * 512, "delay": 5}).key == "x" * 512
    with pytest.raises(InvalidOptionError, match="1 to 512 characters"):
        check.check_debounce({"key": "x" * 513, "delay": 5})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("k", "is not a dict"),
        ({"key": "k"}, "lacks 'delay'"),
        ({"delay": "5s"}, "lacks 'key'"),
        ({"key": "", "delay": "5s"}, "1 to 512 characters"),
        ({"key": 7, "delay": "5s"}, "1 to 512 characters"),
        ({"key": "a\n", "delay": "5s"}, "control character"),
        ({"key": "k", "delay": 0.999}, "minimum of 1 second"),
        ({"key": "k", "delay": "2031-01-01"}, "not a duration"),
        ({"key": "k", "delay": "5s", "mode": "trailling"}, "Did you mean 'trailing'"),
        ({"key": "k", "delay": "5s", "mode": []}, "leading, trailing"),
        ({"key": "k", "delay": "5s", "max_delay": "5s"}, "not longer than delay"),
        ({"key": "k", "delay": "5s", "maxDelay": "9s"}, "Did you mean 'max_delay'"),
    ],
)
def test_what_is_no_debounce(value: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check.check_debounce(value)


@pytest.mark.parametrize("key", ["a", "x" * 2048, ["a", 7], ("a", "b"), ["x" * 2000, "y" * 48]])
def test_idempotency_keys(key: Any) -> None:
    assert check.key_parts(key) == [str(part) for part in ([key] if isinstance(key, str) else key)]


@pytest.mark.parametrize(
    "key", ["", [], [""], "x" * 2049, ["x" * 2000, "y" * 49], 7, [None], ["a", True], [1.5], b"a",
            {"a"}, "\ud800"]
)  # fmt: skip
def test_what_is_no_idempotency_key(key: Any) -> None:
    with pytest.raises(InvalidOptionError, match="idempotency"):
        check.key_parts(key)


TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3), min_size=1, max_size=3
)


@given(TEXTS, TEXTS)
def test_different_parts_are_different_keys(one: list[str], two: list[str]) -> None:
    assert (scoped_key(one, "global") == scoped_key(two, "global")) is (one == two)


def test_scopes_do_not_meet() -> None:
    keys = [
        scoped_key(["k"], "global"),
        scoped_key(["k"], "run", "run_1"),
        scoped_key(["k"], "run", "run_2"),
        scoped_key(["k"], "attempt", "run_1", 1),
        scoped_key(["k"], "attempt", "run_1", 2),
        scoped_key(["k", "run_1"], "global"),
    ]
    assert len(set(keys)) == len(keys)
    assert len({key_digest(task, key) for key in keys for task in ("t", "u")}) == 2 * len(keys)


def test_a_key_keeps_its_text_when_it_is_copied() -> None:
    key = scoped_key(["a", "b"], "run", "run_1")
    for other in (copy.copy(key), copy.deepcopy(key), pickle.loads(pickle.dumps(key))):  # noqa: S301
        assert (other, other.text, other.scope, type(other)) == (key, "a-b", "run", IdempotencyKey)
