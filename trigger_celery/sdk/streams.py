"""`streams`: chunks that a run sends while it works, for those who watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from trigger_celery.bridge import context
from trigger_celery.bridge.context import current_context
from trigger_celery.bridge.durable import Durable
from trigger_celery.bridge.live_metadata import durable_here
from trigger_celery.bridge.piping import Outbox, PipedStream, Piping
from trigger_celery.engine import streams as engine
from trigger_celery.engine.streams import Address, StreamFollower, check_name, chunk_text
from trigger_celery.errors import InvalidOptionError, OutsideRunError
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.ids import is_run_id
from trigger_celery.sdk.handle import RunHandle
from trigger_celery.store.op import Flow, Op, refuse_in_loop
from trigger_celery.store.store import Store

T = TypeVar("T")

DEFAULT: Final = "default"
"""The name of the stream of `streams.pipe`, `streams.append` and `streams.read` without one."""


class Pipe(Generic[T]):
    """A source on its way into a stream. `stream` gives the same values to the run's own code."""

    def __init__(self, store: Store, outbox: Outbox, stream: PipedStream[T]) -> None:
        self._store = store
        self._outbox = outbox
        self._stream: PipedStream[T] | None = stream
        self._looked = False

    @property
    def stream(self) -> PipedStream[T]:
        """What the source yields, to be iterated once. Without a look at it nothing is kept."""
        if self._stream is None:
            raise InvalidOptionError(
                "take .stream before .wait_until_complete(): without it the values are not kept"
            )
        self._looked = True
        return self._stream

    def wait_until_complete(self) -> Op[None]:
        """Wait until the source is at its end and all of it is stored. Raises what it raised."""
        if not self._looked:
            self._stream = None  # nobody iterates: the values need not be kept
        return Op(self._store, self._outbox.until_done(), "wait_until_complete")


