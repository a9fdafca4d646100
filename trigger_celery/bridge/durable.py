"""Durable calls of a run: their positions, their record, and how a wait gives the run's slot back.

A durable call (a wait, a child run, a token, a step) has an id made from its run, its attempt and
its position. So when a run is executed again from the top as the same attempt, each call finds
what it did before. Positions are counted per asyncio task, and tasks per function in the task
that made them: `asyncio.gather` gives the same positions whatever ends first.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge.awaiting import only_waits_for
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.parking import NO_PARKING, Parking
from trigger_celery.engine import waiting
from trigger_celery.engine.triggering import Origin
from trigger_celery.engine.waiting import Record
from trigger_celery.engine.waitpoints import no_token
from trigger_celery.errors import (
    OutsideRunError,
    ReplayMismatchError,
    RunLeaseLostError,
    StateError,
    TooManyCallsError,
    WaitCycleError,
)
from trigger_celery.model.ids import derived_id, is_token_id
from trigger_celery.model.wait import WaitInfo
from trigger_celery.store.op import Call, Flow, Perform

if TYPE_CHECKING:
    from trigger_celery.bridge.live_metadata import LiveMetadata
    from trigger_celery.bridge.piping import Outbox
    from trigger_celery.bridge.tracing import Sent
    from trigger_celery.telemetry.recorder import Telemetry


_TRY = re.compile(r"~\d+").sub
"""Takes the numbers of tries out of a position; see `tries.py`."""


class Scope:
    """Counts the durable calls of one asyncio task of a run, and the tasks it makes."""

    __slots__ = (
        "_calls",
        "_path",
        "_tasks",
        "durable",
        "step",
        "task",
        "waits",
    )

    def __init__(self, durable: Durable, path: str = "", parent: Scope | None = None) -> None:
        self.durable = durable
        self.task: asyncio.Task[Any] | None = None
        self.step: str = parent.step if parent is not None else ""
        """The step whose function is being called."""
        self.waits = 0
        self._path = path
        self._calls = 0
        self._tasks: dict[str, int] | None = None

    @property
    def path(self) -> str:
        """What the positions of this task begin with: empty for the first."""
        return self._path

    def next_path(self) -> str:
        """Return the position of the next durable call."""
        self._calls += 1
        return f"{self._path}{self._calls}"

    @property
    def has_called(self) -> bool:
        """Whether it has made durable calls, or tasks that may have."""
        return self._calls > 0 or self._tasks is not None

    @contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Meanwhile count durable calls and tasks under *path*, from the first."""
        before = self._path, self._calls, self._tasks
        self._path, self._calls, self._tasks = path, 0, None
        try:
            yield
        finally:
            self._path, self._calls, self._tasks = before

    def begin_task(self, name: str) -> Scope:
        """Return the scope of a task made here. Counted by name: tasks of libraries do not shift ours."""
        if self._tasks is None:
            self._tasks = {}
        number = self._tasks[name] = self._tasks.get(name, 0) + 1
        return Scope(self.durable, f"{self._path}{name}:{number}/", self)


