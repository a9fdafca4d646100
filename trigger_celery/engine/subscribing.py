"""Follows runs: shows them as they are, and then every change, once and in order.

Changes come from the feed, by their numbers; announcements only say when to look. What gets lost
on the way (an announcement, a connection, the server for a while) costs time and no change. A
follower's state changes between two round trips only: one that is cancelled can go on.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypedDict, TypeVar

from trigger_celery.engine import keys
from trigger_celery.engine.following import Follower
from trigger_celery.engine.offloading import Recent, bring_bodies
from trigger_celery.engine.querying import not_found
from trigger_celery.engine.run_groups import LAST_LOOK, Group
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.snapshots import (
    Change,
    Record,
    Seen,
    as_of,
    change_of,
    record_of,
    seen_of,
)
from trigger_celery.engine.streams import RunStreams
from trigger_celery.errors import StoreUnavailableError
from trigger_celery.model.run import Run
from trigger_celery.store.notify import Topic
from trigger_celery.store.op import Await, Call, Flow, Listen, Perform, Sleep
from trigger_celery.store.stream_reader import StreamReader

T = TypeVar("T")

_FIRST_LOOK = 0.5
_EXAMINED = 300
_TOGETHER = 20
_APART = 0.02


def _moment(entry: str) -> datetime:
    return datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, UTC)


class _OneRun(Follower[T]):
    """Follows one run to its end. Its changes are announced on the process's one subscription."""

    def __init__(self, scope: str, run_id: str, **options: Any) -> None:
        super().__init__(**options)
        self._scope = scope
        self._id = run_id
        self._topic: Topic | None = None
        self._seen: Seen | None = None
        self._recent = Recent()
        self._behind = False
        self._pause = _FIRST_LOOK

    def close(self) -> None:
        """Come to the end. Ends a wait under way."""
        super().close()
        if self._topic is not None:
            self._topic.news.announce()

    def _step(self) -> Flow[None]:
        if self._topic is None:
            self._topic = yield Listen(self._id)
        if self._seen is None:
            reply = yield self._read(self._topic)
            yield from bring_bodies([reply], self._recent)
            record = self._known(record_of(self._id, reply))
            self._show(Change(self._id, n=record.n), record)
        elif self._behind or (yield from self._is_news(self._topic, self._seen)):
            yield from self._catch_up(self._topic, self._seen)

    def _read(self, topic: Topic, bodies: str = "1") -> Call:
        return SCRIPTS.read_run(
            self._scope, run_id=self._id, channel=topic.channel, watch="all", bodies=bodies
        )

    def _known(self, record: Record | None) -> Record:
        if record is None:
            raise not_found(self._id)
        return record

    def _is_news(self, topic: Topic, seen: Seen) -> Flow[bool]:
        """Wait for an announcement; without one look whether it got lost, which costs little."""
        began = time.monotonic()
        yield Await(topic, self._pause)
        if time.monotonic() - began < self._pause:
            return not self._closed
        record = self._known(record_of(self._id, (yield self._read(topic, "0"))))
        self._pause = min(self._pause * 1.5, LAST_LOOK)
        return record.n != seen.n

    def _catch_up(self, topic: Topic, seen: Seen) -> Flow[None]:
        traced, reply = yield [self._trace(seen.n, ""), self._read(topic)]
        yield from bring_bodies([reply], self._recent)
        # The record is at least as new as what was traced.
        record = self._known(record_of(self._id, reply))
        last, before, *found = self._still_there(traced)
        changes = list(map(change_of, found))
        while before:
            reply = yield self._trace(seen.n, before.decode())
            _, before, *found = self._still_there(reply)
            changes += map(change_of, found)
        changes.reverse()
        if record.n < seen.n or (not changes and int(last) > seen.n):
            # The server lost its last writes, or the feed was trimmed past us.
            changes = [Change(self._id, n=record.n)]
        for change in changes:
            self._show(change, record)
        self._behind = record.n > (changes[-1].n if changes else seen.n)
        self._pause = _FIRST_LOOK

    def _still_there(self, reply: Any) -> Any:
        if not reply:
            raise not_found(self._id)
        return reply

    def _trace(self, seen: int, before: str) -> Call:
        return SCRIPTS.trace_run(
            self._scope, run_id=self._id, seen=seen, before=before, most=_EXAMINED
        )

    def _show(self, change: Change, record: Record) -> None:
        run = as_of(change, record, self._seen)
        self._seen = seen_of(change.n, run, self._seen)
        self._put(run)

    def _put(self, run: Run) -> None:
        raise NotImplementedError


class RunFollower(_OneRun[Run]):
    """Gives a run as it is, and as it was after each change."""

    def _put(self, run: Run) -> None:
        self._ready.append(run)
        self._over = run.is_completed


class RunEvent(TypedDict, total=False):
    """A turn of a subscription with streams. `type` is "run", or the name of the `chunk`'s stream."""

    type: str
    run: Run
    chunk: Any


