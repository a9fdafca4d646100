"""The skeleton of a service: `tick` does one bounded piece of work and says when to come again."""

from __future__ import annotations

from typing import Protocol

from trigger_celery.store.op import Flow


class Service(Protocol):
    """One duty. Safe to run twice at once, in one process or in many."""

    name: str

    def tick(self) -> Flow[float]:
        """Do one bounded piece of work and return the seconds until the next tick."""
        ...
