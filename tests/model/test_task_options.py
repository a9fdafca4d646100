import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import (
    DefinitionError,
    InvalidOptionError,
    InvalidQueueError,
    InvalidTagsError,
    MetadataTooLargeError,
)
from trigger_celery.model import task_options as options

BAD_NAMES = ["", "a" * 129, "a b", "a:b", "é", "a\n", "{x}", "\ud800", None, 5, b"a"]


@pytest.mark.parametrize("name", ["a", "task/send-email", "shop.orders_v2", "A" * 128])
def test_names_of_the_allowed_characters_pass(name):
    assert options.check_task_id(name) == name
    assert options.check_queue_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_other_names_are_refused(name):
    with pytest.raises(DefinitionError, match=r"^Task id"):
        options.check_task_id(name)
    with pytest.raises(InvalidQueueError, match=r"^Queue name"):
        options.check_queue_name(name)


def test_the_message_names_the_bad_character_and_the_allowed_ones():
    with pytest.raises(DefinitionError, match="has the character ':'; allowed are letters"):
        options.check_task_id("send:email")


@pytest.mark.parametrize("value", [None, 0, 1, 100_000])
def test_concurrency_limits(value):
    assert options.check_concurrency_limit(value) == value


@pytest.mark.parametrize("value", [-1, 100_001, True, 1.0, "4", [], float("nan")])
def test_what_is_no_concurrency_limit_is_refused(value):
    with pytest.raises(InvalidQueueError, match="from 0 to 100,000"):
        options.check_concurrency_limit(value)


def test_tags_keep_their_order_and_are_folded():
    assert options.check_tags(None) == ()
    assert options.check_tags([]) == ()
    assert options.check_tags("user:42") == ("user:42",)
    assert options.check_tags(["b", "a", "b"]) == ("b", "a")
    assert options.check_tags(str(i) for i in range(10)) == tuple("0123456789")
    assert options.check_tags(["x"] * 50) == ("x",)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("", "empty"),
        (["a", ""], "empty"),
        (["a" * 129], "129 characters; the limit is 128"),
        ([str(i) for i in range(11)], "11 tags are given; a run has at most 10"),
        ([1], "int, not text"),
        (5, "not a tag"),
        (b"a", "not a tag"),
        ({"a": 1}, "not a tag"),
        (["\ud800"], "surrogate"),
    ],
)
def test_bad_tags_are_refused(tags, message):
    with pytest.raises(InvalidTagsError, match=message):
        options.check_tags(tags)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_metadata_is_json_text(metadata):
    assert json.loads(options.check_metadata(metadata)) == metadata


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([], "must be a dict"),
        ("x", "must be a dict"),
        (None, "must be a dict"),
        ({1: 2}, "int key 1"),
        ({"a": {2: 3}}, r"metadata\.a has the int key 2"),
        ({"at": [datetime(2024, 1, 1, tzinfo=UTC)]}, r"metadata\.at\[0\] is a datetime\.datetime"),
        ({"s": {1}}, r"metadata\.s is a set"),
        ({"n": float("nan")}, r"metadata\.n is nan"),
        ({"t": "\ud800"}, r"metadata\.t has a lone surrogate"),
    ],
)
def test_metadata_that_json_cannot_carry_is_refused(metadata, message):
    with pytest.raises(InvalidOptionError, match=message):
        options.check_metadata(metadata)


def test_metadata_is_limited_to_256_kb_of_utf8():
    room = options.MAX_METADATA_BYTES - len('{"a":""}')
    assert len(options.check_metadata({"a": "x" * room})) == options.MAX_METADATA_BYTES
    with pytest.raises(MetadataTooLargeError, match="262,145 bytes, over the limit of 262,144"):
        options.check_metadata({"a": "x" * (room + 1)})
    with pytest.raises(MetadataTooLargeError):
        options.check_metadata({"a": "é" * (room // 2 + 1)})


@pytest.mark.parametrize(("seconds", "ms"), [(0, 0), (10, 10_000), (-1.5, -1500), (10**9, 10**12)])
def test_priorities_become_milliseconds(seconds, ms):
    assert options.check_priority(seconds) == ms


@pytest.mark.parametrize(
    "value", [True, None, "1", float("nan"), float("inf"), 10**9 + 1, -1e10, 10**400]
)
def test_what_is_no_priority_is_refused(value):
    with pytest.raises(InvalidOptionError, match=r"^priority="):
        options.check_priority(value)


@pytest.mark.parametrize(
    ("key", "text"),
    [(None, None), ("user 42:ü", "user 42:ü"), (42, "42"), (7.0, "7"), (0.5, "0.5"), (-1, "-1")],
)
def test_concurrency_keys_become_text(key, text):
    assert options.check_concurrency_key(key) == text


@pytest.mark.parametrize(
    "key",
    ["", "a" * 513, "a\0", "a\n", "\x85", "\ud800", True, b"x", [], float("nan"), float("inf")],
)
def test_what_is_no_concurrency_key_is_refused(key):
    with pytest.raises(InvalidOptionError, match=r"^concurrency_key="):
        options.check_concurrency_key(key)


def test_numbers_too_large_to_be_a_key_are_refused():
    with pytest.raises(InvalidOptionError, match="of type int"):
        options.check_concurrency_key(10**5000)


def test_max_attempts_is_a_whole_number_from_1_to_250():
    assert [options.check_max_attempts(n) for n in (1, 250)] == [1, 250]
    for bad in (0, 251, True, 3.0, "3", None):
        with pytest.raises(InvalidOptionError, match="from 1 to 250"):
            options.check_max_attempts(bad)
