"""Reads a run with the runs around it: its root, its parent, its children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from trigger_celery.engine.codec import run_of
from trigger_celery.engine.offloading import bring_bodies
from trigger_celery.engine.querying import not_found
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.run import RelatedRuns, Run
from trigger_celery.store.op import Flow

MAX_CHILDREN: Final = 100
"""Children that are read with a run; `list_runs` finds all of them."""


def read_with_related(scope: str, run_id: str) -> Flow[Run]:
    """Return the run with all that is known of it. Raises RunNotFoundError."""
    reply, related = yield [
        SCRIPTS.read_run(scope, run_id=run_id, channel="", watch="", bodies="1"),
        SCRIPTS.read_related(scope, run_id=run_id, most=MAX_CHILDREN),
    ]
    if not reply:
        raise not_found(run_id)
    yield from bring_bodies([reply])
    run = run_of(run_id, reply[0], reply[1:])
    count, root, parent, *children = related
    return replace(
        run,
        related_runs=RelatedRuns(
            root=_run(run.root_id, root),
            parent=_run(run.parent_id, parent),
            children=tuple(run_of(name.decode(), flat) for name, flat in children),
            child_count=count,
        ),
    )


def _run(run_id: str | None, flat: Sequence[bytes]) -> Run | None:
    return run_of(run_id, flat) if run_id and flat else None
