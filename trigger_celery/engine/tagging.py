"""Gives runs more tags."""

from __future__ import annotations

from collections.abc import Sequence

from trigger_celery.engine.querying import not_found
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.errors import InvalidTagsError
from trigger_celery.model.ids import token
from trigger_celery.model.task_options import MAX_TAGS
from trigger_celery.store.op import Flow


def add_tags(scope: str, run_id: str, tags: Sequence[str], epoch: str = "") -> Flow[bool]:
    """Add tags, all or none; those that the run has are left out. False: not this attempt's run.

    Raises InvalidTagsError when the run would have more than ten, RunNotFoundError.
    """
    if not tags:
        return True
    word, *more = yield SCRIPTS.add_tags(
        scope,
        [part for tag in tags for part in (token(tag), tag)],
        None,
        run_id=run_id,
        epoch=epoch,
        most=MAX_TAGS,
    )
    if word == b"gone":
        raise not_found(run_id)
    if word == b"full":
        raise InvalidTagsError(
            f"run {run_id} has {int(more[0])} tags and would have more than {MAX_TAGS} with "
            f"{', '.join(map(repr, tags))}: none of them was added. Put what you do not filter by "
            "into metadata."
        )
    return bool(word == b"ok")
