"""`tags`: gives the current run more tags."""

from __future__ import annotations

from collections.abc import Iterable

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import require_run
from trigger_celery.engine import tagging
from trigger_celery.errors import RunLeaseLostError
from trigger_celery.model.task_options import check_tags
from trigger_celery.store.op import Flow, Op


def add(tags: str | Iterable[str]) -> Op[None]:
    """Add a tag, or several, to the run.

    A run has at most ten tags of 1 to 128 characters. When there would be more, none of the call
    is added and InvalidTagsError is raised; the run keeps those it has. Tags that it has, and
    empty ones, are left out. `ctx.run.tags` stays what it was when the attempt began. Nothing is
    added again when the run is executed again after a wait.

    Raises OutsideRunError outside of a run: there, use `runs.add_tags`.
    """
    given = (tags,) if isinstance(tags, str) else tags
    checked = check_tags([tag for tag in given if tag != ""])
    bound = context.current()
    require_run("tags.add()")

    def flow() -> Flow[None]:
        durable = require_run("tags.add()")
        durable.parking.check()
        if durable.had_before():
            return
        if not (yield from tagging.add_tags(bound.scope, durable.run_id, checked, durable.epoch)):
            durable.parking.check()
            raise RunLeaseLostError(f"run {durable.run_id} belongs to another worker now")

    return bound.op(flow(), "tags.add")
