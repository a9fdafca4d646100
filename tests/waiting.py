"""The one way for a test to wait: for something to become true, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T], description: str, *, timeout: float = 30.0, interval: float = 0.005
) -> T:
    """Return the predicate's first true value; fail with the description when none comes in time."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s still not: {description}")
        time.sleep(interval)
    return value
