"""`@task` and `@schema_task`: a function becomes a task, triggering it makes a run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.context import Context
from trigger_celery.bridge.hooks import Hook
from trigger_celery.bridge.registry import (
    REGISTRY,
    Queue,
    TaskDefinition,
)
from trigger_celery.bridge.result import AsyncResult
from trigger_celery.bridge.schema import Schema
from trigger_celery.bridge.signal import RunSignal
from trigger_celery.errors import DefinitionError, UnknownTaskOptionError, closest
from trigger_celery.model import task_options as check
from trigger_celery.model.retry import Retry
from trigger_celery.sdk import batching, triggering
from trigger_celery.sdk.batch_items import BatchItem, batch_items
from trigger_celery.sdk.declaring import Declared, declared, refuse_unknown, require_id
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.results import BatchResult, ResultOp, TaskResult
from trigger_celery.store.op import Op

PayloadT = TypeVar("PayloadT")
OutputT = TypeVar("OutputT")
ValueT = TypeVar("ValueT")
PayloadT_contra = TypeVar("PayloadT_contra", contravariant=True)
OutputT_co = TypeVar("OutputT_co", covariant=True)

MIN_DURATION = 5.0
_NOTHING: Any = None


class Task(Generic[PayloadT, OutputT]):
    """A task: trigger it, or call `run` to execute its function here and now.

    `OutputT` is what calling the function gives: for an async function an awaitable.
    """

    def __init__(self, definition: TaskDefinition) -> None:
        self._definition = definition
        self.__name__ = definition.function.__name__
        self.__qualname__ = definition.function.__qualname__
        self.__module__ = definition.function.__module__
        self.__doc__ = definition.function.__doc__
        self.__wrapped__ = definition.function

    @property
    def definition(self) -> TaskDefinition:
        """All that was declared of the task."""
        return self._definition

    @property
    def id(self) -> str:
        """The task's id."""
        return self._definition.id

    @property
    def description(self) -> str | None:
        """The description given, or the first line of the docstring."""
        return self._definition.description

    @property
    def queue(self) -> Queue:
        """The queue its runs go to unless the trigger names another."""
        queue = self._definition.queue
        return REGISTRY.queues.get(queue.name, queue)

    def run(self, payload: PayloadT = _NOTHING) -> OutputT:
        """Call the function directly, without a run: for tests.

        A payload with a schema is validated as in a run. No retries, no store, `ctx` is None.
        """
        return cast("OutputT", self._definition.call_directly(payload))

    __call__ = run

    def trigger(self, payload: PayloadT = _NOTHING, /, **options: Any) -> Op[RunHandle]:
        """Make a run of this task with *payload*.

        The payload is validated and encoded before the operation is returned, so bad input
        raises here. Running the operation again would need a new call: each makes one run.

        Args:
            payload: anything serialisable, at most 10 MB encoded.
            options: `delay` (duration such as "2h30m", seconds, or a datetime), `priority`
                (seconds of head start), `queue` (name), `concurrency_key`, `max_attempts`,
                `tags` (up to 10), `metadata` (dict, up to 256 KB), `max_duration` (active time of
                an attempt, at least 5 seconds).
        """
        return triggering.trigger(self._definition, self._definition.id, payload, options)

    @overload
    def trigger_and_wait(
        self: Task[PayloadT, Coroutine[Any, Any, ValueT]],
        payload: PayloadT = ...,
        /,
        **options: Any,
    ) -> ResultOp[TaskResult[ValueT], ValueT]: ...
    @overload
    def trigger_and_wait(
        self: Task[PayloadT, ValueT], payload: PayloadT = ..., /, **options: Any
    ) -> ResultOp[TaskResult[ValueT], ValueT]: ...
    def trigger_and_wait(
        self, payload: Any = None, /, **options: Any
    ) -> ResultOp[TaskResult[Any], Any]:
        """Make a child run and wait until it is final. Only in a run, whose slot is free meanwhile.

        The result tells whether the child completed; `.unwrap()` on the operation gives its output
        or raises SubtaskUnwrapError. Options are those of `trigger`. Raises OutsideRunError.
        """
        return triggering.trigger_and_wait(self._definition, self._definition.id, payload, options)

    def batch_trigger(self, items: Iterable[BatchItem | Mapping[str, Any]], /) -> Op[BatchHandle]:
        """Make a run for each item, in one pipeline: up to 1,000 items.

        An item is `{"payload": …, "options": {…}}` or a `BatchItem`. One bad item refuses the
        whole batch before anything is stored.
        """
        return batching.batch_trigger(self._targets(items), "batch_trigger", strict=True)

    @overload
    def batch_trigger_and_wait(
        self: Task[PayloadT, Coroutine[Any, Any, ValueT]],
        items: Iterable[BatchItem | Mapping[str, Any]],
        /,
    ) -> ResultOp[BatchResult[ValueT], list[ValueT]]: ...
    @overload
    def batch_trigger_and_wait(
        self: Task[PayloadT, ValueT], items: Iterable[BatchItem | Mapping[str, Any]], /
    ) -> ResultOp[BatchResult[ValueT], list[ValueT]]: ...
    def batch_trigger_and_wait(
        self, items: Iterable[BatchItem | Mapping[str, Any]], /
    ) -> ResultOp[BatchResult[Any], list[Any]]:
        """Make a child run for each item and wait until all are final. Only in a run.

        Results come in the order of the items; a run that fails fails nothing else, and so it is
        with an item whose payload is too large. Raises OutsideRunError.
        """
        return batching.batch_trigger_and_wait(self._targets(items), "batch_trigger_and_wait")

    def _targets(self, items: Iterable[Any]) -> list[tuple[batching.Target, BatchItem]]:
        target = (self._definition, self._definition.id)
        return [(target, item) for item in batch_items(items)]

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Make a run as Celery's `delay` does: blocks, returns an AsyncResult with the run's id."""
        result: AsyncResult[Any] = self._celery_task().delay(*args, **kwargs)
        return result

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
        """Make a run as Celery's `apply_async` does; takes countdown, eta and trigger options."""
        result: AsyncResult[Any] = self._celery_task().apply_async(args, kwargs, **options)
        return result

    def _celery_task(self) -> Any:
        return context.current().app.tasks[self._definition.id]

    def __getattr__(self, name: str) -> Any:
        if name in ("s", "si", "signature", "subtask", "chunks", "map", "starmap"):
            raise AttributeError(
                f"task {self._definition.id!r} has no .{name}(): signatures, chains, groups and "
                "chords of @task functions are not supported. Trigger it from the code that "
                "would have built the chain, or use batch_trigger for a group."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<Task {self._definition.id!r} at {self._definition.place}>"


class _TakesPayloadAndMore(Protocol[PayloadT_contra, OutputT_co]):
    def __call__(
        self, payload: PayloadT_contra, /, *, ctx: Context, signal: RunSignal
    ) -> OutputT_co: ...


class _TakesPayloadAndCtx(Protocol[PayloadT_contra, OutputT_co]):
    def __call__(self, payload: PayloadT_contra, /, *, ctx: Context) -> OutputT_co: ...


class _TakesPayloadAndSignal(Protocol[PayloadT_contra, OutputT_co]):
    def __call__(self, payload: PayloadT_contra, /, *, signal: RunSignal) -> OutputT_co: ...


class _TakesMore(Protocol[OutputT_co]):
    def __call__(self, *, ctx: Context, signal: RunSignal) -> OutputT_co: ...


class _TakesCtx(Protocol[OutputT_co]):
    def __call__(self, *, ctx: Context) -> OutputT_co: ...


class _TakesSignal(Protocol[OutputT_co]):
    def __call__(self, *, signal: RunSignal) -> OutputT_co: ...


class TaskDecorator(Protocol):
    """What `task(…)` returns: keeps the function's payload and return types."""

    @overload
    def __call__(
        self, function: _TakesPayloadAndMore[PayloadT, OutputT], /
    ) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndCtx[PayloadT, OutputT], /
    ) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndSignal[PayloadT, OutputT], /
    ) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(self, function: _TakesMore[OutputT], /) -> Task[None, OutputT]: ...
    @overload
    def __call__(self, function: _TakesCtx[OutputT], /) -> Task[None, OutputT]: ...
    @overload
    def __call__(self, function: _TakesSignal[OutputT], /) -> Task[None, OutputT]: ...
    @overload
    def __call__(self, function: Callable[[PayloadT], OutputT], /) -> Task[PayloadT, OutputT]: ...
    @overload
    def __call__(self, function: Callable[[], OutputT], /) -> Task[None, OutputT]: ...


