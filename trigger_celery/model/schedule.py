"""A schedule as its readers see it, what code declares of one, and the payload of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal, NotRequired, TypedDict, get_args

from trigger_celery.errors import PayloadValidationError, closest
from trigger_celery.model.instant import iso
from trigger_celery.model.status import Status

CatchUp = Literal["none", "latest", "all"]
CATCH_UPS: Final[tuple[str, ...]] = get_args(CatchUp)
CATCH_UP_LIMIT: Final = 100
"""How many missed occurrences `catch_up="all"` makes up for, unless the schedule says otherwise."""
MAX_CATCH_UP: Final = 1000
MAX_DEDUPLICATION_KEY: Final = 128
MAX_EXTERNAL_ID: Final = 512
UPCOMING: Final = 10
"""How many further occurrences the payload of a run names."""
MANUAL_ID: Final = "sched_manual"
"""The schedule id in the payload of a run that somebody triggered by hand."""


class CronOptions(TypedDict):
    """The option `cron` as a dict. `environments` only in `@scheduled_task`."""

    pattern: str
    timezone: NotRequired[str]
    environments: NotRequired[Iterable[str]]


class ScheduleType(Status):
    """Who made a schedule. Equal to its own name in any letter case."""

    DECLARATIVE = "DECLARATIVE"  # @scheduled_task(cron=…): follows the code
    IMPERATIVE = "IMPERATIVE"  # schedules.create(…)


@dataclass(frozen=True, slots=True)
class DeclaredCron:
    """What `@scheduled_task` says of when its task runs."""

    pattern: str
    timezone: str
    environments: tuple[str, ...] = ()
    catch_up: CatchUp = "latest"
    catch_up_limit: int = CATCH_UP_LIMIT


@dataclass(frozen=True, slots=True)
class ScheduleGenerator:
    """When a schedule fires: its cron pattern, and that in words."""

    expression: str
    description: str
    type: str = "CRON"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A snapshot of a schedule; reading it again may show another. Times are aware and in UTC.

    `next_run` is None while it is not active. `last_run` is the nominal time of the last
    occurrence. `lost_count` says how many runs were not made because the queue was full,
    `missed_count` how often occurrences were passed over because nothing fired them in time.
    `problem` says why a schedule that is broken was set aside.
    """

    id: str
    task: str
    type: ScheduleType
    cron: str
    timezone: str
    active: bool = True
    deduplication_key: str | None = None
    external_id: str | None = None
    description: str = ""
    next_run: datetime | None = None
    last_run: datetime | None = None
    last_run_id: str | None = None
    run_count: int = 0
    lost_count: int = 0
    missed_count: int = 0
    catch_up: CatchUp = "latest"
    catch_up_limit: int = CATCH_UP_LIMIT
    created_at: datetime | None = None
    updated_at: datetime | None = None
    problem: str | None = None

    @property
    def generator(self) -> ScheduleGenerator:
        """The pattern and its description as one object."""
        return ScheduleGenerator(self.cron, self.description)

    @property
    def is_declarative(self) -> bool:
        """True when the code declares it: `@scheduled_task(cron=…)`."""
        return self.type is ScheduleType.DECLARATIVE

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as JSON-ready values; times are ISO 8601 in UTC."""
        return {field.name: _ready(getattr(self, field.name)) for field in fields(self)}


def _ready(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    return str(value) if isinstance(value, ScheduleType) else value


class SchedulePayload(dict[str, Any]):
    """What the function of a scheduled task gets: a dict whose items are attributes, too.

    Its moments are aware and in UTC. `timestamp` is the nominal time of the occurrence: when the run
    was due, not when it began. A run that was triggered by hand has the `schedule_id`
    "sched_manual".
    """

    __slots__ = ()

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(dict.fromkeys(NAMES) | dict(given))

    @property
    def schedule_id(self) -> str:
        """The id of the schedule."""
        return str(self["schedule_id"])

    @property
    def type(self) -> ScheduleType:
        """DECLARATIVE or IMPERATIVE."""
        return ScheduleType(self["type"])

    @property
    def timestamp(self) -> datetime:
        """The nominal time of this occurrence."""
        return moment_of(self["timestamp"])

    @property
    def last_timestamp(self) -> datetime | None:
        """The nominal time of the occurrence before, None the first time."""
        last = self["last_timestamp"]
        return None if last is None else moment_of(last)

    @property
    def timezone(self) -> str:
        """The IANA name of the zone in which the pattern is read."""
        return str(self["timezone"])

    @property
    def external_id(self) -> str | None:
        """What the schedule was created with, such as the id of a user."""
        found = self["external_id"]
        return None if found is None else str(found)

    @property
    def upcoming(self) -> list[datetime]:
        """The next 10 occurrences."""
        return list(self["upcoming"])

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"the payload of a scheduled run has no {name!r}.{closest(name, self)}",
                name=name,
                obj=self,
            ) from None


NAMES: Final = (
    "schedule_id", "type", "timestamp", "last_timestamp", "timezone", "external_id", "upcoming",
)  # fmt: skip


def moment_of(value: Any) -> datetime:
    """Return a moment of a payload, in UTC. Raises PayloadValidationError."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise PayloadValidationError(
            f"{value!r:.60} is no moment: pass an aware datetime, or ISO 8601 text with its offset"
        )
    return moment.astimezone(UTC)


def _type(value: Any) -> ScheduleType:
    try:
        return ScheduleType(value)
    except ValueError:
        raise PayloadValidationError(
            f"type={value!r:.60} is not one of {', '.join(ScheduleType)}"
        ) from None


def payload_of(given: Any, manual: Mapping[str, Any]) -> SchedulePayload:
    """Return the payload of a run. What *given* leaves out is that of a run triggered by hand.

    Raises PayloadValidationError for what cannot be one.
    """
    if given is not None and not isinstance(given, Mapping):
        raise PayloadValidationError(
            f"{given!r:.60} is not the payload of a scheduled run: pass nothing, or a dict with "
            f"any of {', '.join(NAMES)}"
        )
    named = {name: value for name, value in (given or {}).items() if value is not None}
    payload = SchedulePayload({**manual, **named})
    for name in ("timestamp", "last_timestamp"):
        if payload[name] is not None:
            payload[name] = moment_of(payload[name])
    upcoming = payload["upcoming"] or ()
    if not isinstance(upcoming, list | tuple):
        raise PayloadValidationError(f"upcoming={upcoming!r:.60} is not a list of moments")
    payload["upcoming"] = [moment_of(moment) for moment in upcoming]
    payload["type"] = str(_type(payload["type"]))
    return payload
