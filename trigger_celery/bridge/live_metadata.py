"""Metadata of the run that executes here: changed at once, sent in the background.

The code of the run sees its own changes, over what the attempt began with; what others change shows
after a refresh. So a run that is executed again sees the same again. Changes are sent at the latest
a second after they were made, before the run waits, and before its attempt ends.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from trigger_celery.bridge import context
from trigger_celery.bridge.context import current_execution, current_scope
from trigger_celery.engine import metadata
from trigger_celery.engine.metadata import Batch
from trigger_celery.errors import InvalidOptionError, StoreError
from trigger_celery.model.metadata import (
    Change,
    Document,
    Path,
    Pending,
    apply,
    copy_of,
    document_size,
    find,
    json_text,
    size_of,
)
from trigger_celery.model.task_options import MAX_METADATA_BYTES
from trigger_celery.store.op import Flow, Sleep
from trigger_celery.store.store import Store

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery
    from trigger_celery.bridge.durable import Durable

logger = logging.getLogger("trigger_celery.metadata")

Target = Literal["self", "parent", "root"]

_LOOK_AGAIN: Final = 0.005
_HURRY_AT: Final = 1_048_576


class LiveMetadata:
    """The metadata of one attempt. May be used from any thread."""

    __slots__ = (
        "_batch", "_bound", "_document", "_durable", "_lock", "_pending", "_pid", "_refused", "_sending", "_stale", "store",
    )  # fmt: skip

    def __init__(self, durable: Durable, store: Store, start: Document | None = None) -> None:
        self.store = store
        self._durable = durable
        self._document: Document = {} if start is None else start
        self._bound = document_size(self._document) if start else 2
        """The document is at most so large."""
        self._stale = False
        self._refused = 0
        self._begin(os.getpid())

    def _begin(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}
        self._batch: Batch | None = None
        """What was sent and not answered: it is sent again as it is."""
        self._sending = False

    def _follow_fork(self) -> None:
        """In a child that the run's code forked: what is not sent yet is its parent's to send."""
        if self._pid != os.getpid():
            self._begin(os.getpid())

    def read(self, path: Path = ()) -> tuple[bool, Any]:
        """Return whether there is something at *path*, and a copy of it."""
        self._follow_fork()
        with self._lock:
            there, value = find(self._document, path)
            return there, copy_of(value)

    def change(self, change: Change, what: str) -> None:
        """Make a change of the run's own metadata. Raises InvalidOptionError when it does not fit."""
        text = json_text(change, what)
        size, change = size_of(text), json.loads(text)
        self._follow_fork()
        with self._lock:
            before = copy_of(self._document) if self._is_near(size) else None
            document, fits = apply(self._document, change)
            if not fits:
                raise InvalidOptionError(
                    f"{what}: there is something else than this needs at {change[1]!r}, or the "
                    "sum is no number that JSON carries"
                )
            self._bound += 3 * size + 64
            if before is not None:
                self._bound = document_size(document)
                if self._bound > MAX_METADATA_BYTES:
                    self._document = before
                    self._bound = document_size(before)
                    self._refuse(what)
                    return
            self._document = document
            self._put(self._durable.run_id, change, size)

    def _is_near(self, size: int) -> bool:
        return self._bound + 3 * size + 64 > MAX_METADATA_BYTES

    def change_above(self, run_id: str, change: Change, what: str) -> None:
        """Make a change of another run's metadata, which only the server sees."""
        text = json_text(change, what)
        size, change = size_of(text), json.loads(text)
        self._follow_fork()
        with self._lock:
            waiting = self._pending.get(run_id)
            if (0 if waiting is None else waiting.bytes) + size > MAX_METADATA_BYTES:
                self._refuse(what)
            else:
                self._put(run_id, change, size)

    def _put(self, run_id: str, change: Change, size: int) -> None:
        # What a run did before it waited was sent before it waited.
        if self._durable.had_before() or self._stale:
            return
        pending = self._pending.get(run_id)
        if pending is None:
            pending = self._pending[run_id] = Pending()
        pending.add(change, size)
        SENDER.wants(self)
        if pending.bytes > _HURRY_AT:
            SENDER.hurry()

    def refuse(self, what: str) -> None:
        """Note that a change is not made, as what it makes would be too large."""
        with self._lock:
            self._refuse(what)

    def _refuse(self, what: str) -> None:
        self._refused += 1
        if self._refused == 1:
            metadata.refused(
                self._durable.run_id, 1, f"after {what} they would be larger than 256 KB"
            )

    def show(self, document: Document) -> None:
        """Let the code of the run see this document from now on."""
        with self._lock:
            self._document = document
            self._bound = document_size(document)

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to send."""
        return bool(self._pending or self._batch)

    def take(self) -> Batch | None:
        """Return what is to be sent now; None when there is nothing, or it is being sent."""
        with self._lock:
            if self._sending or not self.is_dirty:
                return None
            if self._batch is None:
                pending, self._pending = self._pending, {}
                self._batch = Batch(
                    [(run_id, one.to_text(), len(one)) for run_id, one in pending.items()]
                )
            self._sending = True
            return self._batch

    def sent(self, answer: str | None) -> None:
        """Note what became of it: None when that is not known."""
        with self._lock:
            self._sending = False
            if answer in ("ok", "stale"):
                self._batch = None
            if answer == "stale":
                self._stale = True
                self._pending = {}

    @property
    def fence(self) -> tuple[str, str]:
        """The run and its epoch."""
        return self._durable.run_id, self._durable.epoch

    def flush(self) -> Flow[None]:
        """Send what there is now, and return when it is stored. Raises StoreError."""
        self._follow_fork()
        while self.is_dirty:
            if self._sending:
                yield Sleep(_LOOK_AGAIN)  # the background thread has it
            else:
                yield from send([self])

    def close(self) -> None:
        """The attempt is over: take no more changes, and say how many were refused."""
        self._stale = True
        if self._refused > 1:
            metadata.refused(
                self._durable.run_id, self._refused, "they would be larger than 256 KB"
            )
            self._refused = 0


def send(ones: Sequence[LiveMetadata]) -> Flow[None]:
    """Send what several runs have to send, in one round trip."""
    taken = [(one, batch) for one in ones if (batch := one.take()) is not None]
    if not taken:
        return
    open_ = dict(taken)
    try:
        scope = taken[0][0].store.scope
        replies = yield [batch.call(scope, *one.fence) for one, batch in taken]
        for (one, batch), reply in zip(taken, replies, strict=True):
            answer = yield from metadata.settle(scope, batch, reply)
            del open_[one]
            one.sent(answer)
    finally:
        for one in open_:
            one.sent(None)


class Sender:
    """The thread of the process that sends metadata in the background."""

    def __init__(self) -> None:
        self.interval = 1.0
        self.forget()

    def forget(self) -> None:
        """Forget what a forked child shares with its parent."""
        self._dirty: set[LiveMetadata] = set()
        self._lock = threading.Lock()
        self._news, self._full = threading.Event(), threading.Event()
        self._pid = 0

    def wants(self, one: LiveMetadata) -> None:
        """Send what it has within the interval."""
        if one in self._dirty:
            return
        with self._lock:
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._work, name="trigger-metadata", daemon=True).start()
            self._dirty.add(one)
        self._news.set()

    def hurry(self) -> None:
        """Send at once: there is much."""
        self._full.set()

    def _work(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            self._full.wait(self.interval)
            self._full.clear()
            with self._lock:
                ones, self._dirty = self._dirty, set()
            by_store: dict[Store, list[LiveMetadata]] = {}
            for one in ones:
                by_store.setdefault(one.store, []).append(one)
            for store, several in by_store.items():
                self._send(store, several)

    def _send(self, store: Store, ones: Sequence[LiveMetadata]) -> None:
        try:
            store.run_blocking(send(ones))
        except StoreError as problem:
            logger.warning(
                "metadata of %d runs is sent later: %s",
                len(ones),
                problem,
                extra={"action": "metadata_waits", "count": len(ones)},
            )
        except Exception:
            logger.exception("metadata could not be sent")
        for one in ones:
            if one.is_dirty:
                self.wants(one)


SENDER = Sender()
"""Of this process; a forked child has a thread of its own."""

os.register_at_fork(after_in_child=SENDER.forget)


def durable_here() -> Durable | None:
    """Return the durable side of the run that this code belongs to: its function, or its hooks."""
    scope = current_scope.get()
    if scope is not None:
        return scope.durable
    execution = current_execution.get()
    return None if execution is None else getattr(execution, "durable", None)


_making = threading.Lock()


def metadata_of(durable: Durable) -> LiveMetadata:
    """Return the metadata of an attempt; made when it is first asked for."""
    found = durable.metadata
    if found is None:
        with _making:
            found = durable.metadata
            if found is None:
                found = durable.metadata = _live(durable, context.current(), None)
    return found


def _live(durable: Durable, trigger: TriggerCelery, start: Document | None) -> LiveMetadata:
    SENDER.interval = trigger.settings.run_metadata_flush_interval
    return LiveMetadata(durable, trigger.store, start)


def load(durable: Durable, trigger: TriggerCelery, *, resumed: bool) -> Flow[None]:
    """Read what the attempt begins with; or began with, when it is executed again."""
    stored = yield from metadata.read_metadata(trigger.scope, durable.run_id)
    if stored is not None:
        start = stored.start if resumed else stored.now.document
        durable.metadata = _live(durable, trigger, start)


def run_above(target: Target, durable: Durable) -> str:
    """Return the run that is meant; a run without one above it is its own parent and root."""
    ctx = context.current_context()
    if ctx is None or ctx.run.id != durable.run_id:
        return durable.run_id
    above: Any = ctx.run.parent_id if target == "parent" else ctx.run.root_id
    return above or durable.run_id
