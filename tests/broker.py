"""The broker of tests: what waits there."""

from __future__ import annotations

from typing import Any


def ids_taken_off(app: Any) -> list[str]:
    """Return the ids of the messages that wait, and take them off the broker."""
    with app.connection_for_write() as connection:
        queue = app.amqp.queues["celery"](connection.default_channel)
        queue.declare()
        found = []
        while (message := queue.get(no_ack=True)) is not None:
            found.append(message.headers["id"])
        return found
