"""All that is in the server, as plain Python values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import redis

from trigger_celery.engine import keys

_SPELLED = {kind.spelled: kind.name for kind in keys.KEYS if kind.spelled}


@dataclass
class Keyspace:
    """Every key with its value (sets, dicts, lists, text) and its TTL in ms (-1: none)."""

    scope: str
    values: dict[str, Any]
    ttls: dict[str, int]
    types: dict[str, str]

    def kind(self, name: str) -> str:
        rest = name.removeprefix(self.scope + ":")
        return _SPELLED.get(rest) or rest.split(":", 1)[0]

    @cached_property
    def _by_kind(self) -> dict[str, dict[str, Any]]:
        kinds: dict[str, dict[str, Any]] = defaultdict(dict)
        for name, value in self.values.items():
            _, _, rest = name.removeprefix(self.scope + ":").partition(":")
            kinds[self.kind(name)][rest] = value
        return kinds

    def of(self, kind: str) -> dict[str, Any]:
        """Return the values of one kind of key, by the rest of their names."""
        return self._by_kind[kind]

    def one(self, kind: str, default: Any) -> Any:
        return self.values.get(keys.key(self.scope, kind), default)

    @property
    def runs(self) -> dict[str, dict[str, str]]:
        return self.of("run")


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_text(name): _text(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    if isinstance(value, set):
        return {_text(item) for item in value}
    return value


def keyspace(client: redis.Redis, scope: str) -> Keyspace:
    """Read everything that is in the server."""
    names = sorted(name.decode() for name in client.scan_iter(count=5000))
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.type(name)
        pipe.pttl(name)
    facts = pipe.execute()
    types = [_text(kind) for kind in facts[::2]]
    for name, kind in zip(names, types, strict=True):
        match kind:
            case "hash":
                pipe.hgetall(name)
            case "zset":
                pipe.zrange(name, 0, -1, withscores=True)
            case "set":
                pipe.smembers(name)
            case "list":
                pipe.lrange(name, 0, -1)
            case "stream":
                pipe.xrange(name)
            case _:
                pipe.get(name)
    values: dict[str, Any] = {}
    for name, kind, value in zip(names, types, pipe.execute(), strict=True):
        if value is None or kind == "none":
            continue
        values[name] = {_text(m): s for m, s in value} if kind == "zset" else _text(value)
    return Keyspace(
        scope,
        values,
        dict(zip(names, facts[1::2], strict=True)),
        dict(zip(names, types, strict=True)),
    )