class SchemaTaskDecorator(Protocol):
    """What `schema_task(…)` returns: a trigger takes what the schema turns into the payload."""

    @overload
    def __call__(
        self, function: _TakesPayloadAndMore[PayloadT, OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndCtx[PayloadT, OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
    @overload
    def __call__(
        self, function: _TakesPayloadAndSignal[PayloadT, OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...
    @overload
    def __call__(
        self, function: Callable[[PayloadT], OutputT], /
    ) -> Task[PayloadT | Mapping[str, Any], OutputT]: ...


def task(
    function: None = None,
    /,
    *,
    id: str = "",
    retry: Retry | Mapping[str, Any] | None = None,
    queue: Queue | Mapping[str, Any] | str | None = None,
    max_duration: float | str | None = None,
    description: str | None = None,
    worker_queue: str | None = None,
    on_wait: Hook | None = None,
    on_resume: Hook | None = None,
    on_cancel: Hook | None = None,
    **unknown: Any,
) -> TaskDecorator:
    """Declare a task. Works before and after a Celery app is bound.

    Args:
        function: nothing; there to say what is missing when `@task` stands without an id.
        id: unique in the project: 1 to 128 of letters, digits and `._/-`.
        retry: policy as `Retry(...)` or a mapping of its fields. None: that of the settings
            (`default_retry`), which by default retries nothing.
        queue: a `queue(...)`; the name of one that is declared elsewhere, before or after; or
            `{"concurrency_limit": n}` for the task's own queue, which is called `task/<id>`.
        max_duration: seconds (or a duration) of active time an attempt may take, at least 5.
        description: a sentence for people; by default the docstring's first line.
        worker_queue: the Celery queue whose workers execute it; by default that of
            `task_routes`.
        on_wait: called before a run of the task waits, with what it asks for by name: `payload`,
            `ctx`, `task`, `wait`; not for waits of up to 5 seconds.
        on_resume: called after it waited, with the same.
        on_cancel: called when an executing run is cancelled; may ask for `signal`; 30 seconds.
        unknown: refused, with the closest option.

    Raises:
        DefinitionError: for anything that does not fit, at import.
        DuplicateTaskIdError: when another function has the id.
    """
    require_id(function, "task", id)
    refuse_unknown(unknown, "task", id)
    checked = declared(
        id,
        retry=retry,
        queue=queue,
        max_duration=max_duration,
        description=description,
        worker_queue=worker_queue,
        schema=None,
        hooks={"on_wait": on_wait, "on_resume": on_resume, "on_cancel": on_cancel},
    )
    return cast("TaskDecorator", _decorator(checked))


def schema_task(
    function: None = None,
    /,
    *,
    id: str = "",
    schema: Any = None,
    retry: Retry | Mapping[str, Any] | None = None,
    queue: Queue | Mapping[str, Any] | str | None = None,
    max_duration: float | str | None = None,
    description: str | None = None,
    worker_queue: str | None = None,
    on_wait: Hook | None = None,
    on_resume: Hook | None = None,
    on_cancel: Hook | None = None,
    **unknown: Any,
) -> SchemaTaskDecorator:
    """Declare a task whose payload is validated: when triggered, and again in the worker.

    *schema* is a pydantic model, a TypeAdapter, a dataclass, a TypedDict or a function. The
    task's function gets the validated value. The other arguments are those of `task`.
    """
    require_id(function, "schema_task", id)
    refuse_unknown(unknown, "schema_task", id)
    if schema is None:
        raise DefinitionError(f"schema_task(id={id!r}) needs a schema: schema=MyPydanticModel")
    checked = declared(
        id,
        retry=retry,
        queue=queue,
        max_duration=max_duration,
        description=description,
        worker_queue=worker_queue,
        schema=Schema(schema, f"schema_task(id={id!r})"),
        hooks={"on_wait": on_wait, "on_resume": on_resume, "on_cancel": on_cancel},
    )
    return cast("SchemaTaskDecorator", _decorator(checked))


def queue(*, name: str, concurrency_limit: int | None = None, **unknown: Any) -> Queue:
    """Declare a queue that tasks share. Declare it once and import it.

    At most *concurrency_limit* of its runs execute at once, over all workers; None is no limit,
    0 starts nothing. With concurrency keys, each key has the whole limit to itself.
    """
    if unknown:
        word = next(iter(unknown))
        raise UnknownTaskOptionError(
            f"queue() has no option {word!r}.{closest(word, ['name', 'concurrency_limit'])} "
            "Options: name, concurrency_limit."
        )
    limit = check.check_concurrency_limit(concurrency_limit)
    return REGISTRY.add_queue(Queue(check.check_queue_name(name), limit))


def _decorator(checked: Declared) -> Callable[[Any], Task[Any, Any]]:
    def decorate(function: Any) -> Task[Any, Any]:
        definition = checked.define(function)
        REGISTRY.add_task(definition)
        return Task(definition)

    return decorate
