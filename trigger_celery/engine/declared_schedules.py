"""Keeps the schedules that the code declares in step with the code, when a worker starts.

The worker that starts last counts, as with queues. Workers of the same code find nothing to do. Each app
has the schedules that it declares: workers of another app, with other tasks, leave them alone.
While a deploy replaces old workers by new ones, an old one that starts once more declares what it
knows. That costs nothing: a schedule whose cron stays the same keeps its times, and one that is removed
can be had back for a day, with the occurrence that it waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trigger_celery.engine.schedules import (
    Found,
    Wanted,
    find_call,
    is_as,
    list_schedules,
    put_call,
    remove_call,
)
from trigger_celery.model.ids import declared_schedule_id, token
from trigger_celery.store.op import Call, Flow

KEPT_MS = 86_400_000
"""How long a schedule can be had back that the code has ceased to declare."""
PAGE = 500
TRIES = 5
"""Workers that start at once may each find that another was first."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What the start of a worker changed: ids of tasks."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def sync_declared(scope: str, app: str, declared: Sequence[Wanted]) -> Flow[Synced]:
    """Add and change the schedules that *app* declares, one a task, and remove those it does not.

    One round trip if nothing is different.
    """
    by = f"by-{token(app)}"
    added: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    for _ in range(TRIES):
        known = yield from _known(scope, by)
        wanted = {declared_schedule_id(one.task): one for one in declared}
        absent = [schedule_id for schedule_id in wanted if schedule_id not in known]
        if absent:
            # They may be another app's, or have been declared a while ago.
            found = yield [find_call(scope, schedule=schedule_id) for schedule_id in absent]
            known |= {one.id: one for one in found}
        calls: list[Call] = []
        done: list[tuple[list[str], str]] = []
        for schedule_id, one in wanted.items():
            before = known[schedule_id]
            if not is_as(before, one) or before.fields.get("by") != by:
                calls.append(put_call(scope, before, one, active=True, by=by))
                done.append((changed if before.exists else added, one.task))
        for schedule_id, before in known.items():
            if schedule_id not in wanted and before.exists:
                calls.append(remove_call(scope, before, kept_ms=KEPT_MS))
                done.append((removed, before.fields["task"]))
        if not calls:
            break
        replies = yield calls
        refused = 0
        for (tasks, task), reply in zip(done, replies, strict=True):
            if reply is None or reply == b"changed":
                refused += 1
            else:
                tasks.append(task)
        if not refused:
            break
    return Synced(tuple(added), tuple(changed), tuple(removed))


def _known(scope: str, by: str) -> Flow[dict[str, Found]]:
    """Return the schedules that an app declares, as they are stored."""
    known: dict[str, Found] = {}
    while True:
        page = yield from list_schedules(scope, len(known), PAGE, by=by)
        known |= {one.id: one for one in page.found}
        if len(page.found) < PAGE:
            return known
