"""From a URL to redis-py connections: standalone, TLS, unix socket, Sentinel; sync and asyncio.

Nothing connects before the first call. redis-py 8 gives every connection a 5 s socket timeout
and silent retries: here the timeout is explicit, blocking reads get their own, and a retry is
ours, because only we know that a repeated call carries the same `op_id`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff

from trigger_celery.errors import ConfigurationError, closest

# redis-py is typed in part only; what is made here is used through our own runners.
_sync: Any = redis
_aio: Any = redis.asyncio

_ALIASES = {"valkey": "redis", "valkeys": "rediss", "redis+socket": "unix"}
_PASSWORD_OPTION = re.compile(r"(?i)([?&]\w*password=)[^&#]*")
SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys", "redis+socket", "sentinel")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed store URL. `shown` never holds the password."""

    scheme: str
    options: dict[str, Any] = field(repr=False)
    shown: str
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""


def parse_address(url: str) -> Address:
    """Parse a store URL.

    Forms: `redis://[user:password@]host[:port][/db]`, `rediss://…` (TLS), `unix:///path?db=0`
    (`redis+socket://` is the same), `valkey://` and `valkeys://` as aliases, and
    `sentinel://[:password@]host:26379,host2:26379/<service name>?db=0`.

    Raises ConfigurationError for anything else, with the password masked.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme not in SCHEMES:
        raise ConfigurationError(
            f"redis_url {mask(url)!r} has no known scheme.{closest(scheme, SCHEMES)} "
            "Write redis://host:6379/0, rediss:// for TLS, unix:///path/to.sock, or "
            "sentinel://host:26379,host2:26379/service."
        )
    if scheme == "sentinel":
        return _parse_sentinel(url)
    plain = _ALIASES.get(scheme, scheme) + url[url.index("://") :]
    try:
        options = dict(_sync.connection.parse_url(plain))
        options["db"] = int(options.get("db", 0) or 0)
        if "ssl_cert_reqs" in options:  # Celery's brokers spell it CERT_NONE, redis-py none
            requirement = str(options["ssl_cert_reqs"]).lower().removeprefix("cert_")
            options["ssl_cert_reqs"] = requirement
    except (ValueError, TypeError) as problem:
        raise ConfigurationError(
            f"redis_url {mask(url)!r} does not parse: {problem}. Example: redis://localhost:6379/0"
        ) from None
    return Address(scheme, options, mask(url))


def _parse_sentinel(url: str) -> Address:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("sentinel:")
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    service = parts.path.strip("/") or query.get("master_name", "") or query.get("service_name", "")
    try:
        sentinels = tuple(
            (host.rpartition(":")[0] or host, int(host.rpartition(":")[2] or 26379))
            if ":" in host
            else (host, 26379)
            for host in hosts.split(",")
            if host
        )
        database = int(query.get("db", 0))
    except ValueError:
        sentinels, database = (), 0
    if not sentinels or not service:
        raise ConfigurationError(
            f"redis_url {mask(url)!r} needs at least one host and the service name: "
            "sentinel://host:26379,host2:26379/mymaster"
        )
    options: dict[str, Any] = {"db": database}
    if password:
        options["password"] = unquote(password)
    if user:
        options["username"] = unquote(user)
    return Address("sentinel", options, mask(url), sentinels, service)


def mask(url: str) -> str:
    """Return the URL with its password replaced by `***`."""
    url = _PASSWORD_OPTION.sub(r"\1***", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    credentials, at, hosts = parts.netloc.rpartition("@")
    if not at or ":" not in credentials:
        return url
    user = credentials.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}:***@{hosts}"))


_UNNAMED: dict[str, Any] = {"driver_info": None}
"""Saves the commands by which redis-py names itself."""
if "driver_info" not in signature(_sync.connection.AbstractConnection).parameters:  # before 7.2
    _UNNAMED = {"lib_name": None, "lib_version": None}


def _common(address: Address, timeout: float | None) -> dict[str, Any]:
    return {
        **address.options,
        "socket_timeout": timeout,
        "socket_connect_timeout": 5.0,
        "protocol": 2,  # what resp.py reads
        "health_check_interval": 0,
        "client_name": "trigger-celery",
        **_UNNAMED,
    }


def sync_factory(address: Address, timeout: float | None) -> Callable[[], Any]:
    """Return a function that makes one unconnected sync connection; *timeout* in seconds."""
    options = _common(address, timeout)
    options["retry"] = redis.retry.Retry(NoBackoff(), 0)
    if address.sentinels:
        options = {name: value for name, value in options.items() if name not in _UNNAMED}
        sentinel = _sync.sentinel.Sentinel(list(address.sentinels), socket_timeout=2.0)
        pool = _sync.sentinel.SentinelConnectionPool(
            address.service, sentinel, check_connection=False, **options
        )
        make: Callable[[], Any] = pool.make_connection
        return make
    kind: Any = redis.Connection
    if address.options.get("path") is not None:
        kind = redis.UnixDomainSocketConnection
    kind = options.pop("connection_class", kind)
    return lambda: kind(**options)


def async_factory(address: Address, timeout: float | None) -> Callable[[], Any]:
    """Return a function that makes one unconnected asyncio connection; *timeout* in seconds."""
    options = _common(address, timeout)
    options["retry"] = redis.asyncio.retry.Retry(NoBackoff(), 0)
    if address.sentinels:
        options = {name: value for name, value in options.items() if name not in _UNNAMED}
        sentinel = _aio.sentinel.Sentinel(list(address.sentinels), socket_timeout=2.0)
        pool = _aio.sentinel.SentinelConnectionPool(
            address.service, sentinel, check_connection=False, **options
        )
        make: Callable[[], Any] = pool.make_connection
        return make
    kind: Any = redis.asyncio.Connection
    if address.options.get("path") is not None:
        kind = redis.asyncio.UnixDomainSocketConnection
    sync_kind = options.pop("connection_class", None)
    if sync_kind is not None:
        kind = getattr(redis.asyncio.connection, sync_kind.__name__)
    return lambda: kind(**options)
