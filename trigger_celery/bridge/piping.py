"""Pipes of a run: what a source yields goes to a stream in batches, and to the run's own code.

An async source is read by a task of the run, a sync one by a thread; each has a second one that
sends whatever is ready in one call. The end of the attempt waits for them.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from trigger_celery.engine.streams import Address, append, chunk_text
from trigger_celery.errors import StateError
from trigger_celery.store.op import Flow, Perform, Sleep, drive, refuse_in_loop
from trigger_celery.store.store import Store

T = TypeVar("T")

logger = logging.getLogger("trigger_celery.streams")

DRAIN_BUDGET: Final = 60.0
"""Seconds for which the end of an attempt waits for its pipes."""
MOST_CHUNKS, MOST_BYTES = 500, 1_048_576
"""Of one call."""
ROOM: Final = 8 * 1_048_576
"""Bytes that wait to be sent before a source is not read any further."""


class Bell:
    """Wakes one waiter, in a thread or on a loop; a ring that nobody waits for is heard later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rung = False
        self._wake: Callable[[], None] | None = None

    def ring(self) -> None:
        """Wake who waits. From anywhere."""
        with self._lock:
            wake, self._wake = self._wake, None
            self._rung = wake is None
        if wake is not None:
            wake()

    def _asks(self, wake: Callable[[], None]) -> bool:
        with self._lock:
            if self._rung:
                self._rung = False
                return False
            self._wake = wake
            return True

    async def wait(self) -> None:
        """Wait for a ring."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

        if self._asks(wake):
            await event.wait()

    def wait_sync(self) -> None:
        """Block until a ring."""
        event = threading.Event()
        if self._asks(event.set):
            event.wait()


class Outbox:
    """Chunks on their way to a stream."""

    def __init__(self, store: Store, to: Address | None) -> None:
        self._store = store
        self._to = to
        """None: nothing is sent, as it was sent before the run waited."""
        self._chunks: deque[str] = deque()
        self._bytes = 0
        self._closed = False
        self._news, self._room, self._ended = Bell(), Bell(), threading.Event()
        self._end_bells: list[Bell] = []
        self._lock = threading.Lock()
        self.error: BaseException | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self._threaded = False

    @property
    def is_done(self) -> bool:
        """Whether everything is stored, or nothing more will be."""
        return self._ended.is_set()

    @property
    def name(self) -> str:
        """The name of the stream."""
        return "" if self._to is None else self._to.name

    def put(self, value: Any) -> None:
        """Send a chunk soon. Raises what `chunk_text` raises."""
        text = chunk_text(value)
        if self._to is None or self.is_done:
            return
        with self._lock:
            self._chunks.append(text)
            self._bytes += len(text)
        self._news.ring()

    @property
    def is_full(self) -> bool:
        """Whether the source has to wait."""
        return self._bytes > ROOM and not self.is_done

    def close(self, error: BaseException | None = None) -> None:
        """The source is at its end."""
        self.error = self.error or error
        self._closed = True
        self._news.ring()

    def stop(self) -> None:
        """The attempt is over: what is not sent by now is not sent."""
        for job in self._jobs:
            if not job.done():
                job.get_loop().call_soon_threadsafe(job.cancel)
        if not self.is_done:
            self._finish()

    def _finish(self) -> None:
        self._ended.set()
        for bell in (self._news, self._room, *self._end_bells):
            bell.ring()

    def _take(self) -> list[str]:
        taken: list[str] = []
        with self._lock:
            size = 0
            while self._chunks and len(taken) < MOST_CHUNKS and size < MOST_BYTES:
                taken.append(self._chunks.popleft())
                size += len(taken[-1])
            self._bytes -= size
        self._room.ring()
        return taken

    def send(self) -> Flow[None]:
        """Send what comes until the source is at its end."""
        begins = True
        try:
            while not self.is_done:
                closed = self._closed
                chunks = self._take()
                if not chunks and not closed:
                    yield Perform(self._news.wait, self._news.wait_sync)
                    continue
                ends = closed and not self._chunks
                if self._to is not None:
                    yield from append(self._to, chunks, begins=begins, ends=ends)
                begins = False
                if ends:
                    return
        except BaseException as problem:
            self.error = self.error or problem
            raise
        finally:
            self._finish()

    def until_done(self) -> Flow[None]:
        """Wait until everything is stored. Raises what went wrong with the source, or in sending."""
        bell = Bell()
        self._end_bells.append(bell)
        while not self.is_done:
            yield Perform(bell.wait, bell.wait_sync)
        if self.error is not None:
            raise self.error

    def before_wait(self) -> Flow[None]:
        """Wait for the threads of a sync source: when the run's memory is given up, they are lost."""
        deadline = time.monotonic() + DRAIN_BUDGET
        while self._threaded and not self.is_done and time.monotonic() < deadline:
            yield Sleep(0.01)

    # How it is driven

    def start_tasks(self, read: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Read and send in tasks of the running loop."""
        loop = asyncio.get_running_loop()

        async def send_stream() -> None:
            await self._store.run_async(self.send())

        self._jobs = [loop.create_task(read()), loop.create_task(send_stream())]
        for job in self._jobs:
            job.add_done_callback(_look_at)

    def start_threads(self, read: Callable[[], None]) -> None:
        """Read and send in threads."""
        self._threaded = True
        for work in (read, self._send_blocking):
            inside = contextvars.copy_context()
            threading.Thread(
                target=inside.run, args=(work,), name="trigger-pipe", daemon=True
            ).start()

    def _send_blocking(self) -> None:
        try:
            self._store.run_blocking(self.send())
        except BaseException as problem:  # kept for those who wait
            self.error = self.error or problem

    async def wait_for_room(self) -> None:
        """Wait until the source may be read further."""
        while self.is_full:
            await self._room.wait()

    def wait_for_room_sync(self) -> None:
        """The same in a thread."""
        while self.is_full:
            self._room.wait_sync()


def _look_at(job: asyncio.Task[None]) -> None:
    """Take what a task raised: it is in the outbox as well."""
    if not job.cancelled():
        job.exception()


class PipedStream(Generic[T]):
    """What the source of a pipe yields, for `for` and `async for`; once, by one loop.

    Holds what was not iterated yet. Raises what the source raised.
    """

    def __init__(self) -> None:
        self._values: deque[T] = deque()
        self._bell = Bell()
        self._over = False
        self._error: BaseException | None = None

    def _put(self, value: T) -> None:
        self._values.append(value)
        self._bell.ring()

    def _end(self, error: BaseException | None) -> None:
        self._error, self._over = error, True
        self._bell.ring()

    def _next(self) -> Flow[tuple[T] | None]:
        while not self._values:
            if self._over:
                if self._error is not None:
                    raise self._error
                return None
            yield Perform(self._bell.wait, self._bell.wait_sync)
        return (self._values.popleft(),)

    def __iter__(self) -> Iterator[T]:
        refuse_in_loop("for chunk in stream")
        return self._iterate()

    def _iterate(self) -> Iterator[T]:
        while (found := drive(self._next(), _block)) is not None:
            yield found[0]

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            while not self._values and not self._over:
                await self._bell.wait()
            found = drive(self._next(), _block)
            if found is None:
                return
            yield found[0]

    def __repr__(self) -> str:
        return f"<PipedStream {len(self._values)} chunks ahead{', over' if self._over else ''}>"


def _block(step: Any) -> Any:
    return step.synchronously()


class Piping(Generic[T]):
    """Reads one source into an outbox, and into a stream for as long as somebody has it."""

    def __init__(self, outbox: Outbox, stream: PipedStream[T]) -> None:
        self._outbox = outbox
        self._stream = weakref.ref(stream)

    def start(self, source: AsyncIterable[T] | Iterable[T]) -> None:
        """Begin to read. Raises TypeError for what cannot be iterated, StateError without a loop."""
        if isinstance(source, AsyncIterable):
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                raise StateError(
                    "an async source is piped in async code: in a sync task, pass a list, a "
                    "generator or another iterable"
                ) from None
            self._outbox.start_tasks(lambda: self._read(source))
        else:
            values = iter(source)
            self._outbox.start_threads(lambda: self._read_sync(values))

    def _give(self, value: T) -> None:
        self._outbox.put(value)
        stream = self._stream()
        if stream is not None:
            stream._put(value)

    def _end(self, error: BaseException | None) -> None:
        self._outbox.close(error)
        stream = self._stream()
        if stream is not None:
            stream._end(error)

    async def _read(self, source: AsyncIterable[T]) -> None:
        error: BaseException | None = None
        try:
            async for value in source:
                await self._outbox.wait_for_room()
                self._give(value)
        except BaseException as problem:
            error = problem
            raise
        finally:
            self._end(error)

    def _read_sync(self, values: Iterator[T]) -> None:
        error: BaseException | None = None
        try:
            for value in values:
                self._outbox.wait_for_room_sync()
                if self._outbox.is_done:
                    break
                self._give(value)
        except BaseException as problem:  # for those who wait or iterate
            error = problem
        self._end(error)


def drain(run_id: str, outboxes: list[Outbox]) -> Flow[None]:
    """Wait until the pipes of a run are stored, a minute at most; log what went wrong."""
    deadline = time.monotonic() + DRAIN_BUDGET
    pause = 0.001
    while any(not one.is_done for one in outboxes) and time.monotonic() < deadline:
        yield Sleep(pause)
        pause = min(2 * pause, 0.05)
    for one in outboxes:
        if not one.is_done or one.error is not None:
            logger.warning(
                "a pipe into the stream %r of run %s was cut off: %s",
                one.name,
                run_id,
                one.error or f"it did not end within {DRAIN_BUDGET:g} s",
                extra={"action": "stream_cut", "run_id": run_id},
            )
