"""What is kept of a recorded run's message beside the payload it shows, so that it can be sent again."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from trigger_celery.model.redaction import HIDDEN

_PARTED: Final = "\x1e"
_BASE64: Final = "b"
_MOST_PATHS: Final = 5


class Exactness(StrEnum):
    """How far the payload that a recorded run shows is what the task was called with."""

    WHOLE = ""
    """It is that."""
    BODY = "b"
    """The body of the message is kept as well, and is that."""
    HIDDEN = "h"
    """Something in it is a secret, which was not kept."""
    LARGE = "l"
    """It was too large, and only its beginning was kept."""
    LOST = "x"
    """Something in it cannot be kept: its own serializer did not take it a second time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How a message was sent: what differs from the app's defaults."""

    exactness: Exactness = Exactness.WHOLE
    serializer: str = ""
    priority: int | None = None

    def to_text(self) -> str:
        """Return its form in the store, which begins with the exactness: empty for an ordinary one."""
        if not (self.exactness or self.serializer or self.priority is not None):
            return ""
        priority = "" if self.priority is None else str(self.priority)
        return _PARTED.join((self.exactness.value, self.serializer, priority))

    @classmethod
    def of(cls, text: str) -> Sent:
        """Return what a text of the store says."""
        if not text:
            return ORDINARY
        exactness, serializer, priority = text.split(_PARTED)
        return cls(Exactness(exactness), serializer, int(priority) if priority else None)


ORDINARY: Final = Sent()


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a message, as its serializer made it."""

    content_type: str
    encoding: str
    data: str | bytes

    def to_text(self) -> str:
        """Return its form in the store. Raises UnicodeEncodeError."""
        if isinstance(self.data, bytes):
            form, text = _BASE64, base64.b64encode(self.data).decode()
        else:
            form, text = "", self.data
            text.encode()
        return "\x1f".join((self.content_type, self.encoding, form, text))

    @classmethod
    def of(cls, text: str) -> Body:
        """Return what a text of the store says."""
        content_type, encoding, form, data = text.split("\x1f", 3)
        return cls(content_type, encoding, base64.b64decode(data) if form == _BASE64 else data)


def hidden_paths(value: Any, path: str = "") -> list[str]:
    """Return where secrets are hidden in a payload, as one would write it: `kwargs.card.pin`, `args[1]`."""
    if isinstance(value, dict):
        inside = ((f"{path}.{key}".lstrip("."), item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        inside = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        return [path] if value == HIDDEN else []
    return [found for where, item in inside for found in hidden_paths(item, where)]


def listed(paths: list[str]) -> str:
    """Return paths as a part of a sentence."""
    rest = len(paths) - _MOST_PATHS
    return ", ".join(paths[:_MOST_PATHS]) + (f" and {rest} more" if rest > 0 else "")
