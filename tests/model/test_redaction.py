from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trigger_celery.model.packet import dump_json
from trigger_celery.model.redaction import (
    HIDDEN,
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_MESSAGE,
    MAX_TEXT,
    Redaction,
)

REDACTION = Redaction()


@dataclass
class Account:
    name: str
    password: str


class Model(pydantic.BaseModel):
    name: str
    api_key: str


class Color(Enum):
    RED = "red"


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def shown(value: Any) -> Any:
    return REDACTION.attributes({"value": value})["value"]


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "dbPassword", "user-password", "passwd", "secret", "client_secret", "secretKey",
        "token", "accessToken", "refresh_token", "ID_TOKEN", "Authorization", "X-Authorization", "HTTPAuthorization",
        "api_key", "apiKey", "apikey", "API-Key", "X-Api-Key", "XAPIKey", "aws_access_key", "private_key",
        "cookie", "Set-Cookie", "cookies", "credentials", "passwords", "secrets", "tokens", "passphrase", "pwd",
    ],
)  # fmt: skip
def test_values_under_names_of_secrets_are_not_shown(name: str) -> None:
    assert REDACTION.attributes({name: "CANARY"}) == {name: HIDDEN}
    assert REDACTION.attributes({name: ["CANARY"]}) == {name: HIDDEN}
    assert (
        REDACTION.attributes({"deep": [{"er": {name: "CANARY"}}]})["deep"][0]["er"][name] == HIDDEN
    )


@pytest.mark.parametrize(
    "name", ["tokenizer", "secretary", "passworded", "keyboard", "monkey", "api", "key", "author"]
)
def test_names_that_only_sound_like_it_are_shown(name: str) -> None:
    assert REDACTION.attributes({name: "text"}) == {name: "text"}


def test_numbers_of_secrets_are_shown_and_missing_ones() -> None:
    assert REDACTION.attributes({"total_tokens": 512, "token": None}) == {
        "total_tokens": 512,
        "token": None,
    }
    assert REDACTION.attributes({"pin_token": 512}) == {"pin_token": HIDDEN}


def test_further_names_are_hidden_when_asked_for() -> None:
    redaction = Redaction(["ssn", "creditCard"])
    given_ = {"SSN": "1", "credit_card": "2", "creditcard": "3", "credit": 4}
    expected = {"SSN": HIDDEN, "credit_card": HIDDEN, "creditcard": HIDDEN, "credit": 4}
    assert redaction.attributes(given_) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Account("Ada", "CANARY"), {"name": "Ada", "password": HIDDEN}),
        (Model(name="Ada", api_key="CANARY"), {"name": "Ada", "api_key": HIDDEN}),
        (Color.RED, "red"),
        (b"abc", "3 bytes"),
        (Decimal("1.50"), "1.50"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01 00:00:00+00:00"),
        (float("nan"), "nan"),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (ValueError("no"), "ValueError: no"),
        (Rude(), "<unprintable Rude>"),
        (2**2000, "an integer of 2001 bits"),
        ("a\ud800b", "a?b"),
        ("redis://user:CANARY@host/0 and more", "redis://user:***@host/0 and more"),
        ("redis://:CAN@ARY@host/0", "redis://:***@host/0"),
        (
            'GET https://host/a?api_key=CANARY&page=2&Token=CANARY "200"',
            'GET https://host/a?api_key=***&page=2&Token=*** "200"',
        ),
        ("https://host/?max_tokens=5", "https://host/?max_tokens=5"),
        ("http://host:8080/path", "http://host:8080/path"),
    ],
)
def test_values_are_shown_as_json(value: Any, expected: Any) -> None:
    assert shown(value) == expected


def test_what_is_no_mapping_is_shown_too() -> None:
    assert REDACTION.attributes([1, "a"]) == {"extra": [1, "a"]}


def test_long_values_are_cut_and_say_so() -> None:
    assert shown("x" * (MAX_TEXT + 5)) == "x" * MAX_TEXT + "… 5 more characters"
    assert REDACTION.message("x" * (MAX_MESSAGE + 5)) == "x" * MAX_MESSAGE + "… 5 more characters"
    assert shown(list(range(MAX_ITEMS + 3)))[-1] == "… 3 more"
    wide = REDACTION.attributes({str(number): number for number in range(MAX_ITEMS + 3)})
    assert (len(wide), wide["…"]) == (MAX_ITEMS + 1, "3 more")


def test_a_password_does_not_survive_where_the_text_is_cut() -> None:
    text = "x" * (MAX_TEXT - 25) + " redis://user:CANARY1234567@host/0"
    assert "CANARY" not in shown(text)


def test_depth_and_size_are_bounded() -> None:
    deep: Any = "bottom"
    for _ in range(MAX_DEPTH + 5):
        deep = {"in": deep}
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert "bottom" not in dump_json(shown(deep))
    assert len(dump_json(shown(endless))) < 200
    many = {str(n): ["x" * MAX_TEXT] * MAX_ITEMS for n in range(MAX_ITEMS)}
    assert len(dump_json(REDACTION.attributes(many))) < 2 * MAX_ATTRIBUTES


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=30,
)


@given(anything)
def test_whatever_it_is_becomes_json_without_its_secrets(value: Any) -> None:
    attributes = REDACTION.attributes({"value": value, "password": value})
    assert dump_json(attributes).encode()
    assert value is None or attributes["password"] == HIDDEN