class StreamedRunFollower(_OneRun[RunEvent]):
    """Gives a run and its changes, and the chunks of all its streams; all of them before its end."""

    def __init__(self, scope: str, run_id: str, **options: Any) -> None:
        super().__init__(scope, run_id, **options)
        self._streams = RunStreams(scope, run_id)
        self._latest: Run | None = None
        self._last: Run | None = None
        self._more = True

    def _step(self) -> Flow[None]:
        if self._topic is None or self._seen is None:
            yield from super()._step()
        elif self._last is not None:
            if not (yield from self._read_streams())[1]:
                self._ready.append({"type": "run", "run": self._last})
                self._over = True
        elif self._more or self._behind or (yield from self._is_news(self._topic, self._seen)):
            n, found = yield from self._read_streams()
            self._more = found
            if n != self._seen.n:
                yield from self._catch_up(self._topic, self._seen)

    def _is_news(self, topic: Topic, seen: Seen) -> Flow[bool]:
        """Wait; look at the streams in any case, which costs as little."""
        began = time.monotonic()
        yield Await(topic, self._pause)
        if time.monotonic() - began >= self._pause:
            self._pause = min(self._pause * 1.5, LAST_LOOK)
        return not self._closed

    def _read_streams(self) -> Flow[tuple[int, bool]]:
        reply = yield from self._streams.read()
        if reply is None:
            raise not_found(self._id)
        n, chunks = reply
        if chunks:
            self._pause = _FIRST_LOOK
        for name, chunk in chunks:
            run = self._last or self._latest
            assert run is not None  # noqa: S101 - the run is read first
            self._ready.append({"type": name, "chunk": chunk, "run": run})
        return n, bool(chunks)

    def _put(self, run: Run) -> None:
        if run.is_completed:
            self._last = run
        else:
            self._latest = run
            self._ready.append({"type": "run", "run": run})


class FeedFollower(Follower[Run]):
    """Follows the runs of a group by reading the feed, woken by its next entry."""

    def __init__(self, scope: str, group: Group, reader: StreamReader, **options: Any) -> None:
        super().__init__(**options)
        self._scope = scope
        self._group = group
        self._reader = reader
        self._after = ""
        self._read_at = 0.0
        self._at_end = False
        self._news_at = time.monotonic()
        self._listing = False
        self._cursor: str | None = None
        self._since: datetime | None = None
        self._changes: deque[Change] = deque()
        self._seen: dict[str, Seen] = {}
        self._recent = Recent()
        self._final: dict[str, datetime] = {}

    def close(self) -> None:
        """Come to the end. Ends a wait under way."""
        super().close()
        self._reader.close()

    def rest(self) -> None:
        """Hold no connection until the next call."""
        self._reader.disconnect()

    def _step(self) -> Flow[None]:
        if not self._after:
            after, now = yield self._read("")
            self._group.begin(int(now))
            self._after, self._listing = after.decode(), True
        elif self._changes:
            yield from self._load()
        elif self._listing:
            ids, cursor = yield from self._group.page(self._cursor)
            self._changes.extend(map(Change, ids))
            self._cursor, self._listing = cursor, cursor is not None
        elif self._at_end:
            yield from self._wait()
        else:
            yield from self._advance()

    def _read(self, after: str) -> Call:
        return SCRIPTS.read_changes(
            self._scope,
            after=after,
            batch=self._group.batch,
            tags="\x1f".join(self._group.tags),
            oldest=self._group.oldest,
            most=_EXAMINED,
        )

    def _advance(self) -> Flow[None]:
        early = self._read_at + _APART - time.monotonic()
        if early > 0:  # a busy environment has news all the time
            yield Sleep(early)
        reply = yield self._read(self._after)
        self._read_at = time.monotonic()
        after, word, *found = reply
        if word == b"gap":
            self._since = _moment(self._after)
            self._listing = True
        self._after = after.decode()
        self._at_end = word == b"end"
        for change in map(change_of, found):
            seen = self._seen.get(change.run)
            if seen is None or change.n > seen.n:
                self._changes.append(change)
                self._news_at = self._read_at
        if word == b"more":
            self._read_at = 0.0

    def _wait(self) -> Flow[None]:
        self._forget(_moment(self._after))
        quiet = time.monotonic() - self._news_at >= LAST_LOOK
        rest = yield from self._group.rest(quiet)
        if rest is None:
            self._over = True
            return
        if quiet:
            self._news_at = time.monotonic()
        self._changes.extend(map(Change, rest.again))
        reader, feed, after = self._reader, keys.key(self._scope, "changes"), self._after
        with contextlib.suppress(StoreUnavailableError):  # whether it is away shows when we look
            yield Perform(
                lambda: reader.wait(feed, after, rest.seconds),
                lambda: reader.wait_sync(feed, after, rest.seconds),
            )
        self._at_end = False

    def _forget(self, moment: datetime) -> None:
        """Forget final runs: what came before the end of the feed does not come again.

        Those of the last moment are remembered, to be told from what a gap may hide.
        """
        for run_id, at in tuple(self._final.items()):
            if at < moment:
                del self._final[run_id]
                self._seen.pop(run_id, None)

    def _load(self) -> Flow[None]:
        taken = list(islice(self._changes, _TOGETHER))
        ids = list(dict.fromkeys(change.run for change in taken))
        replies = yield [
            SCRIPTS.read_run(self._scope, run_id=run_id, channel="", watch="", bodies="1")
            for run_id in ids
        ]
        yield from bring_bodies(replies, self._recent)
        records = dict(zip(ids, map(record_of, ids, replies), strict=True))
        for change in taken:
            self._changes.popleft()
            record = records[change.run]
            if record is None:
                self._group.missing(change.run)
            elif self._is_new(change, record):
                self._show(change, record)

    def _is_new(self, change: Change, record: Record) -> bool:
        seen = self._seen.get(change.run)
        if change.status is not None:
            return seen is None or change.n > seen.n
        if seen is not None:
            return record.n != seen.n
        # Behind a gap in the feed: what is not remembered was final, or is new.
        updated = record.run.updated_at
        return self._since is None or updated is None or updated >= self._since

    def _show(self, change: Change, record: Record) -> None:
        before = self._seen.get(change.run)
        run = as_of(change, record, before)
        n = record.n if change.status is None else change.n
        self._seen[change.run] = seen_of(n, run, before)
        self._ready.append(run)
        if run.is_completed:
            self._final[change.run] = change.at or run.updated_at or _moment(self._after)
            self._group.ended(change.run)
