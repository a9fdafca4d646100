"""Durable calls of a run: their positions, their record, and what else a replay does not repeat.

A durable call (a wait, a child run, a token, a step) has an id made from its run, its attempt and
its position. So when a run is executed again from the top as the same attempt, each call finds
what it did before. Positions are counted per asyncio task, and tasks per function in the task
that made them: `asyncio.gather` gives the same positions whatever ends first.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from trigger_celery.bridge.awaiting import only_waits_for
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.parking import NO_PARKING, Parking
from trigger_celery.engine.keys import MAX_CALLS
from trigger_celery.engine.triggering import Origin
from trigger_celery.engine.waiting import Record, Rest, home_of
from trigger_celery.errors import (
    OutsideRunError,
    ReplayMismatchError,
    RunLeaseLostError,
    StateError,
)
from trigger_celery.model.ids import derived_id, derived_uuid
from trigger_celery.store.op import Flow

if TYPE_CHECKING:
    from trigger_celery.bridge.live_metadata import LiveMetadata
    from trigger_celery.bridge.piping import Outbox
    from trigger_celery.telemetry.recorder import Telemetry


Work = asyncio.Future[Any] | concurrent.futures.Future[Any]

_TRY = re.compile(r"~\d+").sub
"""Takes the numbers of tries out of a position; see `tries.py`."""


class Scope:
    """Counts the durable calls of one asyncio task of a run, and the tasks it makes."""

    __slots__ = (
        "_calls", "_ids", "_path", "_tasks", "beside", "beyond", "done", "durable", "home", "last",
        "said", "seen", "step", "task", "waits",
    )  # fmt: skip

    def __init__(self, durable: Durable, path: str = "", parent: Scope | None = None) -> None:
        self.durable = durable
        self.home = path
        """What the positions of this task begin with: empty for the first."""
        self.seen = 0
        """Calls made now that were made before the memory was lost."""
        self.beyond = False
        """A call was made that was not made before."""
        self.last = ""
        """The position of its last call."""
        self.said = self.done = 0
        """Lines said, and other side effects, since that call."""
        self.task: asyncio.Task[Any] | None = None
        self.step: str = parent.step if parent is not None else ""
        """The step whose function is being called."""
        self.beside: bool = parent is not None and parent.beside
        """It is work that goes on beside a sync function: it cannot wait durably."""
        self.waits = 0
        self._path = path
        self._calls = self._ids = 0
        self._tasks: dict[str, int] | None = None

    @property
    def path(self) -> str:
        """What the next positions begin with: those of the task, or of a try in it."""
        return self._path

    def next_path(self) -> str:
        """Return the position of the next durable call."""
        self._calls += 1
        return f"{self._path}{self._calls}"

    def next_id(self) -> str:
        """Return what names the next of the ids that are made here without a call of their own."""
        self._ids += 1
        return f"{self._path}id{self._ids}"

    def note(self, path: str) -> None:
        """It makes the durable call at *path*: side effects are counted from here."""
        self.last, self.said, self.done = path, 0, 0

    @property
    def rest(self) -> Rest | None:
        """Its side effects since its last call, if there are any."""
        return Rest(self.last, self.said, self.done) if self.said or self.done else None

    @property
    def has_called(self) -> bool:
        """Whether it has made durable calls, or tasks that may have."""
        return self._calls > 0 or self._tasks is not None

    @contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Meanwhile count durable calls and tasks under *path*, from the first."""
        before = self._path, self._calls, self._tasks, self._ids
        self._path, self._calls, self._tasks, self._ids = path, 0, None, 0
        try:
            yield
        finally:
            self._path, self._calls, self._tasks, self._ids = before

    def begin_task(self, name: str) -> Scope:
        """Return the scope of a task made here. Counted by name: tasks of libraries do not shift ours."""
        if self._tasks is None:
            self._tasks = {}
        number = self._tasks[name] = self._tasks.get(name, 0) + 1
        return Scope(self.durable, f"{self._path}{name}:{number}/", self)


