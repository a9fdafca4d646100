"""Which of the app's queues a message would reach: its workers execute the run that is made instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def queue_of(app: Any, routed: Mapping[str, Any]) -> str:
    """Return the name of the queue. *routed* is what the app's router makes of a call's options.

    As in Celery, an exchange or a routing key that is given counts more than the queue. Where no
    queue of the app is bound by these, it is the one that is named, or the default.
    """
    queue = routed.get("queue")
    exchange, key = routed.get("exchange"), routed.get("routing_key")
    if exchange or key:
        exchange = getattr(exchange, "name", exchange) or _exchange_of(queue)
        bound = [one for one in app.amqp.queues.values() if _reaches(one, exchange, key)]
        if bound and queue not in bound:
            queue = bound[0]
    return str(getattr(queue, "name", queue) or app.conf.task_default_queue)


def _exchange_of(queue: Any) -> str | None:
    return getattr(getattr(queue, "exchange", None), "name", None)


def _reaches(queue: Any, exchange: str | None, key: str | None) -> bool:
    if exchange is not None and queue.exchange.name != exchange:
        return False
    if key is None or queue.exchange.type == "fanout":
        return exchange is not None and queue.exchange.type == "fanout"
    if queue.exchange.type == "topic":
        return _pattern(queue.routing_key).fullmatch(key) is not None
    return bool(queue.routing_key == key)


def _pattern(binding: str) -> re.Pattern[str]:
    """Return what a topic's binding matches: `*` is a word, `#` any number of them."""
    parts = re.escape(binding or "").replace(r"\#", "#").replace(r"\*", "[^.]+")
    return re.compile(
        parts.replace(r"\.#", r"(\..*)?").replace(r"#\.", r"(.*\.)?").replace("#", ".*")
    )
