"""Lists runs by filters, newest first, in pages.

Each call does a bounded piece of the server's work; a page of a rare kind of run takes several.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from trigger_celery.engine.admission import TEST_LABEL, version_label
from trigger_celery.engine.codec import run_of
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.store.op import Flow

MAX_PAGE: Final = 100
MAX_VALUES: Final = 50
"""Values of one filter."""

_PLACE: Final = re.compile(r"(\d{1,15}) (run_[0-9a-v]{26})").fullmatch
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EVER: Final = 9_999_999_999_999


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are meant; empty means any, several of a kind mean any of them.

    `parent`: its children; `root`: all runs below it. `bulk_action`: the runs that the action
    cancelled or made. `machines`: as the run was given one.
    """

    statuses: tuple[RunStatus, ...] = ()
    tasks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    queues: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    batch: str = ""
    parent: str = ""
    root: str = ""
    bulk_action: str = ""
    schedule: str = ""
    is_test: bool | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def to_text(self, **more: Any) -> str:
        """Return the filter as `include/run_filter.lua` reads it, without the times."""
        labels = [TEST_LABEL] if self.is_test else []
        if self.bulk_action:
            labels.append(self.bulk_action)
        if self.schedule:
            labels.append(self.schedule)
        given: dict[str, Any] = {
            "status": self.statuses,
            "task": self.tasks,
            "tag": self.tags,
            "all_tags": self.all_tags and bool(self.tags),
            "queue": self.queues,
            "version": [version_label(version) for version in self.versions],
            "machine": self.machines,
            "label": labels,
            "real": self.is_test is False,
            "batch": self.batch,
            "parent": self.parent,
            "root": self.root,
        }
        known = {name: value for name, value in (given | more).items() if value}
        if not self.statuses:
            known["every"] = tuple(RunStatus)
        return json.dumps(known, ensure_ascii=False, separators=(",", ":"))

    def bounds(self) -> tuple[int, int]:
        """Return the first and the last ms of creation."""
        return _ms(self.created_from, 0), _ms(self.created_to, _EVER)


def _ms(value: datetime | None, otherwise: int) -> int:
    if value is None:
        return otherwise
    return max(0, min(_EVER, (value.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)))


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of runs, newest first, without payloads.

    `next_cursor` leads to older runs and is None when there are none; `previous_cursor` leads to
    newer ones and is None on the first page. A page that they lead to may be empty.
    """

    runs: list[Run] = field(default_factory=list)
    next_cursor: str | None = None
    previous_cursor: str | None = None

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind a run, which may be gone. Empty: at the newest."""

    score: str = ""
    run_id: str = ""

    def __bool__(self) -> bool:
        return bool(self.run_id)

    def to_cursor(self) -> str:
        """Return the text that callers pass on."""
        return base64.urlsafe_b64encode(f"{self.score} {self.run_id}".encode()).decode()

    @classmethod
    def of_cursor(cls, text: str) -> Place:
        """Return what a cursor means. Raises InvalidOptionError."""
        try:
            found = _PLACE(base64.b64decode(text.encode(), b"-_", validate=True).decode())
        except (ValueError, AttributeError):
            found = None
        if found is None:
            raise InvalidOptionError(
                f"{text!r} is not a cursor: pass `next_cursor` of the page before, as it is"
            )
        return cls(found[1], found[2])


START: Final = Place()

Direction = Literal["older", "newer"]


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk found, in its direction: runs, their places, and where to go on; None: nowhere."""

    runs: list[Run]
    places: list[Place]
    rest: Place | None


def find_runs(
    scope: str, wanted: RunFilter, count: int, place: Place = START, direction: Direction = "older"
) -> Flow[Found]:
    """Return up to *count* runs behind a place."""
    runs: list[Run] = []
    places: list[Place] = []
    text = wanted.to_text()
    oldest, newest = wanted.bounds()
    while True:
        reply: Sequence[Any] = yield SCRIPTS.list_runs(
            scope,
            filter=text,
            direction=direction,
            oldest=oldest,
            newest=newest,
            at_score=place.score,
            at_id=place.run_id,
            count=count - len(runs),
        )
        for name, flat in reply[:-1]:
            run_id = name.decode()
            runs.append(run_of(run_id, flat))
            places.append(Place(_created(flat), run_id))
        score, after = (part.decode() for part in reply[-1])
        if not after:
            return Found(runs, places, None)
        place = Place(score, after)
        if len(runs) >= count:
            return Found(runs, places, place)


def _created(flat: Sequence[bytes]) -> str:
    return flat[flat.index(b"created") + 1].decode()


def list_runs(
    scope: str,
    wanted: RunFilter,
    limit: int,
    after: str | None = None,
    before: str | None = None,
) -> Flow[RunPage]:
    """Return one page of at most *limit* (up to 100) runs: those behind a cursor, or before one."""
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise InvalidOptionError(f"limit={limit!r}: a page has 1 to {MAX_PAGE} runs")
    if before is not None:
        if after is not None:
            raise InvalidOptionError("give after or before, not both: a page goes on in one way")
        place = Place.of_cursor(before)
        found = yield from find_runs(scope, wanted, limit, place, "newer")
        if not found.runs:
            return RunPage([], None, None)
        newest = found.places[-1].to_cursor() if found.rest else None
        return RunPage(found.runs[::-1], found.places[0].to_cursor(), newest)
    place = START if after is None else Place.of_cursor(after)
    found = yield from find_runs(scope, wanted, limit, place)
    first = found.places[0].to_cursor() if place and found.places else None
    return RunPage(found.runs, found.rest.to_cursor() if found.rest else None, first)
