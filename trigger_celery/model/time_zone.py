"""Time zones by their IANA names."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from trigger_celery.errors import InvalidCronError, closest

UTC_NAME: Final = "UTC"
_NOT_PLACES: Final = frozenset({"Factory", "localtime"})


def time_zones(exclude_utc: bool = False) -> list[str]:
    """Return the names of all time zones, sorted. *exclude_utc* leaves out `UTC` itself."""
    names = sorted(_known())
    return [name for name in names if name != UTC_NAME] if exclude_utc else names


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """Return a zone by its name. Raises InvalidCronError, with the closest name."""
    if name != UTC_NAME and name not in _known():
        raise InvalidCronError(
            f"timezone={name!r:.60} is not a known time zone.{_nearest(name)} Pass a name of the IANA "
            "list, such as 'Europe/Berlin' or 'UTC'; offsets such as '+02:00' know no summer time. "
            "`schedules.timezones()` lists them all."
        )
    return ZoneInfo(name)


def _nearest(name: str) -> str:
    folded = {known.casefold(): known for known in _known()}
    same = folded.get(name.strip().casefold().replace(" ", "_"))
    if same:
        return f" Did you mean {same!r}?"
    place = name.casefold().replace(" ", "_")[:60]
    ending = [known for low, known in folded.items() if low.rpartition("/")[2] == place]
    return f" Did you mean {min(ending)!r}?" if ending else closest(name[:60], _known())


@lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOT_PLACES
