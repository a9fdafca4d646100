"""The vocabulary of store access: a `Call` is one round trip, an `Op` is what the SDK returns.

An operation is a generator that yields `Call`s (or a list of them: one pipeline) and receives
their decoded replies. The two runners, `sync.py` and `aio.py`, drive the same generator.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from trigger_celery.errors import SyncInAsyncError

if TYPE_CHECKING:
    from trigger_celery.store.scripts import Script

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")

Arg = str | bytes | int | float
"""What may be sent to the server."""


@dataclass(slots=True)
class Call:
    """One round trip: a script with its key and arguments, or a plain command.

    Sending a call again must be harmless: scripts carry an `op_id` for that.
    """

    script: Script | None
    scope: str
    args: Sequence[Arg]
    decode: Callable[[Any], Any] | None = None


@dataclass(slots=True)
class Sleep:
    """Let *seconds* pass; the runner decides how."""

    seconds: float


@dataclass(slots=True)
class Listen:
    """Start listening to what is called *topic*; the reply is a `notify.Topic`.

    The flow keeps the reply as long as it listens; its `channel` is where to announce.
    """

    topic: str


@dataclass(slots=True)
class Await:
    """Wait until *topic* is announced, or *seconds* have passed. Missed news is only latency."""

    topic: Any
    seconds: float


@dataclass(slots=True)
class Perform:
    """Do something that has a sync and an asyncio form; the runner picks one. Replies its result."""

    asynchronously: Callable[[], Awaitable[Any]]
    synchronously: Callable[[], Any]


@dataclass(slots=True)
class AskPayloads:
    """Ask for the payload store. Replies a `payloads.PayloadStore`, or None: everything is in Redis."""


Step = Call | list[Call] | Sleep | Await | Listen | Perform | AskPayloads
Flow = Generator[Step, Any, T]
"""An operation in the making: yields steps, receives replies, returns its result."""


def command(*args: Arg, decode: Callable[[Any], Any] | None = None) -> Call:
    """Return the call of a plain Redis command."""
    return Call(None, "", args, decode)


def ask(call: Call) -> Flow[Any]:
    """Make one call and return its decoded reply."""
    return (yield call)


def drive(flow: Flow[T], perform: Callable[[Step], Any]) -> T:
    """Perform the steps of a flow to its end and return its result. It may handle their errors."""
    try:
        step = next(flow)
        while True:
            try:
                reply = perform(step)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(reply)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def drive_async(flow: Flow[T], perform: Callable[[Step], Awaitable[Any]]) -> T:
    """The same with steps that are awaited."""
    try:
        step = next(flow)
        while True:
            try:
                reply = await perform(step)
            except BaseException as error:
                step = flow.throw(error)
            else:
                step = flow.send(reply)
                reply = None  # the flow may wait for days
    except StopIteration as stop:
        result: T = stop.value
        return result


def refuse_in_loop(loop: str) -> None:
    """Raise SyncInAsyncError where an event loop runs; *loop* is the `for` that would block it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SyncInAsyncError(f"`{loop}` would block the running event loop: write `async for`")


class Runs(Protocol):
    """What an `Op` needs of the store that runs it."""

    def run_async(self, flow: Flow[U]) -> Coroutine[Any, Any, U]:
        """Run a flow on the running loop."""
        ...

    def run_sync(self, flow: Flow[U]) -> U:
        """Run a flow and block."""
        ...


class Op(Coroutine[Any, Any, T_co]):
    """An operation that has not run yet: `await op` in async code, `op.sync()` in sync code.

    It is a coroutine to asyncio as well: `asyncio.create_task(op)`, a TaskGroup and `asyncio.run`
    take it.

    It runs once. Awaiting it again, or dropping it without running it, is a mistake: the first
    raises, the second warns when the object is collected, as a coroutine does.
    """

    __slots__ = ("_flow", "_name", "_running", "_store")

    def __init__(self, store: Runs, flow: Flow[T_co], name: str = "operation") -> None:
        self._store: Runs = store
        self._flow: Flow[T_co] | None = flow
        self._running: Coroutine[Any, Any, T_co] | None = None
        self._name = name

    def _take(self) -> Flow[T_co]:
        flow = self._flow
        if flow is None:
            raise RuntimeError(f"{self._name} was already run; call it again to run it again")
        self._flow = None
        return flow

    def __await__(self) -> Generator[Any, None, T_co]:
        return self._store.run_async(self._take()).__await__()

    def send(self, value: Any, /) -> Any:
        """Run the operation to its next suspension, as coroutines do; for event loops."""
        if self._running is None:
            self._running = self._store.run_async(self._take())
        return self._running.send(value)

    def throw(self, *problem: Any) -> Any:
        """Raise in the operation where it is suspended; for event loops."""
        if self._running is None:
            self._running = self._store.run_async(self._take())
        return self._running.throw(*problem)

    def close(self) -> None:
        """End the operation where it is suspended; one that has not run does not."""
        self._flow = None
        if self._running is not None:
            self._running.close()

    def sync(self) -> T_co:
        """Run the operation and block until it is done.

        Raises SyncInAsyncError inside a running event loop: await the operation there.
        """
        return self._store.run_sync(self._take())

    if not TYPE_CHECKING:  # for type checkers an operation has the attributes above and no more

        def __getattr__(self, name):
            """Say what is missing to who takes the operation for its result."""
            kind = type(self).__name__
            if name.startswith("_"):
                raise AttributeError(
                    f"{kind!r} object has no attribute {name!r}", name=name, obj=self
                )
            raise AttributeError(
                f"{self._name} has not given its result yet, so it has no {name!r}: write "
                f"`(await {self._name}(...)).{name}` in async code or "
                f"`{self._name}(...).sync().{name}` in sync code",
                name=name,
                obj=self,
            )

    def __del__(self) -> None:
        if getattr(self, "_flow", None) is not None:
            warnings.warn(
                f"{self._name} was never run: write `await {self._name}(...)` in async code or "
                f"`{self._name}(...).sync()` in sync code",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        state = "not run yet" if self._flow is not None else "run"
        return f"<Op {self._name} ({state}): await it, or call .sync()>"
