"""`metadata`: what a run tells of itself while it works, for whoever watches it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any, TypeVar, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import Durable, require_run
from trigger_celery.bridge.live_metadata import (
    LiveMetadata,
    Target,
    durable_here,
    metadata_of,
    run_above,
)
from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.bridge.piping import PipedStream
from trigger_celery.bridge.recalling import record_of
from trigger_celery.engine.metadata import read_metadata
from trigger_celery.engine.waiting import record_step
from trigger_celery.errors import InvalidOptionError, OutputError, RunLeaseLostError
from trigger_celery.model.metadata import MAX_NUMBER, Change, copy_of, is_number, path_of
from trigger_celery.model.packet import JSON, Packet, decode, encode_json
from trigger_celery.model.task_options import check_metadata
from trigger_celery.sdk.streams import start_pipe
from trigger_celery.store.op import Flow, Op, Perform

T = TypeVar("T")


class MetadataChanges:
    """Changes of the metadata of a run. Each returns the object, so that calls chain.

    Keys that start with `$.` are JSON paths: `$.user.name`, `$.list[0]`, `$['any name']`; what is
    missing on the way is made. Values are JSON: others raise InvalidOptionError. Metadata is at most
    256 KB: a change that would make it larger is left out, logged and counted, and the run goes on.
    Outside of a run nothing happens.
    """

    __slots__ = ("_target",)

    def __init__(self, target: Target) -> None:
        self._target: Target = target

    def _name(self) -> str:
        return "metadata" if self._target == "self" else f"metadata.{self._target}"

    def _make(self, change: Change, call: str) -> None:
        durable = durable_here()
        if durable is None:
            return
        live = metadata_of(durable)
        run_id = durable.run_id if self._target == "self" else run_above(self._target, durable)
        what = f"{self._name()}.{call}"
        if run_id == durable.run_id:
            live.change(change, what)
        else:
            live.change_above(run_id, change, what)

    def set(self, key: str, value: Any) -> MetadataChanges:
        """Put a value under a key. Raises InvalidOptionError where a path meets another kind of value."""
        path_of(key)
        self._make(["set", key, value], f"set({key!r}, …)")
        return self

    def delete(self, key: str) -> MetadataChanges:
        """Remove a key of the top level, if it is there."""
        if not isinstance(key, str):
            raise InvalidOptionError(f"{self._name()}.delete({key!r}): a key is text")
        self._make(["del", key], f"delete({key!r})")
        return self

    del_ = delete

    def append(self, key: str, value: Any) -> MetadataChanges:
        """Put a value at the end of a list. Nothing becomes a list of it, another value a list of both."""
        path_of(key)
        self._make(["append", key, value], f"append({key!r}, …)")
        return self

    def remove(self, key: str, value: Any) -> MetadataChanges:
        """Remove every item that is equal to *value* from a list; nothing happens to other values."""
        path_of(key)
        self._make(["remove", key, value], f"remove({key!r}, …)")
        return self

    def increment(self, key: str, amount: float = 1) -> MetadataChanges:
        """Add to a number. Nothing, and what is no number, counts as 0."""
        return self._add(key, amount, "increment")

    def decrement(self, key: str, amount: float = 1) -> MetadataChanges:
        """Take from a number; of a run above this one the size of *amount*, whatever its sign."""
        if not is_number(amount):
            return self._add(key, amount, "decrement")
        down = -amount if self._target == "self" else -abs(amount)
        return self._add(key, down, "decrement")

    def _add(self, key: str, amount: float, call: str) -> MetadataChanges:
        path_of(key)
        if not is_number(amount) or not abs(amount) <= MAX_NUMBER:
            raise InvalidOptionError(
                f"{self._name()}.{call}({key!r}, {amount!r:.40}): the amount is no number of at "
                "most 2**63"
            )
        self._make(["increment", key, amount], f"{call}({key!r}, …)")
        return self

    def replace(self, value: dict[str, Any]) -> MetadataChanges:
        """Replace all of it by a dict. Raises MetadataTooLargeError over 256 KB."""
        check_metadata(value)
        self._make(["replace", value], "replace(…)")
        return self

    def save(self, value: dict[str, Any]) -> MetadataChanges:
        """Replace all of it: the old name of `replace`."""
        return self._renamed("save", value)

    def update(self, value: dict[str, Any]) -> MetadataChanges:
        """Replace all of it: the old name of `replace`."""
        return self._renamed("update", value)

    def _renamed(self, name: str, value: dict[str, Any]) -> MetadataChanges:
        warn_of_old_form(f"{self._name()}.{name}() is now called {self._name()}.replace()")
        return self.replace(value)


class Metadata(MetadataChanges):
    """The metadata of the current run. Changes are seen at once by the run's own code.

    They are sent at the latest a second later (`run_metadata_flush_interval`), before the run waits
    and before its attempt ends. What others change (children, `runs.update_metadata`) shows
    after `refresh()`. Metadata survives retries. When a run is executed again after a wait, what it
    changed before is not changed again.
    """

    __slots__ = ("parent", "root")

    def __init__(self) -> None:
        super().__init__("self")
        self.parent = MetadataChanges("parent")
        self.root = MetadataChanges("root")

    def current(self) -> dict[str, Any] | None:
        """Return all of it, a copy; None outside of a run."""
        live = self._live()
        return None if live is None else live.read()[1]

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, default: T) -> Any | T: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Return what is under a key or at a JSON path, a copy; *default* when nothing is there."""
        path = path_of(key)
        live = self._live()
        if live is None:
            return default
        there, value = live.read(path)
        return value if there else default

    def _live(self) -> LiveMetadata | None:
        durable = durable_here()
        return None if durable is None else metadata_of(durable)

    def flush(self) -> Op[None]:
        """Send all changes now and return when they are stored. Raises StoreUnavailableError."""
        live = self._live()

        def flow() -> Flow[None]:
            if live is not None:
                yield from live.flush()

        return context.current().op(flow(), "metadata.flush")

    def refresh(self) -> Op[dict[str, Any] | None]:
        """Send all changes, read the metadata again with what others changed, and return it.

        A durable call: when the run is executed again after a wait it sees the same. None outside
        of a run.
        """
        bound = context.current()

        def flow() -> Flow[dict[str, Any] | None]:
            if durable_here() is None:
                return None
            durable = require_run("metadata.refresh()")
            document = yield from _refreshed(bound.scope, durable)
            metadata_of(durable).show(document)
            shown: dict[str, Any] = copy_of(document)
            return shown

        return bound.op(flow(), "metadata.refresh")

    def stream(self, key: str, source: AsyncIterable[T] | Iterable[T]) -> Op[PipedStream[T]]:
        """Send what *source* yields to those who watch the run, and return it to be iterated.

        The older form of `streams.pipe(key, source).stream`, and warns of it.
        """
        warn_of_old_form(
            "metadata.stream(key, source) is the form of earlier versions: write "
            "streams.pipe(key, source), and iterate its .stream"
        )

        def start() -> PipedStream[T]:
            return start_pipe(key, source, "self").stream

        async def start_in_loop() -> PipedStream[T]:
            return start()

        def flow() -> Flow[PipedStream[T]]:
            started: PipedStream[T] = yield Perform(start_in_loop, start)
            return started

        require_run("metadata.stream()")
        return context.current().op(flow(), "metadata.stream")


def _refreshed(scope: str, durable: Durable) -> Flow[dict[str, Any]]:
    path, _ = durable.begin("metadata.refresh")
    name = durable.step_name(f"metadata.refresh {durable.attempt}")
    record = yield from record_of(scope, durable)
    known = record.steps.get(name)
    if known is None:
        yield from metadata_of(durable).flush()
        stored = yield from read_metadata(scope, durable.run_id)
        found = {} if stored is None else stored.now.document
        packet = Packet(encode_json(found, error=OutputError, what="metadata"), JSON)
        known = yield from record_step(
            scope, durable.run_id, durable.epoch, path, "metadata.refresh", name, packet
        )
        if known is None:
            durable.parking.check()
            raise RunLeaseLostError(f"run {durable.run_id} belongs to another worker now")
    document: dict[str, Any] = decode(known.data, known.type)
    return document


metadata = Metadata()
"""The metadata of the current run."""