class Durable:
    """The durable side of one attempt."""

    __slots__ = (
        "_beyond", "_links", "_seen", "_steps", "_tasks", "attempt", "epoch", "metadata", "parking", "pipes",
        "record", "root",
        "run_id", "telemetry", "test",
    )  # fmt: skip

    def __init__(
        self, run_id: str, epoch: str, attempt: int, links: str, *, test: bool = False
    ) -> None:
        self.run_id = run_id
        self.test = test
        self.epoch = epoch
        self.attempt = attempt
        self.record: Record | None = None
        """None: nothing of an earlier execution has been read."""
        self.parking: Parking = NO_PARKING
        self.root = Scope(self)
        self.metadata: LiveMetadata | None = None
        self.telemetry: Telemetry | None = None
        self.pipes: list[Outbox] | None = None
        """Streams into which the code of the run pipes; None: it has not piped anything."""
        self._tasks: dict[asyncio.Future[Any], Scope] | None = None  # most runs have one task
        self._links = links
        self._seen = 0
        self._beyond = False  # a call was made that was not made before
        self._steps: dict[str, int] = {}

    @property
    def replaying(self) -> bool:
        """Whether the code is still before the point where its memory was lost."""
        if self._beyond or self.record is None:
            return False
        return self._seen < len(self.record.calls)

    def only_waits(self) -> bool:
        """Whether every task of the run waits: for what it asked, or for other tasks of the run."""
        tasks = self._tasks
        if tasks is not None and not all(map(self._waits, tasks.values())):
            return False
        return self._waits(self.root)

    def _waits(self, scope: Scope) -> bool:
        if scope.waits:
            return True
        return scope.task is not None and only_waits_for(scope.task, self._is_own)

    def _is_own(self, task: asyncio.Future[Any]) -> bool:
        return self._tasks is not None and task in self._tasks

    def add(self, task: asyncio.Task[Any], scope: Scope) -> None:
        """The run has another task."""
        if self._tasks is None:
            self._tasks = {}
        scope.task = task
        self._tasks[task] = scope
        task.add_done_callback(self._discard)

    def _discard(self, task: asyncio.Task[Any]) -> None:
        """A task of the run is over; the run may have nothing left to do but wait."""
        if self._tasks is not None:
            self._tasks.pop(task, None)
        self.parking.reconsider()

    def close(self) -> None:
        """The attempt is over: tasks of it that still wait end, and what it calls later is refused."""
        self.parking.close(RunLeaseLostError(f"attempt {self.attempt} of {self.run_id} is over"))
        if self.metadata is not None:
            self.metadata.close()
        for pipe in self.pipes or ():
            pipe.stop()
        for task, scope in list((self._tasks or {}).items()):
            if scope.waits:
                task.cancel()

    def scope_of(self, call: str) -> Scope:
        """Return who makes a durable call. Raises StateError in a step, or what stops the run."""
        self.parking.check()
        scope = current_scope.get()
        if scope is None or scope.durable is not self:
            scope = self.root
        if scope.step:
            raise StateError(
                f"{call}: not in the function of step.run({scope.step!r}, …), which is not called "
                "again in a replay. Make the call outside of the step: it is recorded by itself."
            )
        return scope

    def begin(self, call: str, path: str = "", *, answered: bool = False) -> tuple[str, Scope]:
        """Return the position of a durable call, the next unless given, and who makes it.

        *answered*: it is a step whose result an earlier try or attempt has left.

        Raises ReplayMismatchError, or what stops the run.
        """
        scope = self.scope_of(call)
        path = path or scope.next_path()
        before = self.record.calls.get(path) if self.record is not None else None
        if before is None:
            self._beyond = self._beyond or not answered
        else:
            asked = before.partition("\x1f")[0]
            if asked != call:
                raise mismatch(self.run_id, path, asked, call)
            self._seen += 1
        return path, scope

    def step_name(self, name: str) -> str:
        """Return the name under which the next step called *name* is kept: counted per task.

        In the tries of a call they have the same names: what succeeded in one is kept for the next.
        """
        scope = current_scope.get()
        path = scope.path if scope is not None and scope.durable is self else ""
        number = self._steps[f"{path}{name}"] = self._steps.get(f"{path}{name}", 0) + 1
        return f"{_TRY('', path) if '~' in path else path}{name}#{number}"

    def skip(self, start: str) -> None:
        """What was called at positions that begin so is not called again in this replay."""
        if self.record is not None:
            self._seen += sum(path.startswith(start) for path in self.record.calls)

    def knows(self, path: str) -> bool:
        """Whether the call at *path* was made before."""
        return self.record is not None and path in self.record.calls

    def is_last_known(self, path: str) -> bool:
        """Whether a replay comes with the call at *path* to where the run waited."""
        return self.knows(path) and not self.replaying

    def id_of(self, kind: str, path: str) -> str:
        """Return the id of what the call at *path* makes: the same in every replay."""
        return derived_id(kind, self.run_id, f"{self.attempt}:{path}")

    def origin(self, path: str = "", call: str = "", batch: str = "") -> Origin:
        """Return the links of runs that are made at *path*."""
        return Origin(self.run_id, self._links, path, call, batch)


def current_durable() -> Durable | None:
    """Return the durable side of the run that this code belongs to, or None outside of one."""
    scope = current_scope.get()
    return None if scope is None else scope.durable


