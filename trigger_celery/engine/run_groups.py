"""Runs that are followed together: those of a batch, or with tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from trigger_celery.engine.batching import read_batch
from trigger_celery.engine.listing import MAX_PAGE, RunFilter, list_runs
from trigger_celery.store.op import Flow

LAST_LOOK = 3.0
"""Seconds after which a follower looks without having heard of anything."""

_FIRST_LOOK = 0.02


class Rest(NamedTuple):
    """For how long to wait for the next change, and which runs to look at after it."""

    seconds: float = LAST_LOOK
    again: tuple[str, ...] = ()


class Group(Protocol):
    """Which runs to follow. *batch* and *tags* may be empty; *oldest* is in ms, of the creation."""

    batch: str
    tags: tuple[str, ...]
    oldest: int

    def begin(self, now: int) -> None:
        """Note the server's time, in ms."""
        ...

    def page(self, cursor: str | None) -> Flow[tuple[list[str], str | None]]:
        """Return ids of runs that are there, and where to go on; None at the end."""
        ...

    def ended(self, run_id: str) -> None:
        """Note that a run is final."""
        ...

    def missing(self, run_id: str) -> None:
        """Note that there is no such run."""
        ...

    def rest(self, quiet: bool) -> Flow[Rest | None]:
        """All that is known is shown: return how to wait, or None when nothing more comes.

        *quiet*: nothing has changed for a while.
        """
        ...


class BatchGroup:
    """The runs of a batch; over when all of them are final and the batch has ended."""

    tags: tuple[str, ...] = ()
    oldest = 0

    def __init__(self, scope: str, batch_id: str) -> None:
        self.batch = batch_id
        self._scope = scope
        self._left: set[str] | None = None
        self._has_ended = False
        self._pause = _FIRST_LOOK

    def begin(self, now: int) -> None:
        """Note nothing: all runs of a batch are followed, however old."""

    def page(self, cursor: str | None) -> Flow[tuple[list[str], str | None]]:
        """Return the runs that are not known to be final, in the order of the items."""
        batch = yield from read_batch(self._scope, self.batch)
        if self._left is None:
            self._left = set(batch.runs)
        return [run for run in batch.runs if run in self._left], None

    def ended(self, run_id: str) -> None:
        """Note that a run is final."""
        if self._left is not None:
            self._left.discard(run_id)

    def missing(self, run_id: str) -> None:
        """Note that there is no such run: one of a batch that has ended will never be."""
        if self._has_ended:
            self.ended(run_id)

    def rest(self, quiet: bool) -> Flow[Rest | None]:
        """Return how to wait, or None when the batch is over."""
        if self._left and not quiet:
            return Rest()
        batch = yield from read_batch(self._scope, self.batch)
        self._has_ended = batch.is_completed
        if self._left:
            return Rest(again=tuple(self._left) if batch.is_completed else ())
        if batch.is_completed:
            return None
        # The end of a batch is no change of a run: nobody announces it.
        self._pause = min(self._pause * 2, LAST_LOOK)
        return Rest(self._pause)


class TagGroup:
    """The runs that have all of some tags, created *window* ms before the beginning or later."""

    batch = ""

    def __init__(self, scope: str, tags: tuple[str, ...], window: int) -> None:
        self.tags = tags
        self.oldest = 0
        self._scope = scope
        self._window = window

    def begin(self, now: int) -> None:
        """Note the server's time, in ms."""
        self.oldest = now - self._window

    def page(self, cursor: str | None) -> Flow[tuple[list[str], str | None]]:
        """Return the runs that are there, newest first."""
        since = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self.oldest)
        wanted = RunFilter(tags=self.tags, all_tags=True, created_from=since)
        page = yield from list_runs(self._scope, wanted, MAX_PAGE, cursor)
        return [run.id for run in page], page.next_cursor

    def ended(self, run_id: str) -> None:
        """Note nothing: more may come."""

    def missing(self, run_id: str) -> None:
        """Note nothing: more may come."""

    def rest(self, quiet: bool) -> Flow[Rest | None]:
        """Return how to wait: it is never over."""
        yield from ()
        return Rest()
