"""`runs`: retrieve, list, poll, cancel, replay, subscribe, logs; `bulk` for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.blocking import durable_wait
from trigger_celery.bridge.durable import current_durable
from trigger_celery.bridge.revoking import revoke
from trigger_celery.engine import admission, cancelling, querying, tagging
from trigger_celery.engine.batching import no_batch
from trigger_celery.engine.listing import RunPage, list_runs
from trigger_celery.engine.logs import LogReader
from trigger_celery.engine.metadata import replace_metadata
from trigger_celery.engine.relating import read_with_related
from trigger_celery.engine.run_groups import BatchGroup, TagGroup
from trigger_celery.engine.subscribing import FeedFollower, RunFollower, StreamedRunFollower
from trigger_celery.errors import InvalidOptionError, StateError, closest
from trigger_celery.model.batch import Batch
from trigger_celery.model.bulk import BulkAction
from trigger_celery.model.duration import parse_delay, parse_duration
from trigger_celery.model.ids import is_batch_id
from trigger_celery.model.log_line import check_level
from trigger_celery.model.run import Run, RunStatus
from trigger_celery.model.schedule import Schedule
from trigger_celery.model.task_options import check_metadata, check_tags
from trigger_celery.model.wait import WaitInfo
from trigger_celery.sdk import bulk as bulk
from trigger_celery.sdk.handle import BatchHandle, RunHandle, id_of
from trigger_celery.sdk.log_lines import LogLines
from trigger_celery.sdk.replaying import replay as replay
from trigger_celery.sdk.run_filters import NAMES, SomeRun, TagMode, filter_of, texts_of
from trigger_celery.sdk.run_list import RunList, after_of
from trigger_celery.sdk.subscriptions import RunSubscription
from trigger_celery.sdk.triggering import patience
from trigger_celery.store.op import Flow, Op

LONGEST_WINDOW = timedelta(days=7)


def retrieve(run: str | RunHandle | Run) -> Op[Run]:
    """Return the run with payload, output, error, attempts and the runs around it.

    `related_runs` has its root, its parent and its newest children. Raises RunNotFoundError.
    """
    bound = context.current()
    return bound.op(read_with_related(bound.scope, id_of(run)), "runs.retrieve")


def poll(run: str | RunHandle | Run, *, timeout: str | float | timedelta | None = None) -> Op[Run]:
    """Wait until the run is final and return it. Raises PollTimeoutError after *timeout*.

    The timeout is seconds or a duration such as "20s"; None waits for ever.

    Told of the end as it happens; asks by itself at growing intervals in case the news is lost. In
    a run, without a timeout, it is a wait like any other: no slot is held, unless what it waits for
    is a recorded run. Waiting there for the run itself or one that waits for it raises WaitCycleError.
    """
    bound = context.current()
    run_id, limit = id_of(run), patience(timeout)

    def flow() -> Flow[Run]:
        durable = current_durable()
        if durable is not None and limit is None:
            run = yield from querying.read_run(bound.scope, run_id)
            if not run.recorded:
                call = f"runs.poll {run_id}"
                info = WaitInfo("task", run_id=run_id)
                path = durable.begin(call)
                yield from durable_wait(durable, bound.scope, path, call, run_id, info)
        return (yield from querying.wait_for_end(bound.scope, run_id, limit))

    return bound.op(flow(), "runs.poll")


def cancel(run: str | RunHandle | Run, *, reason: str = "Canceled by user") -> Op[Run]:
    """Cancel a run in any state, with all its descendants, and return it. A final one stays.

    It is CANCELED at once. Code that executes it is told: `signal` is aborted, `on_cancel` hooks
    are called, and after 30 seconds at the latest it is stopped; what it still returns does not
    count. Sync code sees it at its next call of the library. Raises RunNotFoundError.

    A recorded run is Celery's: its message is revoked, and the run is CANCELED when a worker throws
    it away. Raises StateError for one that executes.
    """
    bound = context.current()
    run_id = id_of(run)

    def flow() -> Flow[Run]:
        yield from cancelling.cancel_run(bound.scope, run_id, reason, bound.settings.run_retention)
        run = yield from querying.read_run(bound.scope, run_id)
        if run.recorded and not run.is_completed:
            yield from revoke(bound, run)
        return run

    return bound.op(flow(), "runs.cancel")


def reschedule(run: str | RunHandle | Run, *, delay: str | float | timedelta | datetime) -> Op[Run]:
    """Move the start of a delayed run, to an earlier or a later time, and return the run.

    *delay* is that of a trigger: a duration from now, or a moment; one in the past is now. Called
    again it moves it again. Raises StateError when the run is not DELAYED any more, and
    RunNotFoundError.
    """
    bound = context.current()
    run_id, due = id_of(run), parse_delay(delay)

    def flow() -> Flow[Run]:
        durable = current_durable()
        if durable is None or not durable.had_before():
            answer = yield from admission.reschedule_run(bound.scope, run_id, due)
            if answer == "gone":
                raise querying.not_found(run_id)
            if answer == "recorded":
                raise StateError(
                    f"run {run_id} is recorded: its message waits in Celery, which cannot move its "
                    "time. Cancel it, and call the task again with another countdown or eta"
                )
            if answer != "ok":
                raise StateError(
                    f"run {run_id} is {answer}: only a run that is still DELAYED can be rescheduled"
                )
        return (yield from querying.read_run(bound.scope, run_id))

    return bound.op(flow(), "runs.reschedule")


def add_tags(run: str | RunHandle | Run, tags: str | Iterable[str]) -> Op[Run]:
    """Add a tag, or several, to a run, whatever its status, and return it.

    All or none: InvalidTagsError when it would have more than ten. Those that it has are left out.
    Inside a run, for the run itself, there is `tags.add`. Raises RunNotFoundError.
    """
    bound = context.current()
    run_id, checked = id_of(run), check_tags(tags)

    def flow() -> Flow[Run]:
        durable = current_durable()
        if durable is None or not durable.had_before():
            yield from tagging.add_tags(bound.scope, run_id, checked)
        return (yield from querying.read_run(bound.scope, run_id))

    return bound.op(flow(), "runs.add_tags")


def update_metadata(run: str | RunHandle | Run, metadata: dict[str, Any]) -> Op[dict[str, Any]]:
    """Replace the metadata of a run from outside of it, and return what it is then.

    Until an hour after its end; later it raises StateError. The code of the run sees it after
    `metadata.refresh()`. Raises RunNotFoundError, and MetadataTooLargeError over 256 KB.
    """
    bound = context.current()
    run_id, text = id_of(run), check_metadata(metadata)

    def flow() -> Flow[dict[str, Any]]:
        durable = current_durable()
        if durable is not None and durable.had_before():
            return (yield from querying.read_run(bound.scope, run_id)).metadata or {}
        return (yield from replace_metadata(bound.scope, run_id, text))

    return bound.op(flow(), "runs.update_metadata")


def subscribe_to_run(run: str | RunHandle | Run) -> RunSubscription:
    """Follow a run: yields it as it is now, then as it was after each change, in order.

    Ends after the final status. For `for` loops in sync code and `async for` in async code:

        async for run in runs.subscribe_to_run(handle):
            print(run.status)

    `.with_streams()` gives the chunks of its streams as well.

    All subscriptions of a process (in async code: of an event loop) share one connection. When the
    server goes away the loop waits for it, and raises StoreUnavailableError after a minute. In a
    run it is an ordinary loop, no durable wait: the run keeps its slot, and a run executed again
    starts over with the present. The first turn raises RunNotFoundError for an unknown run.
    """
    bound = context.current()
    run_id, check = id_of(run), _check()
    return RunSubscription(
        bound.store,
        lambda: RunFollower(bound.scope, run_id, check=check),
        "runs.subscribe_to_run",
        lambda: StreamedRunFollower(bound.scope, run_id, check=check),
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
    tags, check = texts_of(tag, "tag", "runs.subscribe_to_runs_with_tag"), _check()
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


def logs(run: str | RunHandle | Run, *, follow: bool = False, level: str = "debug") -> LogLines:
    """Return the lines of the run's log, oldest first, from *level* on; read by looping over them.

        async for line in runs.logs(handle, follow=True):
            print(line.at, line.level, line.message)

    With *follow* the loop goes on until the run has ended, and has seen everything then; lines come
    within a second. A log keeps its newest 10,000 lines and 4 MB: `.dropped` tells how many are
    missing. The first turn raises RunNotFoundError for an unknown run.
    """
    bound = context.current()
    run_id, least = id_of(run), check_level(level)
    return LogLines(bound.store, lambda: LogReader(bound.scope, run_id, follow=follow, level=least))


def _check() -> Callable[[], None]:
    """Return what raises when the run that this code belongs to is to stop."""
    durable = current_durable()
    return (lambda: None) if durable is None else durable.parking.check


def list(
    *,
    status: str | RunStatus | Iterable[str] | None = None,
    task: str | Iterable[str] | None = None,
    tag: str | Iterable[str] | None = None,
    tag_mode: TagMode = "any",
    queue: str | Iterable[str] | None = None,
    version: str | Iterable[str] | None = None,
    machine: str | Iterable[str] | None = None,
    batch: str | BatchHandle | Batch | None = None,
    parent: SomeRun | None = None,
    root: SomeRun | None = None,
    bulk_action: str | BulkAction | None = None,
    schedule: str | Schedule | None = None,
    is_test: bool | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    period: str | float | timedelta | None = None,
    limit: int = 20,
    after: str | None = None,
    before: str | None = None,
    cursor: str | None = None,
    **unknown: Any,
) -> RunList:
    """Return a page of runs, newest first, without payloads and outputs.

    `await` it or call `.sync()` for one page; loop over it, `async for` or `for`, for all pages.

    Each filter takes one value or several (at most 50), which mean any of them; with
    `tag_mode="all"` a run must have all tags. Different filters must all fit. *parent* gives the
    children of a run, *root* all runs below it, *schedule* the
    runs that a schedule made. *version* and *machine* are what the trigger set.
    *period* ("1h", "7d", seconds) counts back from now. *limit* is 1 to 100. Pass
    `page.next_cursor` as *after* for older runs, `page.previous_cursor` as *before* for newer ones;
    None is the end. *cursor* is another word for *after*.
    """
    given = {name: value for name, value in locals().items() if name in NAMES}
    for word in unknown:
        pages = ("after", "before", "cursor", "limit")
        raise InvalidOptionError(
            f"runs.list has no filter {word!r}.{closest(word, (*NAMES, *pages))} "
            f"Filters: {', '.join(NAMES)}. Pages: {', '.join(pages)}."
        )
    wanted = filter_of(given)
    first = after_of(after, cursor, "runs.list")
    bound = context.current()

    def page(following: str | None) -> Flow[RunPage]:
        if following is None:
            return list_runs(bound.scope, wanted, limit, first, before)
        return list_runs(bound.scope, wanted, limit, following)

    return RunList(bound.store, page)
