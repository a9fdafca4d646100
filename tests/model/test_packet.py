import functools
import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.errors import OutputError, PayloadNotSerializableError, PayloadTooLargeError
from trigger_celery.model import packet
from trigger_celery.model.packet import (
    JSON,
    STORE,
    SUPER_JSON,
    TEXT,
    Packet,
    decode,
    encode,
    encode_json,
    plain,
)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
keys = texts | st.sampled_from(["", ".", "a.b", "\\", "a\\", "\\.", "a\\.b", "0", "json", "meta"])
fixed_zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
hashable_rich = (
    st.datetimes()
    | st.datetimes(timezones=fixed_zones)
    | st.dates()
    | st.times()
    | st.times(timezones=fixed_zones)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=20)
)
elements = st.recursive(
    hashable_rich | json_scalars,
    lambda inner: st.frozensets(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=5,
)


def nested(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


def back(value: Any) -> Any:
    sent = encode(value)
    sent.data.encode()
    return decode(sent.data, sent.type)


@given(nested(json_scalars))
def test_json_values_come_back_as_they_were(value):
    sent = encode(value)
    assert sent.type == (TEXT if isinstance(value, str) else JSON)
    assert repr(decode(sent.data, sent.type)) == repr(value)
    assert decode(sent.data.encode(), sent.type) == value


@given(nested(json_scalars | hashable_rich | st.sets(elements, max_size=3)))
def test_rich_values_come_back_equal_and_of_their_type(value):
    again = back(value)
    assert again == value
    assert type(again) is type(value)


@given(st.datetimes(timezones=st.timezones()))
def test_a_datetime_of_any_zone_stays_the_same_moment(at):
    try:
        moment = at.timestamp()
    except OverflowError:
        return
    assert back([at])[0].timestamp() == moment


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, "null"),
        (True, "true"),
        (5, "5"),
        ([], "[]"),
        ({"a": 1, "b": [1.5, "é"]}, '{"a":1,"b":[1.5,"é"]}'),
        ((1, (2, 3)), "[1,[2,3]]"),
    ],
)
def test_plain_values_are_compact_json(value, data):
    assert encode(value) == Packet(data, JSON)


def test_text_is_sent_as_it_is():
    assert encode("hello") == Packet("hello", TEXT)
    assert encode("") == Packet("", TEXT)
    assert decode("null", TEXT) == "null"
    assert decode("é".encode(), TEXT) == "é"


def test_rich_values_have_the_shape_of_superjson():
    value = {"a": {"b": NOON}, "x.y": [1, {"d": NOON}], "s": {NOON}}
    sent = encode(value)
    at = "2024-05-01T12:00:00Z"
    assert sent.type == SUPER_JSON
    assert json.loads(sent.data) == {
        "json": {"a": {"b": at}, "x.y": [1, {"d": at}], "s": [at]},
        "meta": {"values": {"a.b": ["Date"], "x\\.y.1.d": ["Date"], "s": ["set", {"0": ["Date"]}]}},
    }
    assert json.loads(encode(NOON).data) == {"json": at, "meta": {"values": ["Date"]}}


def test_keys_with_backslashes_carry_the_mark_of_superjson():
    sent = encode({"a\\": {".b": NOON}})
    assert json.loads(sent.data)["meta"] == {"values": {"a\\\\.\\.b": ["Date"]}, "v": 1}
    assert decode(sent.data, SUPER_JSON) == {"a\\": {".b": NOON}}


@pytest.mark.parametrize(
    "value",
    [
        {"__type__": "datetime", "__value__": "2024"},
        {"json": 1, "meta": {"values": ["Date"]}},
        {"json": {"a": NOON}, "meta": {"values": {"a": ["Date"]}}},
    ],
)
def test_dicts_that_look_like_an_encoding_come_back_unchanged(value):
    assert back(value) == value


def test_what_javascript_writes_is_read():
    text = json.dumps(
        {
            "json": {
                "a\\": [["k", "1970-01-01T00:00:00.000Z"]],
                "u": None,
                "n": ["NaN", "-Infinity", "-0"],
                "b": "12345678901234567890",
                "e": {"name": "Error", "message": "x"},
                "r": "/a/",
                "l": "http://x/",
                "x.y": "5",
            },
            "meta": {
                "values": {
                    "a\\\\": ["map", {"0.1": ["Date"]}],
                    "u": ["undefined"],
                    "n.0": ["number"],
                    "n.1": ["number"],
                    "n.2": ["number"],
                    "b": ["bigint"],
                    "e": ["Error"],
                    "r": ["regexp"],
                    "l": ["URL"],
                    "x\\.y": ["bigint"],
                },
                "v": 1,
            },
        }
    )
    value = decode(text, SUPER_JSON)
    assert value["a\\"] == {"k": datetime(1970, 1, 1, tzinfo=UTC)}
    assert repr(value["n"]) == "[nan, -inf, -0.0]"
    assert value["b"] == 12345678901234567890
    assert value["u"] is None
    assert value["x.y"] == 5
    assert decode('{"json":{"a":[1]}}', SUPER_JSON) == {"a": [1]}
    assert decode('{"json":{"a.b":"5"},"meta":{"values":{"a\\\\.b":["bigint"]}}}', SUPER_JSON) == {
        "a.b": 5
    }