class Durable:
    """The durable side of one attempt."""

    __slots__ = (
        "_links", "_noted", "_rests", "_seen", "_steps", "_tasks", "attempt", "epoch", "metadata", "parking",
        "pipes", "record", "root", "run_id", "telemetry", "test",
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
        self._tasks: dict[Work, Scope] | None = None  # most runs have one task
        self._links = links
        self._rests: dict[str, Rest] | None = None  # of tasks that are over
        self._noted: dict[str, Rest] | None = None
        self._seen = 0  # by all tasks
        self._steps: dict[str, int] = {}

    @property
    def has_calls_ahead(self) -> bool:
        """Whether the attempt is executed again, and made calls before that it has not made yet."""
        return self.record is not None and self._seen < len(self.record.calls)

    @property
    def replaying(self) -> bool:
        """Whether the current task of the run is still before its last durable call of before."""
        return self.record is not None and self._is_behind(self._current())

    def _current(self) -> Scope:
        scope = current_scope.get()
        return self.root if scope is None or scope.durable is not self else scope

    def _is_behind(self, scope: Scope) -> bool:
        record = self.record
        if record is None or scope.beyond or not record.calls:
            return False
        return scope.seen < record.calls_of(scope.home)

    def had_before(self, *, said: bool = False) -> bool:
        """Count a side effect of the current task; whether it was had before the memory was lost.

        Everything before the task's last durable call was. What follows that call was if the call
        was answered and the task then did not wait: as much of it as the store was told when the
        run parked. *said*: a log line, counted apart, as libraries do not always say the same.
        """
        scope = current_scope.get()
        if scope is None or scope.durable is not self:  # hooks, which have no place in the record
            return self.record is not None and self._is_behind(self.root)
        if self._is_behind(scope):
            return True
        if scope.step:
            return False
        if said:
            scope.said += 1
        else:
            scope.done += 1
        before = self.record.rests.get(scope.home) if self.record is not None else None
        if before is None or before.last != scope.last:
            return False
        return scope.said <= before.said if said else scope.done <= before.done

    def rests(self) -> dict[str, Rest]:
        """Return what the store does not know of: effects of tasks that do not wait themselves."""
        if self._tasks is None:
            return {}
        found = dict(self._rests or ())
        for scope in (self.root, *list(self._tasks.values())):
            rest = None if scope.waits or self._is_behind(scope) else scope.rest
            if rest is not None and (self._noted or {}).get(scope.home) != rest:
                found[scope.home] = rest
        return found

    def noted(self, rests: dict[str, Rest]) -> None:
        """The store knows of these."""
        if not rests:
            return
        self._noted = self._noted or {}
        self._noted.update(rests)
        for home in rests:
            (self._rests or {}).pop(home, None)

    def store_effects(self) -> Flow[None]:
        """Store what a replay will not do again, because it came before a wait."""
        if self.metadata is not None:
            yield from self.metadata.flush()
        for pipe in self.pipes or ():
            yield from pipe.before_wait()

    def only_waits(self) -> bool:
        """Whether every task of the run waits: for what it asked, or for other tasks of the run."""
        tasks = self._tasks
        if tasks is not None and not all(map(self._waits, list(tasks.values()))):
            return False
        return self._waits(self.root)

    def _waits(self, scope: Scope) -> bool:
        if scope.waits:
            return True
        return scope.task is not None and only_waits_for(scope.task, self._is_own)

    def _is_own(self, task: asyncio.Future[Any]) -> bool:
        return self._tasks is not None and task in self._tasks

    def add(self, task: Work, scope: Scope) -> None:
        """The run has another task, or other work that has to end before it only waits."""
        if self._tasks is None:
            self._tasks = {}
        scope.task = task if isinstance(task, asyncio.Task) else None
        self._tasks[task] = scope
        task.add_done_callback(self._discard)

    def _discard(self, task: Work) -> None:
        """A task of the run is over; the run may have nothing left to do but wait."""
        scope = self._tasks.pop(task, None) if self._tasks is not None else None
        rest = None if scope is None or self._is_behind(scope) else scope.rest
        if scope is not None and rest is not None:
            if self._rests is None:
                self._rests = {}
            if len(self._rests) < MAX_CALLS:
                self._rests[scope.home] = rest
        if self.parking.stopped is not None and not task.cancelled():
            task.exception()  # looked at: else asyncio logs it, in whatever run executes then
        self.parking.reconsider()

    def close(self) -> None:
        """The attempt is over: tasks of it that still wait end, and what it calls later is refused."""
        self.parking.close(RunLeaseLostError(f"attempt {self.attempt} of {self.run_id} is over"))
        if self.metadata is not None:
            self.metadata.close()
        for pipe in self.pipes or ():
            pipe.stop()
        for scope in list((self._tasks or {}).values()):
            if scope.waits and scope.task is not None:
                scope.task.cancel()

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
            scope.beyond = scope.beyond or not answered
        else:
            asked = before.partition("\x1f")[0]
            if asked != call:
                raise mismatch(self.run_id, path, asked, call)
            scope.seen += 1
            self._seen += 1
        scope.note(path)
        return path, scope

    def step_name(self, name: str) -> str:
        """Return the name under which the next step called *name* is kept: counted per task.

        In the tries of a call they have the same names: what succeeded in one is kept for the next.
        """
        scope = current_scope.get()
        path = scope.path if scope is not None and scope.durable is self else ""
        number = self._steps[f"{path}{name}"] = self._steps.get(f"{path}{name}", 0) + 1
        return f"{_TRY('', path) if '~' in path else path}{name}#{number}"

    def skip(self, start: str, scope: Scope) -> None:
        """What was called at positions that begin so is not called again in this replay."""
        if self.record is not None:
            skipped = [path for path in self.record.calls if path.startswith(start)]
            self._seen += len(skipped)
            scope.seen += sum(home_of(path) == scope.home for path in skipped)

    def knows(self, path: str) -> bool:
        """Whether the call at *path* was made before."""
        return self.record is not None and path in self.record.calls

    def found_at(self, path: str) -> str:
        """Return the id that the call at *path* found instead of making something, if it did."""
        return self.record.calls.get(path, "").partition("\x1f")[2] if self.record else ""

    def is_last_known(self, path: str, scope: Scope) -> bool:
        """Whether a replay comes with the call at *path* to where its task waited."""
        return self.knows(path) and not self._is_behind(scope)

    def id_of(self, kind: str, path: str) -> str:
        """Return the id of what the call at *path* makes: the same in every replay."""
        return derived_id(kind, self.run_id, f"{self.attempt}:{path}")

    def task_id_of(self, path: str) -> str:
        """Return Celery's id for what is sent at *path*: the same in every replay."""
        return derived_uuid(self.run_id, f"{self.attempt}:{path}")

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
