"""Where RedBeat keeps its own entries, and how its beat is read in one go."""

from __future__ import annotations

from typing import Any

import redis
from celery.app import app_or_default
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from trigger_celery.bridge.binding import TriggerCelery, binding_of
from trigger_celery.engine import keys
from trigger_celery.errors import ConfigurationError
from trigger_celery.store.connection import Address

_client: Any = redis  # typed in part only

OWN_SCHEMES = ("redis://", "rediss://")
"""What RedBeat connects to by itself."""


def bound_for_beat(app: Any, *, stock: bool = False) -> TriggerCelery:
    """Return the app's binding, RedBeat being placed. Raises ConfigurationError without a binding.

    *stock*: where RedBeat would be without us, whatever is configured.
    """
    app = app_or_default(app)
    trigger = binding_of(app)
    if trigger is None:
        raise ConfigurationError(
            f"the Celery app {app.main!r} is not bound: TriggerScheduler needs TriggerCelery(app)"
        )
    if not hasattr(app, "redbeat_conf"):
        _place_redbeat(trigger, stock or _uses_redbeat(app))
    return trigger


def _uses_redbeat(app: Any) -> bool:
    return any("redbeat_" in str(name).lower() for name in app.conf.keys())  # noqa: SIM118 - no dict


def _place_redbeat(trigger: TriggerCelery, stock: bool) -> None:
    """Say where RedBeat's entries are, as far as the app does not.

    An app that configures RedBeat finds them where RedBeat looks: at the broker if that is Redis. Any
    other has them with us, one environment apart from the other: RedBeat's own names are the same for
    all apps of a server, and its beats remove each other's `beat_schedule`.
    """
    app: Any = trigger.app
    if app.conf.get("redbeat_redis_url"):
        return
    if stock and (broker := _broker(app)):
        app.conf.redbeat_redis_url = broker
        return
    if not stock:
        app.conf.redbeat_key_prefix = keys.key(trigger.scope, "celery", "")
    app.conf.redbeat_redis_url = trigger.settings.redis_url
    app.conf.redbeat_redis_options = {}
    app.redbeat_redis = client_of(trigger.store.address, trigger.settings.store_timeout)


def _broker(app: Any) -> str | None:
    """Return the address of the broker, if RedBeat could connect there."""
    url = app.conf.get("broker_write_url") or app.conf.get("broker_url") or ""
    return url if isinstance(url, str) and url.startswith(OWN_SCHEMES) and ";" not in url else None


def entries_elsewhere(app: Any) -> int:
    """Return how many entries are where RedBeat would look, while we look with us."""
    broker = _broker(app)
    if broker is None or app.redbeat_conf.redis_url == broker:
        return 0
    try:
        with redis.Redis.from_url(broker, socket_timeout=2, socket_connect_timeout=2) as client:
            found: Any = client.zcard("redbeat::schedule")
    except redis.RedisError:
        return 0  # the broker's own troubles are told by others
    return int(found)


def client_of(address: Address, timeout: float) -> Any:
    """Return a client of any address that the store may have; it connects at its first call."""
    options: dict[str, Any] = {
        **address.options,
        "decode_responses": True,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(ExponentialBackoff(cap=0.5), 3),
    }
    if address.sentinels:
        sentinels = _client.sentinel.Sentinel(list(address.sentinels), socket_timeout=timeout)
        return sentinels.master_for(address.service, **options)
    if address.options.get("path") is not None:
        options["connection_class"] = redis.UnixDomainSocketConnection
    return redis.Redis(connection_pool=_client.ConnectionPool(**options))