class StreamWriter:
    """What `writer(execute)` gives to *execute*: write chunks one by one, or merge sources."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Any] | None] = asyncio.Queue()
        self._merged: list[asyncio.Task[None]] = []

    def write(self, value: Any) -> None:
        """Send one chunk."""
        self._queue.put_nowait((value,))

    def merge(self, source: AsyncIterable[Any]) -> None:
        """Send what an async source yields, beside everything else."""

        async def merge_stream() -> None:
            async for value in source:
                self.write(value)

        self._merged.append(asyncio.create_task(merge_stream()))


class Stream(Generic[T]):
    """A stream by its name; see `define`."""

    def __init__(self, name: str) -> None:
        self.id = check_name(name)

    def pipe(
        self, source: AsyncIterable[T] | Iterable[T], *, target: str | RunHandle = "self"
    ) -> Pipe[T]:
        """Send what *source* yields. Begins at once; an async source needs a running loop.

        *target* is "self", "parent", "root" or a run; outside of a run it has to be a run. The
        attempt does not end before its pipes, for a minute at most. Several pipes may go into one
        stream. Piped before the run waited, nothing is sent again in a replay; a new attempt
        sends again, behind what there is.
        """
        return start_pipe(self.id, source, target)

    def append(self, value: T, *, target: str | RunHandle = "self") -> Op[None]:
        """Send one chunk: any JSON value of at most 1 MiB - 1 KiB, text stays text.

        Raises InvalidOptionError, OutputTooLargeError; RunNotFoundError for an unknown target.
        """
        text = chunk_text(value)
        bound, durable = context.current(), durable_here()
        to = _address(self.id, target, durable)

        def flow() -> Flow[None]:
            if durable is not None:
                durable.parking.check()
                if durable.had_before():
                    return
            yield from engine.append(to, [text])

        return bound.op(flow(), "streams.append")

    def writer(
        self, execute: Callable[[StreamWriter], Any], *, target: str | RunHandle = "self"
    ) -> Pipe[T]:
        """Call *execute* (async) with a `StreamWriter` and send what it writes and merges."""
        return self.pipe(_written(execute), target=target)

    def read(
        self,
        run: str | RunHandle,
        *,
        timeout_in_seconds: str | float = 60,
        start_index: int = 0,
    ) -> StreamReading[T]:
        """Read the chunks of a run's stream, with `for` or `async for`, from *start_index* on.

        Ends with the stream: when no pipe into it is open any more or the run is final. Also after
        *timeout_in_seconds* without a chunk. A reader that lost its place goes on with the number
        of chunks it has seen as *start_index*. The first turn raises RunNotFoundError.
        """
        run_id = _run_id(run)
        if type(start_index) is not int or start_index < 0:
            raise InvalidOptionError(f"start_index={start_index!r}: a whole number from 0")
        seconds = parse_duration(timeout_in_seconds, name="timeout_in_seconds") / 1000
        bound, durable = context.current(), durable_here()
        check = (lambda: None) if durable is None else durable.parking.check
        return StreamReading(
            bound.store,
            lambda: StreamFollower(
                bound.scope,
                run_id,
                self.id,
                bound.store.stream_reader(),
                index=start_index,
                timeout=seconds,
                check=check,
            ),
        )

    def __repr__(self) -> str:
        return f"streams.define(id={self.id!r})"


class StreamReading(Generic[T]):
    """The chunks of a stream. Each loop begins at the start index."""

    def __init__(self, store: Store, follow: Callable[[], StreamFollower]) -> None:
        self._store = store
        self._follow = follow

    def __iter__(self) -> Iterator[T]:
        refuse_in_loop("for chunk in streams.read(…)")
        return self._iterate()

    def _iterate(self) -> Iterator[T]:
        follower = self._follow()
        try:
            while (found := self._store.run_sync(follower.next())) is not None:
                yield found[0]
        finally:
            follower.rest()

    async def __aiter__(self) -> AsyncIterator[T]:
        follower = self._follow()
        try:
            while (found := await self._store.run_async(follower.next())) is not None:
                yield found[0]
        finally:
            follower.rest()


def define(*, id: str) -> Stream[Any]:
    """Name a stream, to be shared by the code that writes it and the code that reads it.

    A run keeps the last 10,000 chunks and 64 MB of each of at most 100 streams, for as long as the
    run itself is kept.
    """
    return Stream(id)


def pipe(*args: Any, target: str | RunHandle = "self") -> Pipe[Any]:
    """Send what a source yields: `pipe(source)` or `pipe(name, source)`; see `Stream.pipe`."""
    name, source = _named(args, "pipe(source) or streams.pipe(name, source)")
    return Stream[Any](name).pipe(source, target=target)


def append(*args: Any, target: str | RunHandle = "self") -> Op[None]:
    """Send one chunk: `append(value)` or `append(name, value)`; see `Stream.append`."""
    name, value = _named(args, "append(value) or streams.append(name, value)")
    return Stream[Any](name).append(value, target=target)


def writer(
    execute: Callable[[StreamWriter], Any], *, target: str | RunHandle = "self"
) -> Pipe[Any]:
    """Send what *execute* writes; see `Stream.writer`."""
    return Stream[Any](DEFAULT).writer(execute, target=target)


def read(
    run: str | RunHandle,
    name: str = DEFAULT,
    *,
    timeout_in_seconds: str | float = 60,
    start_index: int = 0,
) -> StreamReading[Any]:
    """Read the chunks of a stream of a run; see `Stream.read`."""
    return Stream[Any](name).read(
        run, timeout_in_seconds=timeout_in_seconds, start_index=start_index
    )


def _named(args: tuple[Any, ...], usage: str) -> tuple[str, Any]:
    if not 1 <= len(args) <= 2:
        raise TypeError(f"streams.{usage}: got {len(args)} arguments")
    return (DEFAULT, args[0]) if len(args) == 1 else (check_name(args[0]), args[1])


def start_pipe(
    name: str, source: AsyncIterable[T] | Iterable[T], target: str | RunHandle
) -> Pipe[T]:
    """Begin a pipe; in a replay, before the resume point, one that sends nothing."""
    bound, durable = context.current(), durable_here()
    to = _address(check_name(name), target, durable)
    sent_before = durable is not None and durable.had_before()
    if durable is not None:
        durable.parking.check()
    if not isinstance(source, AsyncIterable | Iterable):
        raise InvalidOptionError(
            f"streams.pipe({source!r:.60}): a source is an iterable or an async iterable, such as "
            "a generator that was called"
        )
    outbox, stream = Outbox(bound.store, None if sent_before else to), PipedStream[T]()
    Piping(outbox, stream).start(source)
    if durable is not None:
        durable.pipes = [one for one in durable.pipes or () if not one.is_done or one.error]
        durable.pipes.append(outbox)
    return Pipe(bound.store, outbox, stream)


def _run_id(run: str | RunHandle) -> str:
    run_id = getattr(run, "id", run)
    if not is_run_id(run_id):
        raise InvalidOptionError(
            f"{run!r:.60} is not a run: pass the id that trigger returned (run_…), or a handle"
        )
    return run_id


def _address(name: str, target: str | RunHandle, durable: Durable | None) -> Address:
    scope = context.current().scope
    if target not in ("self", "parent", "root"):
        run_id, epoch = ("", "") if durable is None else (durable.run_id, durable.epoch)
        return Address(scope, _run_id(target), name, run_id, epoch)
    if durable is None:
        raise OutsideRunError(
            f"outside of a run there is no target={target!r}: pass the id of the run whose stream "
            "it is"
        )
    ctx, run_id = current_context(), durable.run_id
    if ctx is not None and target == "parent":
        run_id = ctx.run.parent_id or run_id
    elif ctx is not None and target == "root":
        run_id = ctx.run.root_id or run_id
    return Address(scope, run_id, name, durable.run_id, durable.epoch)


async def _written(execute: Callable[[StreamWriter], Any]) -> AsyncIterator[Any]:
    to = StreamWriter()

    async def write_stream() -> None:
        try:
            await execute(to)
            while to._merged:
                await to._merged.pop(0)
        finally:
            to._queue.put_nowait(None)

    work = asyncio.create_task(write_stream())
    try:
        while (found := await to._queue.get()) is not None:
            yield found[0]
        await work
    finally:
        work.cancel()
        for task in to._merged:
            task.cancel()
