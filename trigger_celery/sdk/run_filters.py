"""The filters of `runs.list` and of bulk actions, as they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypedDict

from trigger_celery.engine.listing import MAX_VALUES, RunFilter
from trigger_celery.errors import InvalidOptionError, closest
from trigger_celery.model.batch import Batch
from trigger_celery.model.bulk import BulkAction
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.ids import (
    is_batch_id,
    is_bulk_id,
    is_run_id,
    is_schedule_id,
    run_id_of,
)
from trigger_celery.model.machine import check_machine
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.model.schedule import Schedule
from trigger_celery.model.trigger_options import check_version
from trigger_celery.sdk.handle import BatchHandle, RunHandle

TagMode = Literal["any", "all"]
SomeRun = str | RunHandle | Run


class RunFilters(TypedDict, total=False):
    """The filters of `runs.list`, as a dict."""

    status: str | RunStatus | Iterable[str] | None
    task: str | Iterable[str] | None
    tag: str | Iterable[str] | None
    tag_mode: TagMode
    queue: str | Iterable[str] | None
    version: str | Iterable[str] | None
    machine: str | Iterable[str] | None
    batch: str | BatchHandle | Batch | None
    parent: SomeRun | None
    root: SomeRun | None
    bulk_action: str | BulkAction | None
    schedule: str | Schedule | None
    is_test: bool | None
    created_from: datetime | None
    created_to: datetime | None
    period: str | float | timedelta | None


NAMES: Final = tuple(RunFilters.__annotations__)


def filter_of(given: Mapping[str, Any], call: str = "runs.list") -> RunFilter:
    """Return checked filters. Raises InvalidOptionError."""
    for name in given:
        if name not in NAMES:
            raise InvalidOptionError(
                f"{call} has no filter {name!r}.{closest(str(name), NAMES)} "
                f"Filters: {', '.join(NAMES)}."
            )
    get = given.get
    tag_mode = get("tag_mode", "any")
    if tag_mode not in ("any", "all"):
        raise InvalidOptionError(
            f"{call}: tag_mode={tag_mode!r} is neither 'any' (one of the tags) nor 'all'"
        )
    is_test = get("is_test")
    if is_test is not None and not isinstance(is_test, bool):
        raise InvalidOptionError(
            f"{call}: is_test={is_test!r} is neither True nor False; leave it out for both"
        )
    texts = {name: texts_of(get(name), name, call) for name in _TEXTS}
    return RunFilter(
        statuses=tuple(map(_status, texts["status"])),
        tasks=texts["task"],
        tags=texts["tag"],
        all_tags=tag_mode == "all",
        queues=texts["queue"],
        versions=tuple(map(check_version, texts["version"])),
        machines=tuple(map(check_machine, texts["machine"])),
        batch=_one(get("batch"), "batch", is_batch_id, call),
        parent=_run(get("parent"), "parent", call),
        root=_run(get("root"), "root", call),
        bulk_action=_one(get("bulk_action"), "bulk_action", is_bulk_id, call),
        schedule=_one(get("schedule"), "schedule", is_schedule_id, call),
        is_test=is_test,
        created_from=_since(given, call),
        created_to=_moment(get("created_to"), call),
    )


_TEXTS: Final = ("status", "task", "tag", "queue", "version", "machine")


def _since(given: Mapping[str, Any], call: str) -> datetime | None:
    period, created_from = given.get("period"), given.get("created_from")
    if period is None:
        return _moment(created_from, call)
    if created_from is not None:
        raise InvalidOptionError(f"{call}: give period or created_from, not both")
    now = datetime.now().astimezone()
    return now - timedelta(milliseconds=parse_duration(period, name="period"))


def _moment(value: Any, call: str) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    raise InvalidOptionError(
        f"{call}: {value!r} is no moment: pass a datetime, or a period such as '7d'"
    )


def _one(value: Any, name: str, fits: Any, call: str) -> str:
    if value is None:
        return ""
    found = getattr(value, "id", value)
    if not fits(found):
        kind = {"batch": "batch", "bulk_action": "bulk action", "schedule": "schedule"}.get(
            name, "run"
        )
        raise InvalidOptionError(f"{call}: {name}={value!r} is not the id of a {kind}")
    return str(found)


def _run(value: Any, name: str, call: str) -> str:
    """Return the id of a run, which may be given by Celery's id of it."""
    found = getattr(value, "id", value)
    if isinstance(found, str) and found and not found.startswith(("run_", "batch_")):
        return run_id_of(found)
    return _one(value, name, is_run_id, call)


def texts_of(value: Any, name: str, call: str) -> tuple[str, ...]:
    """Return one text or several as a tuple; None is none. Raises InvalidOptionError."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = (value,)
    found = tuple(text if isinstance(text, str) else getattr(text, "id", text) for text in value)
    for text in found:
        if not isinstance(text, str) or not text or "\x1f" in text:
            raise InvalidOptionError(f"{call}: {name}={text!r} is not a text to filter by")
    if len(found) > MAX_VALUES:
        raise InvalidOptionError(
            f"{call}: {len(found)} values of {name}; a filter takes at most {MAX_VALUES}"
        )
    return tuple(dict.fromkeys(map(str, found)))


def _status(text: str) -> RunStatus:
    try:
        return RunStatus(text.upper())
    except ValueError:
        names = [status.value for status in RunStatus]
        raise InvalidOptionError(
            f"{text!r} is no status.{closest(text.upper(), names)} Statuses: {', '.join(names)}."
        ) from None