class Color(Enum):
    RED = "red"
    NESTED = (1, NOON)


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Line:
    start: Point
    at: datetime
    more: dict[str, Any] = field(default_factory=dict)


class Model(pydantic.BaseModel):
    id: UUID
    lines: list[int]
    price: Decimal


T = TypeVar("T")


class TaskResult(Generic[T]):
    def __init__(self, value: T, ok: bool):
        self.value = value
        self.ok = ok


def test_objects_become_dicts():
    id = UUID(int=5)
    assert back(Line(Point(1, 2), NOON)) == {"start": (1, 2), "at": NOON, "more": {}}
    assert back(Model(id=id, lines=[1], price="1.50")) == {
        "id": id,
        "lines": [1],
        "price": Decimal("1.50"),
    }
    assert back([TaskResult[int](5, True)]) == [{"value": 5, "ok": True}]
    assert encode(TaskResult(5, True)) == Packet('{"value":5,"ok":true}', JSON)


def test_enums_become_their_values_and_paths_text():
    assert encode(Color.RED) == Packet("red", TEXT)
    assert encode({"level": Level.HIGH, Color.RED: 1}) == Packet('{"level":3,"red":1}', JSON)
    assert back([Color.NESTED]) == [(1, NOON)]
    assert encode([Path("/tmp/x")]) == Packet('["/tmp/x"]', JSON)


def test_subclasses_of_plain_types_become_plain():
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    class Real(float):
        pass

    class Mapping(dict):
        pass

    value = Mapping({Text("a"): [Number(1), Real(0.5), Text("é")]})
    assert encode(value) == Packet('{"a":[1,0.5,"é"]}', JSON)
    assert encode(Text("x")) == Packet("x", TEXT)


def test_tuples_are_lists_in_json_and_tuples_beside_rich_values():
    assert encode({"p": Point(1, 2)}) == Packet('{"p":[1,2]}', JSON)
    assert encode([((1,), Level.HIGH)]).type == JSON
    assert back({"p": (1, NOON)}) == {"p": (1, NOON)}
    assert encode({"p": (1, NOON)}).type == SUPER_JSON


class Slotted:
    __slots__ = ("a",)


class Private:
    def __init__(self):
        self.a = 1
        self._b = 2


class Empty:
    pass


LOOP: list[Any] = []
LOOP.append(LOOP)


class Node:
    def __init__(self):
        self.me = self


