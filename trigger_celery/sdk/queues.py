"""`queues`: what waits where; pause, resume and limit queues, and the whole environment, at run time."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.bridge.registry import Queue
from trigger_celery.engine import queueing
from trigger_celery.engine.queueing import Action, EnvironmentState, QueueState
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model import task_options as check
from trigger_celery.store.op import Flow, Op

_T = TypeVar("_T")

MAX_PER_PAGE = 100


class HasQueue(Protocol):
    """What has a queue: a task."""

    @property
    def queue(self) -> Queue:
        """Its queue."""
        ...


QueueName = str | Queue | HasQueue
"""A queue by its name, what `queue(…)` returned, or a task for the queue of its runs."""


@dataclass(frozen=True, slots=True)
class QueuePage:
    """One page of queues, by name. `pages` and `count` are those of all; iterates over `queues`."""

    queues: builtins.list[QueueState]
    page: int
    pages: int
    count: int

    def __iter__(self) -> Iterator[QueueState]:
        return iter(self.queues)

    def __len__(self) -> int:
        return len(self.queues)


def list(*, page: int = 1, per_page: int = 100) -> Op[QueuePage]:
    """Return a page of the queues by name, with their limits, running and queued runs.

    A queue is there once a worker declared it, or a run was triggered into it. A page past the
    end is empty. *per_page* is 1 to 100.
    """
    if type(page) is not int or page < 1:
        raise InvalidOptionError(f"page={page!r}: pages are counted from 1")
    if type(per_page) is not int or not 1 <= per_page <= MAX_PER_PAGE:
        raise InvalidOptionError(f"per_page={per_page!r}: a page has 1 to {MAX_PER_PAGE} queues")
    bound = context.current()

    def flow() -> Flow[QueuePage]:
        found = yield from queueing.list_queues(bound.scope)
        first = (page - 1) * per_page
        pages = -(-len(found) // per_page)
        return QueuePage(found[first : first + per_page], page, pages, len(found))

    return bound.op(flow(), "queues.list")


def retrieve(queue: QueueName | None = None, /, *, task: str | None = None) -> Op[QueueState]:
    """Return one queue: by its name, or that of a task by the task's id. Raises QueueNotFoundError."""
    name = _name(queue, task)
    bound = context.current()
    return bound.op(queueing.read_queue(bound.scope, name), "queues.retrieve")


def pause(queue: QueueName | None = None, /, *, task: str | None = None) -> Op[QueueState]:
    """Start no more runs of a queue until it is resumed; those that execute go on.

    Triggers are accepted, and the runs wait. A run that waits for something goes on only after
    the queue is resumed. Workers that start, and deploys, do not resume it. Idempotent. Raises
    QueueNotFoundError.
    """
    return _change("pause", queue, task)


def resume(queue: QueueName | None = None, /, *, task: str | None = None) -> Op[QueueState]:
    """Let a paused queue start runs again. Idempotent. Raises QueueNotFoundError."""
    return _change("resume", queue, task)


def override_concurrency_limit(
    queue: QueueName | None = None,
    /,
    concurrency_limit: int | None = None,
    *,
    task: str | None = None,
    by: str = "",
) -> Op[QueueState]:
    """Replace a queue's limit, whatever the code says, until it is reset.

    It survives the start of workers and deploys; the limit in the code is kept beside it. When the
    limit falls, runs that execute go on. *concurrency_limit* is a number from 0 to 100,000; *by* is
    a note of who did it. Raises QueueNotFoundError.
    """
    return _change("override", queue, task, _limit(concurrency_limit), _note(by))


def reset_concurrency_limit(
    queue: QueueName | None = None, /, *, task: str | None = None
) -> Op[QueueState]:
    """Go back to the limit in the code. Idempotent. Raises QueueNotFoundError."""
    return _change("reset", queue, task)


def retrieve_environment() -> Op[EnvironmentState]:
    """Return the environment: its limit, and how many runs execute and wait in all queues."""
    bound = context.current()
    return bound.op(queueing.read_environment(bound.scope), "queues.retrieve_environment")


def pause_environment() -> Op[EnvironmentState]:
    """Start no runs in the whole environment until it is resumed; those that execute go on.

    As with a queue: triggers are accepted, and no worker that starts resumes it. Idempotent.
    """
    return _change_environment("pause")


def resume_environment() -> Op[EnvironmentState]:
    """Let the environment start runs again. Queues that are paused themselves stay so. Idempotent."""
    return _change_environment("resume")


def override_environment_limit(concurrency_limit: int, /, *, by: str = "") -> Op[EnvironmentState]:
    """Replace the setting `environment_concurrency_limit` for all workers until it is reset."""
    return _change_environment("override", _limit(concurrency_limit), _note(by))


def reset_environment_limit() -> Op[EnvironmentState]:
    """Go back to the setting `environment_concurrency_limit`, as the last worker had it. Idempotent."""
    return _change_environment("reset")


def _change(
    action: Action,
    queue: QueueName | None,
    task: str | None,
    limit: int | None = None,
    by: str = "",
) -> Op[QueueState]:
    name = _name(queue, task)
    bound = context.current()
    change = queueing.change_queue(bound.scope, name, action, limit, by)
    flow = _once(change, queueing.read_queue(bound.scope, name))
    return bound.op(flow, f"queues.{action}")


def _change_environment(
    action: Action, limit: int | None = None, by: str = ""
) -> Op[EnvironmentState]:
    bound = context.current()
    change = queueing.change_environment(bound.scope, action, limit, by)
    flow = _once(change, queueing.read_environment(bound.scope))
    return bound.op(flow, f"queues.{action}_environment")


def _once(change: Flow[_T], look: Flow[_T]) -> Flow[_T]:
    """Make a change; a run that is executed again, and made it before it waited, only looks."""
    durable = current_durable()
    return (yield from look if durable is not None and durable.had_before() else change)


def _name(queue: QueueName | None, task: str | None) -> str:
    if (queue is None) is (task is None):
        raise InvalidOptionError(
            "pass a queue, for example 'shopify', or task='its id': one of them"
        )
    if task is not None:
        return f"task/{check.check_task_id(task)}"
    if isinstance(queue, str):
        return check.check_queue_name(queue)
    if isinstance(queue, Queue):
        return queue.name
    if isinstance(owned := getattr(queue, "queue", None), Queue):
        return owned.name
    return check.check_queue_name(queue)


def _limit(value: int | None) -> int:
    limit = check.check_concurrency_limit(value)
    if limit is None:
        raise InvalidOptionError(
            "concurrency_limit is missing: pass a number. To go back to the code's, reset it."
        )
    return limit


def _note(by: str) -> str:
    given: object = by
    if not isinstance(given, str) or len(given) > check.MAX_TAG_LENGTH:
        raise InvalidOptionError(
            f"by={by!r:.60} is not text of up to {check.MAX_TAG_LENGTH} characters"
        )
    return by
