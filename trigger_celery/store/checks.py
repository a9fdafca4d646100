"""Is this server fit to hold runs? Asked before the first call of a process, and by `doctor`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from trigger_celery.errors import (
    ServerUnfitError,
    StoreAuthenticationError,
    StoreError,
    StoreUnavailableError,
    TriggerError,
)
from trigger_celery.store.op import Call, Flow, command
from trigger_celery.store.scripts import Script

if TYPE_CHECKING:
    from trigger_celery.store.store import Store

OLDEST: Final = {"redis": (6, 2), "valkey": (7, 2)}
MAX_SKEW: Final = 5.0

COMMANDS: Final = (
    "SET k v PX 1000", "GET k", "GETRANGE k 0 1", "DEL k", "EXISTS k", "PTTL k", "PEXPIRE k 1000", "PERSIST k", "TIME",
    "PUBLISH k v", "HSET k f v", "HGET k f", "HMGET k f", "HGETALL k",
    "HINCRBY k f 1", "HDEL k f", "HLEN k", "HSETNX k f v", "HEXISTS k f", "HKEYS k", "HSCAN k 0", "ZADD k 1 v", "ZCARD k", "ZCOUNT k 0 1",
    "ZSCORE k v", "ZMSCORE k v", "ZRANGE k 0 1", "ZREVRANGE k 0 1",
    "ZRANGEBYSCORE k 0 1", "ZREVRANGEBYSCORE k 1 0", "ZREM k v", "ZPOPMIN k", "SADD k v",
    "SREM k v", "SCARD k", "SISMEMBER k v", "SMEMBERS k", "SPOP k", "SRANDMEMBER k 1", "SSCAN k 0",
    "RPUSH k v", "LINDEX k 0", "LPOS k v", "LLEN k", "LSET k 0 v", "LRANGE k 0 1", "LTRIM k 0 1", "XADD k * f v", "XDEL k 1-1", "XLEN k", "XRANGE k - +", "XREVRANGE k + -",
)  # fmt: skip
"""What the scripts call, each in a valid form; `k` is the key of the probe."""

# Whether a command finds its type of key does not matter: one that the user may not run is
# refused before that. The key is removed at the end.
_PROBE: Final = Script(
    "probe",
    """
local refused = {}
for line in string.gmatch(ARGV[1], '[^\\n]+') do
  local words = {}
  for word in string.gmatch(line, '%S+') do
    words[#words + 1] = word == 'k' and KEYS[1] or word
  end
  local answer = redis.pcall(unpack(words))
  local text = type(answer) == 'table' and answer.err or ''
  if string.find(text, 'ermission') or string.find(text, "can't run") then
    refused[#refused + 1] = words[1]
  end
end
redis.pcall('DEL', KEYS[1])
return table.concat(refused, ' ')
""",
    ("commands",),
    False,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. *fix* says what to do about it."""

    level: Literal["error", "warning", "ok"]
    name: str
    message: str
    fix: str = ""


def check_server(store: Store) -> Flow[list[Finding]]:
    """Look at the server and return a finding for everything that matters, errors first.

    Never raises for what the server is or says, also not when it is down.
    """
    try:
        info = yield command("INFO", decode=_facts)
        seconds, micros = yield command("TIME")
        refused = yield from _refused_commands(store.scope)
    except StoreAuthenticationError as problem:
        return [Finding("error", "permission", str(problem))]
    except StoreUnavailableError as problem:
        return [Finding("error", "connection", str(problem), "Start it, or correct redis_url.")]
    except (StoreError, ServerUnfitError) as problem:
        return [Finding("error", "commands", str(problem), "Use Redis 6.2 or Valkey 7.2 or newer.")]
    findings = [
        _version(info),
        _eviction(info),
        _role(info),
        _permission(refused),
        _persistence(info),
        _clock(int(seconds) + int(micros) / 1e6 - time.time()),
        *_memory(info),
    ]
    order = ("error", "warning", "ok")
    return sorted(findings, key=lambda finding: order.index(finding.level))


def require_fit(store: Store) -> Flow[None]:
    """Return if the server is fit; otherwise raise with every error that was found.

    Raises StoreAuthenticationError, StoreUnavailableError or ServerUnfitError.
    """
    findings = yield from check_server(store)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors and errors[0].name == "connection":  # nothing else could be looked at
        raise StoreUnavailableError(errors[0].message)
    if errors:
        kind: type[TriggerError] = ServerUnfitError
        if errors[0].name == "permission":
            kind = StoreAuthenticationError
        listed = "\n".join(f"  - {found.message} {found.fix}".rstrip() for found in errors)
        raise kind(f"the server cannot hold runs:\n{listed}")


def _refused_commands(scope: str) -> Flow[str]:
    reply: bytes = yield Call(_PROBE, f"{scope}:probe", ("\n".join(COMMANDS),))
    return reply.decode()


def _facts(reply: Any) -> dict[str, str]:
    lines = bytes(reply).decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _version(info: Mapping[str, str]) -> Finding:
    product = "valkey" if "valkey_version" in info else "redis"
    text = info.get(f"{product}_version", "0")
    numbers = tuple(map(int, re.findall(r"\d+", text)[:2]))
    if numbers < OLDEST[product]:
        oldest = ".".join(map(str, OLDEST[product]))
        return Finding(
            "error",
            "version",
            f"{product} {text} is too old: {oldest} is the oldest that works.",
            "Upgrade the server.",
        )
    return Finding("ok", "version", f"{product} {text}")


def _eviction(info: Mapping[str, str]) -> Finding:
    policy = info.get("maxmemory_policy", "unknown")
    if policy == "noeviction":
        return Finding("ok", "eviction", "maxmemory-policy is noeviction")
    return Finding(
        "warning" if policy == "unknown" else "error",
        "eviction",
        f"maxmemory-policy is {policy}: a server that evicts keys loses runs in silence.",
        "Set maxmemory-policy noeviction, or use a server of its own for runs.",
    )


def _role(info: Mapping[str, str]) -> Finding:
    role = info.get("role", "master")
    if role == "master":
        return Finding("ok", "role", "takes writes")
    return Finding(
        "error",
        "role",
        f"this server is a replica ({role}): it takes no writes.",
        "Point redis_url at the primary, or use sentinel://.",
    )


def _permission(refused: str) -> Finding:
    if not refused:
        return Finding("ok", "permission", "may run scripts and the commands they use")
    return Finding(
        "error",
        "permission",
        f"the user may not run {', '.join(refused.split())} in scripts.",
        "Allow them: ACL SETUSER <user> "
        + " ".join(f"+{name.lower()}" for name in refused.split()),
    )


def _persistence(info: Mapping[str, str]) -> Finding:
    if info.get("aof_enabled") == "1":
        return Finding("ok", "persistence", "appendonly is on")
    return Finding(
        "warning",
        "persistence",
        "appendonly is off: a crash of the server loses all runs since its last snapshot.",
        "Set appendonly yes (appendfsync everysec loses at most the last two seconds).",
    )


def _clock(skew: float) -> Finding:
    if abs(skew) <= MAX_SKEW:
        return Finding("ok", "clock", "the server's clock agrees with this machine's")
    return Finding(
        "warning",
        "clock",
        f"the server's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this "
        "machine's: delays and times follow the server's.",
        "Synchronise both with NTP.",
    )


def _memory(info: Mapping[str, str]) -> Iterator[Finding]:
    if info.get("maxmemory") == "0":
        yield Finding(
            "ok",
            "memory",
            "maxmemory is not set: the server grows until the machine has no memory left",
            "Set maxmemory below the machine's memory: triggers then fail cleanly when it is full.",
        )
