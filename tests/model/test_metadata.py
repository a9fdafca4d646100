"""Changes of metadata, held against a plain model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.metadata import (
    Folded,
    Pending,
    apply,
    document_size,
    find,
    is_equal,
    path_of,
)
from trigger_celery.model.task_options import MAX_METADATA_BYTES

KEYS = [
    "a",
    "b",
    "$.a",
    "$.a.x",
    "$.a.y[0]",
    "$.l[0]",
    "$.l[1]",
    "$.l[2].n",
    "$['a']['x']",
    "l",
    "$",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "é", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyn"), inner, max_size=2)
    ),
    max_leaves=4,
)
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["set", "append", "remove"]), st.sampled_from(KEYS), VALUES),
    st.tuples(st.just("increment"), st.sampled_from(KEYS), st.integers(-9, 9)),
    st.tuples(st.just("del"), st.sampled_from(KEYS)),
    st.tuples(st.just("replace"), st.dictionaries(st.sampled_from("abl"), VALUES, max_size=2)),
).map(list)


class Missing(Exception):
    """There is no place for the value."""


def model(document: Any, change: list[Any]) -> Any:
    """The same by other means: rebuilds what is on the way instead of changing it in place."""
    if change[0] == "replace":
        return change[1]
    if change[0] == "del":
        return {key: value for key, value in document.items() if key != change[1]}
    try:
        return rebuilt(document, list(path_of(change[1])), change)
    except Missing:
        return document


NOTHING = object()


def rebuilt(here: Any, path: list[Any], change: list[Any]) -> Any:
    if not path:
        return leaf(here, change)
    step, rest = path[0], path[1:]
    if here is NOTHING:
        here = {} if isinstance(step, str) else []
    if isinstance(step, str):
        if not isinstance(here, dict):
            raise Missing
        value = rebuilt(here.get(step, NOTHING), rest, change)
        return here if value is NOTHING else {**here, step: value}
    if not isinstance(here, list) or step > len(here):
        raise Missing
    value = rebuilt(here[step] if step < len(here) else NOTHING, rest, change)
    return here if value is NOTHING else [*here[:step], value, *here[step + 1 :]]


def leaf(before: Any, change: list[Any]) -> Any:
    kind, _, value = change
    if kind == "set":
        return value
    if kind == "append":
        if before is NOTHING:
            return [value]
        return [*before, value] if isinstance(before, list) else [before, value]
    if kind == "remove":
        if not isinstance(before, list):
            raise Missing
        return [
            item
            for item in before
            if json.dumps(item, sort_keys=True) != json.dumps(value, sort_keys=True)
        ]
    is_number = isinstance(before, int) and not isinstance(before, bool)
    return (before if is_number else 0) + value


@given(st.lists(CHANGES, max_size=12))
def test_changes_do_what_a_plain_model_does(changes: list[list[Any]]) -> None:
    document: Any = {}
    expected: Any = {}
    for change in changes:
        document, _ = apply(document, change)
        expected = model(expected, change)
    assert document == expected
    assert json.loads(json.dumps(document)) == document


@given(st.lists(CHANGES, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_what_is_collapsed_and_sent_in_pieces_makes_the_same(
    changes: list[list[Any]], cuts: list[int]
) -> None:
    expected: Any = {}
    for change in changes:
        expected, _ = apply(expected, change)
    entries, start = [], 0
    for end in [*sorted(cuts), len(changes)]:
        pending = Pending()
        for change in changes[start:end]:
            pending.add(change, len(json.dumps(change)))
        entries.append(pending.to_text())
        start = max(start, end)
    folded = Folded("", entries)
    assert folded.document == expected
    assert Folded(Folded("", entries[:1]).to_text(), entries[1:]).document == expected


def test_of_ten_thousand_sets_of_a_key_one_is_sent() -> None:
    pending = Pending()
    for number in range(10_000):
        pending.add(["set", "progress", number], 20)
        pending.add(["increment", "done", 1], 20)
        pending.add(["append", "text", number], 20)
        pending.add(["set", "text", ""], 20)
    assert sorted(pending.changes) == [
        ["increment", "done", 10_000],
        ["set", "progress", 9999],
        ["set", "text", ""],
    ]
    assert pending.bytes == 60


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("plain.key[0]", ("plain.key[0]",)),
        ("$.user.name", ("user", "name")),
        ("$.list[0]", ("list", 0)),
        ("$.list[10].a", ("list", 10, "a")),
        ("$.a['b.c'][\"d'e\"]", ("a", "b.c", "d'e")),
        (r"$.a['it\'s']", ("a", "it's")),
        ("$", ("$",)),
    ],
)
def test_keys_and_paths(key: str, path: tuple[Any, ...]) -> None:
    assert path_of(key) == path


@pytest.mark.parametrize(
    "key",
    [
        "",
        "$.",
        "$.a.",
        "$.a[",
        "$.a[x]",
        "$.a[-1]",
        "$.a..b",
        "x" * 1025,
        "$." + "a." * 32 + "a",
        3,
    ],
)
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(InvalidOptionError):
        path_of(key)


def test_what_does_not_fit_changes_nothing() -> None:
    document: dict[str, Any] = {"list": [1], "name": "Ada"}
    for key in ("$.list.x", "$.list[2]", "$.name[0]", "$.name.first", "$.new[1]"):
        assert apply(document, ["set", key, 1]) == ({"list": [1], "name": "Ada"}, False)
    assert apply({"n": 1e308}, ["increment", "n", 1e308]) == ({"n": 1e308}, False)
    assert apply({"n": 2**63}, ["increment", "n", 1]) == ({"n": 2**63}, False)


def test_equal_as_json_is_equal() -> None:
    assert is_equal({"a": [1, None]}, {"a": [1.0, None]})
    assert not is_equal(1, True)
    assert not is_equal([], {})
    assert not is_equal({"a": 1}, {"a": 1, "b": 1})


def test_a_lookup_that_leads_nowhere() -> None:
    assert find({"a": [1]}, ("a", 1)) == (False, None)
    assert find({"a": {"b": None}}, ("a", "b")) == (True, None)


def test_the_limit_is_exact_and_an_entry_is_all_or_nothing() -> None:
    room = MAX_METADATA_BYTES - document_size({"a": "", "b": 1})
    fits = json.dumps([["set", "a", "x" * room], ["set", "b", 1]])
    too_much = json.dumps([["set", "a", "x" * (room + 1)], ["set", "b", 2]])
    folded = Folded("", [fits, too_much])
    assert (folded.document["b"], folded.refused) == (1, 2)
    assert document_size(folded.document) == MAX_METADATA_BYTES
    assert Folded("", [too_much]).document == {}
    assert Folded(folded.to_text(), ['[["del","a"]]', too_much]).refused == 2
