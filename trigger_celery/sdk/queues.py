"""`queues`: what waits where."""

from __future__ import annotations

import builtins

from trigger_celery.bridge import context
from trigger_celery.engine import querying
from trigger_celery.engine.querying import QueueState
from trigger_celery.store.op import Op


def list() -> Op[builtins.list[QueueState]]:
    """Return every queue by name, with its limit, running and queued runs."""
    bound = context.current()
    return bound.op(querying.list_queues(bound.scope), "queues.list")
