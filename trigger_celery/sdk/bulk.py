"""`runs.bulk`: cancel or replay many runs at once; workers carry it out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.engine.bulk import (
    MAX_RUNS,
    NewBulk,
    abort_bulk,
    create_bulk,
    list_bulks,
    no_bulk,
    read_bulk,
)
from trigger_celery.engine.listing import MAX_PAGE, RunFilter
from trigger_celery.errors import InvalidOptionError, PollTimeoutError
from trigger_celery.model.bulk import BulkAction, BulkStatus, BulkType
from trigger_celery.model.ids import bulk_id, is_bulk_id
from trigger_celery.model.run import RunStatus
from trigger_celery.sdk.handle import id_of
from trigger_celery.sdk.replaying import once
from trigger_celery.sdk.run_filters import RunFilters, SomeRun, filter_of
from trigger_celery.sdk.triggering import patience
from trigger_celery.store.op import Flow, Op, Sleep

MAX_NAME: Final = 255
PERIOD: Final = "7d"
"""How far a filter looks back that names no time."""

_FIRST_LOOK: Final = 0.1
_LAST_LOOK: Final = 2.0


def cancel(
    *,
    filter: RunFilters | None = None,
    run_ids: Iterable[SomeRun] | None = None,
    name: str | None = None,
    reason: str = "Canceled by user",
) -> Op[BulkAction]:
    """Cancel all runs that a filter finds, or those that are named, with their descendants.

    Returns at once: the workers do it, 100 runs at a time, and go on when the caller is gone. Poll
    the action to wait for it. Give exactly one of *filter*, the filters of `runs.list` as a dict,
    and *run_ids*, at most 500. A filter that names no time means the last 7 days; one without a
    status means all runs that have not ended. Runs that are made later do not count. *name* (at
    most 255 characters) is for people.

    Runs that had ended before count as failures. Called in a run, it acts once. Raises
    InvalidOptionError, and StateError when 20 such actions are under way.
    """
    return _announce(BulkType.CANCEL, filter, run_ids, name, reason)


def replay(
    *,
    filter: RunFilters | None = None,
    run_ids: Iterable[SomeRun] | None = None,
    name: str | None = None,
) -> Op[BulkAction]:
    """Trigger all runs again that a filter finds, or those that are named, as `runs.replay` does.

    Otherwise like `bulk.cancel`; a filter without a status means runs of any. Runs that are gone, and
    those that a full queue refuses, count as failures. Recorded runs are sent again by the worker; one
    whose arguments are not known is a failure. `runs.list(bulk_action=action.id)` lists the new runs.
    Raises StateError when 3 such actions are under way.
    """
    return _announce(BulkType.REPLAY, filter, run_ids, name, "")


def _announce(
    kind: BulkType,
    filters: RunFilters | None,
    run_ids: Iterable[SomeRun] | None,
    name: str | None,
    reason: str,
) -> Op[BulkAction]:
    call = f"runs.bulk.{kind.lower()}"
    if (filters is None) is (run_ids is None):
        raise InvalidOptionError(
            f"{call} takes a filter or run_ids, exactly one of them: filter={{}} are all runs of "
            "the last 7 days"
        )
    wanted = None if filters is None else _filter(filters, kind, call)
    ids = () if run_ids is None else _ids(run_ids, call)
    shown = _name(name, call)
    bound = context.current()

    def flow() -> Flow[BulkAction]:
        durable = current_durable()
        place = durable.step_name(call) if durable is not None else ""
        new = NewBulk(once("bulk", durable, place) or bulk_id(), kind, wanted, ids, shown, reason)
        if durable is None or not durable.had_before():
            yield from create_bulk(bound.scope, new)
        total = len(ids) if wanted is None else None
        return BulkAction(new.id, kind, BulkStatus.PENDING, name, total)

    return bound.op(flow(), call)


def _name(name: object, call: str) -> str:
    if name is None:
        return ""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise InvalidOptionError(f"{call}: name={name!r} is not text of 1 to {MAX_NAME} characters")
    return name


def _filter(filters: RunFilters, kind: BulkType, call: str) -> RunFilter:
    if not isinstance(filters, dict):
        raise InvalidOptionError(
            f"{call}: filter={filters!r} is not a dict of filters such as {{'status': 'FAILED'}}"
        )
    return filter_of(with_defaults(filters, kind), call)


def with_defaults(filters: RunFilters, kind: BulkType) -> dict[str, Any]:
    """Return filters with what counts when they do not say: the last 7 days, what can be cancelled."""
    given: dict[str, Any] = {**filters}
    if given.get("period") is None and given.get("created_from") is None:
        given["period"] = PERIOD
    if kind == BulkType.CANCEL and not given.get("status"):
        given["status"] = [status for status in RunStatus if not status.is_final]
    return given


def _ids(run_ids: Iterable[SomeRun], call: str) -> tuple[str, ...]:
    if isinstance(run_ids, str):
        raise InvalidOptionError(f"{call}: run_ids={run_ids!r} is one text: pass a list of ids")
    ids = tuple(dict.fromkeys(id_of(run) for run in run_ids))
    if not 0 < len(ids) <= MAX_RUNS:
        raise InvalidOptionError(
            f"{call}: {len(ids)} runs; name 1 to {MAX_RUNS}, or use a filter, for example a tag or "
            "a batch"
        )
    return ids


def _id(action: str | BulkAction) -> str:
    found = getattr(action, "id", action)
    if not isinstance(found, str):
        raise InvalidOptionError(f"{action!r} is not a bulk action: pass its id (bulk_…)")
    if not is_bulk_id(found):
        raise no_bulk(found)
    return found


def retrieve(action: str | BulkAction) -> Op[BulkAction]:
    """Return how far a bulk action is. Raises BulkActionNotFoundError."""
    bound = context.current()
    return bound.op(read_bulk(bound.scope, _id(action)), "runs.bulk.retrieve")


def list(*, limit: int = 20, skip: int = 0) -> Op[Sequence[BulkAction]]:
    """Return bulk actions, newest first: at most *limit* (1 to 100) after the first *skip*."""
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise InvalidOptionError(f"limit={limit!r}: a page has 1 to {MAX_PAGE} bulk actions")
    if type(skip) is not int or skip < 0:
        raise InvalidOptionError(f"skip={skip!r} is not a number of bulk actions")
    bound = context.current()
    return bound.op(list_bulks(bound.scope, limit, skip), "runs.bulk.list")


def abort(action: str | BulkAction) -> Op[BulkAction]:
    """Stop a bulk action, and return it; what it has done stays. One that has ended stays as it is.

    A worker that is in the middle of 100 runs finishes them. Raises BulkActionNotFoundError.
    """
    bound = context.current()
    flow = abort_bulk(bound.scope, _id(action), bound.settings.run_retention)
    return bound.op(flow, "runs.bulk.abort")


def poll(
    action: str | BulkAction, *, timeout: str | float | timedelta | None = None
) -> Op[BulkAction]:
    """Wait until a bulk action is COMPLETED or ABORTED, and return it.

    The timeout is seconds or a duration such as "20s"; None waits for ever, also for a worker.
    Raises PollTimeoutError after it, and BulkActionNotFoundError.
    """
    bound = context.current()
    wanted, limit = _id(action), patience(timeout)

    def flow() -> Flow[BulkAction]:
        deadline = None if limit is None else time.monotonic() + limit
        pause = _FIRST_LOOK
        while True:
            found = yield from read_bulk(bound.scope, wanted)
            if found.is_completed:
                return found
            left = pause if deadline is None else min(pause, deadline - time.monotonic())
            if left <= 0:
                raise PollTimeoutError(
                    f"bulk action {wanted} is still {found.status} after {limit:g} s, with "
                    f"{found.done_count:,} runs done. It goes on; are there workers?"
                )
            yield Sleep(left)
            pause = min(pause * 1.5, _LAST_LOOK)

    return bound.op(flow(), "runs.bulk.poll")
