"""What Celery says of a run: the part of a message that a run has no place of its own for.

It is kept beside the run by the names of Celery's own request, so that `self.request` shows it,
and so that callbacks, chains and chords go on from the run as from a task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads

from trigger_celery.errors import InvalidOptionError

REQUEST_NAMES: Final[Mapping[str, str]] = {
    "task_id": "id",
    "link": "callbacks",
    "link_error": "errbacks",
    "chain": "chain",
    "chord": "chord",
    "group_id": "group",
    "group_index": "group_index",
    "parent_id": "parent_id",
    "root_id": "root_id",
    "headers": "headers",
    "shadow": "shadow",
    "reply_to": "reply_to",
    "retries": "retries",
    "replaced_task_nesting": "replaced_task_nesting",
    "stamped_headers": "stamped_headers",
    "ignore_result": "ignore_result",
}
"""Options of `apply_async` that are kept, and what `self.request` calls them."""

CANVAS: Final = ("callbacks", "errbacks", "chain", "chord")
"""What Celery's tracer would go on with. It goes on from the final run instead."""

REQUEUED: Final = "requeued"
"""How often an attempt gave the run back with `Reject(requeue=True)`: to Celery, no retry."""

_LISTS: Final = frozenset({"link", "link_error"})

Side = dict[str, Any]


def side_of(options: Mapping[str, Any]) -> Side:
    """Return what is kept of these options; what is empty is not. Raises InvalidOptionError."""
    side: Side = {}
    if not options:
        return side
    for option, name in REQUEST_NAMES.items():
        value = options.get(option)
        if option in _LISTS and value is not None and not isinstance(value, list | tuple):
            value = [value]
        if value:
            _check(option, value)
        if value is not None and value != [] and value != {} and value != "":
            side[name] = value
    stamps = side.get("stamped_headers")
    if stamps:
        side["stamps"] = {name: options[name] for name in stamps if name in options}
    if not side.get("replaced_task_nesting"):
        side.pop("replaced_task_nesting", None)
    if not side.get("retries"):
        side.pop("retries", None)
    return side


def _check(option: str, value: Any) -> None:
    """Refuse here what would only fail at the end of the run, with nobody there to be told."""
    if option in _LISTS:
        wrong = next((one for one in value if not isinstance(one, Mapping)), None)
        if wrong is not None:
            raise InvalidOptionError(
                f"{option}={wrong!r:.60} is not a signature: pass one, for example {option}=notify.s()"
            )
    elif option == "headers" and not isinstance(value, Mapping):
        raise InvalidOptionError(f"headers={value!r:.60} is not a dict: pass {{'name': value}}")


def goes_on(side: Side) -> bool:
    """Whether something waits for the run's end: a callback, the rest of a chain, a chord, a group."""
    return any(side.get(name) for name in (*CANVAS, "group"))


def dump_side(side: Side, flag: str) -> str:
    """Return the stored form. Raises InvalidOptionError for what is no JSON."""
    try:
        return flag + dumps(side, separators=(",", ":"))
    except (TypeError, ValueError, EncodeError) as problem:
        raise InvalidOptionError(
            f"the callbacks, chain or headers of this call cannot be written as JSON: {problem}"
        ) from None


def load_side(text: str) -> Side:
    """Return what is stored; empty for nothing."""
    side: Side = loads(text[1:]) if len(text) > 1 else {}
    return side
