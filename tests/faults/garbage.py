"""What somebody may push into a broker's queue, beside messages."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

TASK = "old.add"


def envelope(queue: str, mark: str, args: Any = (1, 1)) -> dict[str, Any]:
    """Return a good message, as Celery puts it into Redis."""
    name = f"{mark}-{uuid4()}"
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return {
        "body": body([list(args), {}, embed]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": TASK, "id": name, "root_id": name, "parent_id": None},
        "properties": {
            "correlation_id": name,
            "reply_to": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def body(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(raw).decode()


def kinds(queue: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return what is thrown away: its name, what the worker's log says, and the message.

    A name is the beginning of the task id, where there is one.
    """

    def made(name: str, log: str, **changes: Any) -> tuple[str, str, dict[str, Any]]:
        message = envelope(queue, name)
        for part, value in changes.items():
            key = part.replace("_", "-")
            message[key] = {**message[key], **value} if isinstance(value, dict) else value
        return name, log, message

    undecodable, invalid = "Can't decode message body", "Received invalid task message"
    unknown, unregistered = "unknown message", "Received unregistered task"
    yield made("binary", undecodable, body=body(b"\x80\x04\xff garbage"))
    yield made("half", undecodable, body=body(b'[[1, 2], {}, {"callb'))
    yield made("deep", undecodable, body=body(b"[" * 100_000 + b"]" * 100_000))
    yield made("reserved", undecodable, body=body({"__type__": "uuid", "__value__": 1}))
    inside = [[{"__type__": "nothing", "__value__": 1}], {}, {}]
    yield made("reserved-inside", undecodable, body=body(inside))
    yield made("compressed", undecodable, headers={"compression": "nothing"})
    pickle = "application/x-python-serialize"
    yield made("pickle", invalid, content_type=pickle, content_encoding="binary")
    yield made("unknown-type", invalid, content_type="application/x-nothing")
    yield made("no-headers", unknown, headers=None)
    name, log, empty = made("empty-headers", unknown)
    yield name, log, {**empty, "headers": {}}
    yield made("unknown-task", unregistered, headers={"task": "no.such"})
    yield made("a-function", unregistered, headers={"task": "os.system"})
    yield made("ours-unknown", unregistered, headers={"task": "trigger_celery.run"})
    yield made("eta", invalid, headers={"eta": "someday"})
    yield made("expires", invalid, headers={"expires": [1]})
    first = {"task": TASK, "id": "first-protocol", "args": 7, "kwargs": "x"}
    name, log, old = made("first-protocol", invalid, body=body(first))
    yield name, log, {**old, "headers": {}}


def failing(queue: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return messages that a worker executes, and that fail or not as they do without the library."""
    huge = envelope(queue, "huge", ["x" * 10_000_000, 2])
    yield "huge", huge
    names = envelope(queue, "our-names")
    names["headers"] |= {
        "run_id": 5,
        "trigger": {"epoch": {}},
        "attempt": "many",
        "traceparent": "zz",
        "baggage": [1],
    }
    yield "our-names", names
    odd = envelope(queue, "odd")
    odd["headers"] |= {
        "retries": "many",
        "replaced_task_nesting": [1],
        "parent_id": {"a": 1},
        "root_id": 5,
    }
    yield "odd", odd
