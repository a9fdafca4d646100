"""`runs`: retrieve, list, poll, cancel, subscribe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable, durable_wait
from trigger_celery.engine import cancelling, querying
from trigger_celery.engine.batching import no_batch
from trigger_celery.engine.querying import RunFilter, RunPage
from trigger_celery.engine.run_groups import BatchGroup, TagGroup
from trigger_celery.engine.subscribing import FeedFollower, RunFollower
from trigger_celery.errors import InvalidOptionError, closest
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.ids import is_batch_id, is_run_id
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.model.wait import WaitInfo
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.subscriptions import RunSubscription
from trigger_celery.sdk.triggering import patience
from trigger_celery.store.op import Flow, Op

LONGEST_WINDOW = timedelta(days=7)


def _id(run: str | RunHandle | Run) -> str:
    run_id = getattr(run, "id", run)
    if not isinstance(run_id, str):
        raise InvalidOptionError(
            f"{run!r} is not a run: pass the id that trigger returned (run_…), a handle or a Run"
        )
    if not is_run_id(run_id):
        # Nothing with such a name can exist: the answer is the same as for an unknown run.
        raise querying.not_found(run_id)
    return run_id


def retrieve(run: str | RunHandle | Run) -> Op[Run]:
    """Return the run with payload, output, error and attempts. Raises RunNotFoundError."""
    bound = context.current()
    return bound.op(querying.read_run(bound.scope, _id(run)), "runs.retrieve")


def poll(run: str | RunHandle | Run, *, timeout: str | float | timedelta | None = None) -> Op[Run]:
    """Wait until the run is final and return it. Raises PollTimeoutError after *timeout*.

    The timeout is seconds or a duration such as "20s"; None waits for ever.

    Told of the end as it happens; asks by itself at growing intervals in case the news is lost. In
    a run, without a timeout, it is a wait like any other: no slot is held. Waiting there for the
    run itself or one that waits for it raises WaitCycleError.
    """
    bound = context.current()
    run_id, limit = _id(run), patience(timeout)

    def flow() -> Flow[Run]:
        durable = current_durable()
        if durable is not None and limit is None:
            yield from querying.read_run(bound.scope, run_id)
            call = f"runs.poll {run_id}"
            info = WaitInfo("task", run_id=run_id)
            yield from durable_wait(durable, bound.scope, durable.begin(call), call, run_id, info)
        return (yield from querying.wait_for_end(bound.scope, run_id, limit))

    return bound.op(flow(), "runs.poll")


def cancel(run: str | RunHandle | Run, *, reason: str = "Canceled by user") -> Op[Run]:
    """Cancel a run in any state, with all its descendants, and return it. A final one stays.

    It is CANCELED at once. Code that executes it is told: `signal` is aborted, `on_cancel` hooks
    are called, and after 30 seconds at the latest it is stopped; what it still returns does not
    count. Sync code sees it at its next call of the library. Raises RunNotFoundError.
    """
    bound = context.current()
    run_id = _id(run)

    def flow() -> Flow[Run]:
        yield from cancelling.cancel_run(bound.scope, run_id, reason, bound.settings.run_retention)
        return (yield from querying.read_run(bound.scope, run_id))

    return bound.op(flow(), "runs.cancel")


def subscribe_to_run(run: str | RunHandle | Run) -> RunSubscription:
    """Follow a run: yields it as it is now, then as it was after each change, in order.

    Ends after the final status. For `for` loops in sync code and `async for` in async code:

        async for run in runs.subscribe_to_run(handle):
            print(run.status)

    All subscriptions of a process (in async code: of an event loop) share one connection. When the
    server goes away the loop waits for it, and raises StoreUnavailableError after a minute. In a
    run it is an ordinary loop, no durable wait: the run keeps its slot, and a run executed again
    starts over with the present. The first turn raises RunNotFoundError for an unknown run.
    """
    bound = context.current()
    run_id, check = _id(run), _check()
    return RunSubscription(
        bound.store,
        lambda: RunFollower(bound.scope, run_id, check=check),
        "runs.subscribe_to_run",
    )


def subscribe_to_batch(batch: str | BatchHandle) -> RunSubscription:
    """Follow the runs of a batch: yields each as it is now, then every change of any of them.

    Ends when all are final and the batch has ended. Has a connection of its own while it is
    looped over; otherwise like `subscribe_to_run`. The first turn raises BatchNotFoundError for an
    unknown batch.
    """
    bound = context.current()
    batch_id, check = getattr(batch, "id", batch), _check()
    if not isinstance(batch_id, str):
        raise InvalidOptionError(f"{batch!r} is not a batch: pass its handle or id (batch_…)")
    if not is_batch_id(batch_id):
        raise no_batch(batch_id)
    return RunSubscription(
        bound.store,
        lambda: FeedFollower(
            bound.scope, BatchGroup(bound.scope, batch_id), bound.store.stream_reader(), check=check
        ),
        "runs.subscribe_to_batch",
    )


def subscribe_to_runs_with_tag(
    tag: str | Iterable[str], *, created_at: str | float | timedelta = "1d"
) -> RunSubscription:
    """Follow the runs that have a tag, or all of several: those that are there, and new ones.

    Yields the present ones, newest first, then every change of any of them. *created_at* ("1h",
    seconds; at most 7 days) leaves out runs that were created longer ago than that when the loop
    starts. Never ends by itself: `break`, or `close()` the subscription. Has a connection of its
    own while it is looped over; otherwise like `subscribe_to_run`.
    """
    bound = context.current()
    tags, check = _texts(tag, "tag", "runs.subscribe_to_runs_with_tag"), _check()
    if not tags:
        raise InvalidOptionError("runs.subscribe_to_runs_with_tag needs a tag")
    window = parse_duration(created_at, name="created_at")
    if timedelta(milliseconds=window) > LONGEST_WINDOW:
        raise InvalidOptionError(f"created_at={created_at!r}: a subscription looks back 7 days")
    return RunSubscription(
        bound.store,
        lambda: FeedFollower(
            bound.scope,
            TagGroup(bound.scope, tags, window),
            bound.store.stream_reader(),
            check=check,
        ),
        "runs.subscribe_to_runs_with_tag",
    )


def _check() -> Callable[[], None]:
    """Return what raises when the run that this code belongs to is to stop."""
    durable = current_durable()
    return (lambda: None) if durable is None else durable.parking.check


def list(
    *,
    status: str | RunStatus | Iterable[str] | None = None,
    task: str | Iterable[str] | None = None,
    tag: str | Iterable[str] | None = None,
    queue: str | Iterable[str] | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    period: str | float | None = None,
    limit: int = 20,
    cursor: str | None = None,
    **unknown: Any,
) -> Op[RunPage]:
    """Return a page of runs, newest first, without payloads and outputs.

    Each filter takes one value or several, which mean any of them; different filters must all
    fit. *period* ("1h", "7d", seconds) counts back from now. *limit* is 1 to 100;
    pass `page.next_cursor` as *cursor* for the next page, None is the end.
    """
    if unknown:
        word = next(iter(unknown))
        names = ["status", "task", "tag", "queue", "created_from", "created_to", "period"]
        raise InvalidOptionError(f"runs.list has no filter {word!r}.{closest(word, names)}")
    if period is not None:
        if created_from is not None:
            raise InvalidOptionError("give period or created_from, not both")
        created_from = _since(period)
    wanted = RunFilter(
        statuses=tuple(_status(text) for text in _texts(status, "status")),
        tasks=_texts(task, "task"),
        tags=_texts(tag, "tag"),
        queues=_texts(queue, "queue"),
        created_from=created_from,
        created_to=created_to,
    )
    bound = context.current()
    return bound.op(querying.list_runs(bound.scope, wanted, limit, cursor), "runs.list")


def _since(period: str | float) -> datetime:
    now = datetime.now().astimezone().timestamp()
    return datetime.fromtimestamp(now - parse_duration(period, name="period") / 1000).astimezone()


def _texts(value: Any, name: str, call: str = "runs.list") -> tuple[str, ...]:
    if value is None:
        return ()
    values = (value,) if isinstance(value, str) else tuple(value)
    for text in values:
        if not isinstance(text, str) or not text or "\x1f" in text:
            raise InvalidOptionError(f"{call}: {name}={text!r} is not a text to filter by")
    return values


def _status(text: str) -> RunStatus:
    try:
        return RunStatus(text.upper())
    except ValueError:
        names = [status.value for status in RunStatus]
        raise InvalidOptionError(
            f"{text!r} is no status.{closest(text.upper(), names)} Statuses: {', '.join(names)}."
        ) from None
