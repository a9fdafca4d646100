"""Rates: how many runs may start in a time, such as `100/m`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from trigger_celery.errors import InvalidQueueError

MAX_PER_SECOND: Final = 100_000
MIN_PER_DAY: Final = 0.001
_UNITS: Final = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_SPELLING: Final = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(?:/\s*([a-zA-Z]+))?\s*", re.ASCII)
_AT_ONCE_US: Final = 20_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate as the engine counts it: `burst` at once, then one every `every_us` microseconds.

    In any window as long as the rate's unit, no more start than it says. So up to 50 a second the
    starts are spread evenly, and the burst is 1. Above it, starts within some 20 ms come together.
    """

    text: str
    every_us: int
    burst: int


def parse_rate(value: object, name: str = "rate_limit") -> Rate | None:
    """Return a rate, None for None. Raises InvalidQueueError.

    `"100/m"`: a number, and s, m, h or d for second, minute, hour or day. A number alone is per
    second, as in Celery.
    """
    if value is None:
        return None
    text = str(value) if type(value) in (int, float) else value
    found = _SPELLING.fullmatch(text) if isinstance(text, str) else None
    unit = (found[2] or "s").lower() if found else ""
    if found is None or unit not in _UNITS:
        raise InvalidQueueError(
            f"{name}={value!r:.60} is not a rate: write a number and a unit, s, m, h or d, for "
            f"example {name}='100/m'. A number alone is per second; None is no limit."
        )
    count, period = float(found[1]), _UNITS[unit]
    per_second = count * 1_000_000 / period
    if not MIN_PER_DAY / 86_400 <= per_second <= MAX_PER_SECOND:
        raise InvalidQueueError(
            f"{name}={value!r:.60} is out of range: at most {MAX_PER_SECOND:,} per second, and more "
            "than nothing. concurrency_limit=0, or queues.pause, starts nothing."
        )
    burst = max(1, int(count * _AT_ONCE_US / period))
    return Rate(f"{count:.15g}/{unit}", math.ceil(period / (count - burst + 1)), burst)
