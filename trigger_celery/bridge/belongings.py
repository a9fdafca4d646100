"""What the code of a run keeps with it while an attempt lasts."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any

from trigger_celery.bridge.hooks import BoundHook

Background = asyncio.Future[Any] | concurrent.futures.Future[Any]


class Belongings:
    """Locals, work in the background, and hooks of its own; made when the first is needed."""

    __slots__ = ("background", "hooks", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        """Locals by id."""
        self.background: list[Background] = []
        """What the attempt waits for at its end."""
        self.hooks: list[BoundHook] = []
        """`on_cancel` hooks that its code registered."""