def deep(levels: int) -> Any:
    return functools.reduce(lambda inner, _: [inner], range(levels - 1), [])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"items": [0, 0, 0, {"at": UTC}]}, r"items\[3\]\.at: datetime\.timezone is not serialis"),
        ({"a b": {1: 2}}, r"^payload\['a b'\] has the int key 1; keys must be text"),
        ({1: 2}, "int key 1"),
        ({1.5: 2}, "float key"),
        ({True: 2}, "bool key"),
        ({None: 2}, "NoneType key"),
        ({Level.HIGH: 2}, "int key 3"),
        ({b"x": 2}, "bytes key"),
        ({"\ud800": 2}, "lone surrogate"),
        ("\ud800", "^payload has a lone surrogate"),
        ({"a": ["\ud800"]}, r"^payload\.a\[0\] has a lone surrogate"),
        ({"a": ["\ud800", NOON]}, r"^payload\.a\[0\] has a lone surrogate"),
        ({"a": float("nan")}, r"^payload\.a is nan"),
        ([float("inf")], r"^payload\[0\] is inf"),
        (float("-inf"), "^payload is -inf"),
        ({"a": 10**5000}, "thousands of digits"),
        (LOOP, r"^payload\[0\] refers to itself"),
        (Node(), r"^payload\.me refers to itself"),
        (deep(101), "nested deeper than 100 levels"),
        (ValueError("x"), "ValueError is not serialisable"),
        (len, "builtin_function_or_method is not serialisable"),
        (int, "int is not serialisable"),
        (json, "module is not serialisable"),
        (object(), "object is not serialisable"),
        (Slotted(), "Slotted is not serialisable"),
        (Empty(), "Empty is not serialisable"),
        (Private(), "has the private attribute '_b'"),
        (threading.Event(), "threading.Event is not serialisable"),
        (memoryview(b"x"), "memoryview is not serialisable"),
        (1j, "complex is not serialisable"),
        (iter([]), "list_iterator is not serialisable"),
        ({Point(1, 2), Color}, "is not serialisable"),
        ({"t": time(1, tzinfo=ZoneInfo("Europe/Berlin"))}, r"payload\.t is a time whose zone"),
        ({Color.RED: 1, "red": 2}, "has the key 'red' twice"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_path(value, message):
    with pytest.raises(PayloadNotSerializableError, match=message):
        encode(value)


def test_objects_in_a_set_are_refused_because_they_could_not_be_read_back():
    @dataclass(frozen=True)
    class Item:
        a: int

    with pytest.raises(PayloadNotSerializableError, match="inside a set"):
        encode({Item(1)})


def test_sets_in_sets_come_back_hashable():
    value = {frozenset({1, "a"}), (2, frozenset({NOON}), (3,))}
    assert back(value) == value


def test_a_value_of_100_levels_and_a_value_seen_twice_are_fine():
    assert back(deep(100)) == deep(100)
    shared = [NOON]
    assert back([shared, shared]) == [[NOON], [NOON]]


def test_the_caller_names_the_value_and_the_errors():
    with pytest.raises(OutputError, match=r"^output is nan"):
        encode(float("nan"), error=OutputError, what="output")
    with pytest.raises(OutputError, match=r"^The output is 5 bytes, over the limit of 4"):
        encode("12345", limit=4, too_large=OutputError, what="output")


def test_the_limit_counts_bytes_of_utf8():
    assert encode("é" * 5, limit=10)
    with pytest.raises(PayloadTooLargeError, match="11 bytes, over the limit of 10"):
        encode("é" * 5 + "x", limit=10)
    with pytest.raises(PayloadTooLargeError):
        encode("x" * (packet.MAX_BYTES + 1))


def test_encode_json_takes_only_what_json_carries():
    assert encode_json({"a": (1, Level.HIGH)}) == '{"a":[1,3]}'
    assert encode_json("x") == '"x"'
    with pytest.raises(PayloadNotSerializableError, match=r"^value\.a is a decimal\.Decimal"):
        encode_json({"a": Decimal(1)})


def test_plain_gives_the_json_half():
    assert plain({"a": [1]}) == {"a": [1]}
    assert plain({"a": {NOON}, "p": Path("x")}) == {"a": ["2024-05-01T12:00:00Z"], "p": "x"}
    assert plain(timedelta(days=1, microseconds=1)) == "PT86400.000001S"
    assert plain(date(2024, 1, 2)) == "2024-01-02"


def test_a_long_list_of_scalars_and_one_with_something_else_are_told_apart():
    assert encode(list(range(100))).type == JSON
    assert back([*range(100), {"a": [NOON]}])[100] == {"a": [NOON]}


@pytest.mark.parametrize(
    ("data", "type", "message"),
    [
        ("x", "application/xml", "unknown packet type"),
        ("ref", STORE, "is a reference"),
        ("{", JSON, "Expecting property name"),
        ("[]", SUPER_JSON, "malformed"),
        ("{}", SUPER_JSON, "malformed"),
        ('{"json":1,"meta":{"values":["Foo"]}}', SUPER_JSON, "unknown type 'Foo'"),
        ('{"json":1,"meta":{"values":[["custom","x"]]}}', SUPER_JSON, "unknown type"),
        ('{"json":{},"meta":{"values":{"a.b":["Date"]}}}', SUPER_JSON, "malformed"),
        ('{"json":[],"meta":{"values":{"0":["Date"]}}}', SUPER_JSON, "malformed"),
        ('{"json":5,"meta":{"values":["Date"]}}', SUPER_JSON, "malformed"),
        ('{"json":"x","meta":{"values":["Decimal"]}}', SUPER_JSON, "malformed"),
        ('{"json":"x","meta":{"values":["timedelta"]}}', SUPER_JSON, "not a timedelta"),
        ('{"json":"x","meta":{"values":["bytes"]}}', SUPER_JSON, "malformed bytes"),
        ('{"json":[{}],"meta":{"values":["set"]}}', SUPER_JSON, "malformed"),
    ],
)
def test_what_cannot_be_read_is_a_value_error(data, type, message):
    with pytest.raises(ValueError, match=message):
        decode(data, type)


@pytest.mark.parametrize("changed", [None, lambda *_: lambda *_: "of another make"])
def test_without_the_c_encoder_as_we_know_it_the_text_is_the_same(monkeypatch, changed):
    with monkeypatch.context() as patch:
        patch.setattr(packet.json_encoder, "c_make_encoder", changed)
        dump = packet._make_dump()
    assert dump({"é": [1, None]}) == packet._dump({"é": [1, None]}) == '{"é":[1,null]}'