def require_run(what: str) -> Durable:
    """Return the durable side of the current run. Raises OutsideRunError."""
    durable = current_durable()
    if durable is None:
        raise OutsideRunError(
            f"{what} can only be called in a task's run. Outside of one, for example in a web "
            "view, trigger the task and use runs.poll or runs.subscribe_to_run."
        )
    return durable


def mismatch(run_id: str, path: str, before: str, now: str) -> ReplayMismatchError:
    """Return the error of a run that asks for something else than before."""
    return ReplayMismatchError(
        f"run {run_id} is executed again after a wait, and its durable call {path} differs:\n"
        f"  before: {before}\n  now:    {now}\n"
        "Up to its last wait a task must make the same calls in the same order. Put what depends "
        "on time, chance or the outside world into step.run(name, fn), or deploy changed code "
        "under a new task id."
    )


def durable_wait(
    durable: Durable,
    scope_name: str,
    position: tuple[str, Scope],
    call: str,
    target: str,
    info: WaitInfo,
    prepare: list[Call] | None = None,
    sent: Sent | None = None,
) -> Flow[None]:
    """Wait for *target* in a run. *prepare* is sent in the same round trip, and emptied by it.

    *sent*: the span of what is sent, if telemetry is on.
    """
    path, scope = position
    if durable.metadata is not None:
        # What a run changed before it waits is not changed again by a replay: it has to be stored.
        yield from durable.metadata.flush()
    for pipe in durable.pipes or ():
        yield from pipe.before_wait()
    parking = durable.parking
    ticket = parking.begin(target, scope, info)
    try:
        wait_for = waiting.wait_for(
            scope_name, durable.run_id, durable.epoch, path, call, target, parking.post, ticket.park
        )
        answer: waiting.Answer = (yield [*(prepare or ()), wait_for])[-1]
    except BaseException as problem:
        if sent is not None:
            sent.end(problem)
        yield Perform(ticket.abandon, ticket.abandon_sync)
        raise
    if sent is not None:
        sent.end()
    if answer.word not in ("waiting", "parked"):
        ticket.drop()
        raise_refusal(durable, answer, path, call, target)
        if durable.telemetry is not None and durable.is_last_known(path):
            durable.telemetry.resumed(info.type, target)
        return
    # A run may wait for days: what was sent, such as the payloads of a batch, goes.
    del wait_for, answer
    if prepare:
        prepare.clear()
    if durable.telemetry is None:
        yield Perform(ticket.wait, ticket.wait_sync)
    else:
        yield from durable.telemetry.wait(info.type, target, Perform(ticket.wait, ticket.wait_sync))


def raise_refusal(
    durable: Durable, answer: waiting.Answer, path: str, call: str, target: str
) -> None:
    """Raise the error of an answer that refuses the call."""
    if answer.word == "stale":
        durable.parking.check()
        raise RunLeaseLostError(f"run {durable.run_id} belongs to another worker now")
    if answer.word == "mismatch":
        raise mismatch(durable.run_id, path, answer.more[0].partition("\x1f")[0], call)
    if answer.word == "cycle":
        chain = " <- ".join(answer.more[0].split())
        raise WaitCycleError(
            f"run {durable.run_id} would wait for itself"
            if target == durable.run_id
            else f"run {durable.run_id} would wait for {target}, which waits for it: {chain}"
        )
    if answer.word == "unknown" and is_token_id(target):
        raise no_token(target)
    if answer.word == "unknown":
        raise StateError(f"there is no {target} to wait for")
    if answer.word == "full":
        raise TooManyCallsError(
            f"run {durable.run_id} makes more than 10,000 durable calls in one attempt: split it "
            "into child runs"
        )


def task_factory(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    *,
    context: Context | None = None,
    **options: Any,
) -> asyncio.Future[Any]:
    """Make asyncio tasks that know which task of which run made them."""
    inner = copy_context() if context is None else context
    scope = inner.get(current_scope)
    if scope is None:
        return asyncio.Task(coroutine, loop=loop, context=context, **options)
    child = scope.begin_task(getattr(coroutine, "__name__", "task"))
    inner.run(current_scope.set, child)
    task = asyncio.Task(coroutine, loop=loop, context=inner, **options)
    scope.durable.add(task, child)
    return task
