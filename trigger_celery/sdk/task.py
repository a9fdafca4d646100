"""`@task` and `@schema_task`: a function becomes a task, triggering it makes a run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, TypeVar, Unpack, cast, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.hooks import TaskHooks
from trigger_celery.bridge.queue_option import make_queue, unknown_option
from trigger_celery.bridge.registry import (
    REGISTRY,
    Queue,
    TaskDefinition,
)
from trigger_celery.bridge.result import AsyncResult
from trigger_celery.bridge.schema import Schema
from trigger_celery.errors import DefinitionError, UnknownTaskOptionError
from trigger_celery.model.machine import Machine
from trigger_celery.model.retry import Retry
from trigger_celery.sdk import batching, triggering
from trigger_celery.sdk.batch_items import BatchItem, batch_items
from trigger_celery.sdk.declaring import Declared, declared, refuse_unknown, require_id
from trigger_celery.sdk.decorators import SchemaTaskDecorator, TaskDecorator
from trigger_celery.sdk.handle import BatchHandle, RunHandle
from trigger_celery.sdk.results import BatchResult, ResultOp, TaskResult
from trigger_celery.store.op import Op

PayloadT = TypeVar("PayloadT")
OutputT = TypeVar("OutputT")
ValueT = TypeVar("ValueT")

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
                an attempt, at least 5 seconds), `ttl` (how long it may wait to be begun, "10m" or
                whole seconds, 0 for ever), `idempotency_key` (text, a list, or one made by
                `idempotency_keys.create`) and `idempotency_key_ttl` (default 30 days), `debounce`
                ({"key", "delay", "mode", "max_delay"}), `machine` (preset), `version`, `test`.

        With an idempotency or debounce key the handle may be that of a run which is there already:
        `is_cached` tells.
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

    def batch_trigger(
        self,
        items: Iterable[BatchItem | Mapping[str, Any]],
        /,
        *,
        idempotency_key: batching.Keys | None = None,
        idempotency_key_ttl: batching.TimeToLive | None = None,
    ) -> Op[BatchHandle]:
        """Make a run for each item, in one pipeline: up to 1,000 items.

        An item is `{"payload": …, "options": {…}}` or a `BatchItem`. One bad item refuses the
        whole batch before anything is stored. With an *idempotency_key* the same call again
        returns the same batch, `is_cached`; see `batch.trigger`.
        """
        return batching.batch_trigger(
            self._targets(items),
            "batch_trigger",
            idempotency_key,
            idempotency_key_ttl,
            strict=True,
        )

    @overload
    def batch_trigger_and_wait(
        self: Task[PayloadT, Coroutine[Any, Any, ValueT]],
        items: Iterable[BatchItem | Mapping[str, Any]],
        /,
        *,
        idempotency_key: batching.Keys | None = None,
        idempotency_key_ttl: batching.TimeToLive | None = None,
    ) -> ResultOp[BatchResult[ValueT], list[ValueT]]: ...
    @overload
    def batch_trigger_and_wait(
        self: Task[PayloadT, ValueT],
        items: Iterable[BatchItem | Mapping[str, Any]],
        /,
        *,
        idempotency_key: batching.Keys | None = None,
        idempotency_key_ttl: batching.TimeToLive | None = None,
    ) -> ResultOp[BatchResult[ValueT], list[ValueT]]: ...
    def batch_trigger_and_wait(
        self,
        items: Iterable[BatchItem | Mapping[str, Any]],
        /,
        *,
        idempotency_key: batching.Keys | None = None,
        idempotency_key_ttl: batching.TimeToLive | None = None,
    ) -> ResultOp[BatchResult[Any], list[Any]]:
        """Make a child run for each item and wait until all are final. Only in a run.

        Results come in the order of the items; a run that fails fails nothing else, and so it is
        with an item whose payload is too large. It waits for the batch that has the
        *idempotency_key* already, if there is one. Raises OutsideRunError.
        """
        return batching.batch_trigger_and_wait(
            self._targets(items), "batch_trigger_and_wait", idempotency_key, idempotency_key_ttl
        )

    def _targets(self, items: Iterable[Any]) -> list[tuple[batching.Target, BatchItem]]:
        target = (self._definition, self._definition.id)
        return [(target, item) for item in batch_items(items)]

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Make a run as Celery's `delay` does: blocks, returns an AsyncResult with the run's id."""
        result: AsyncResult[Any] = self._celery_task().delay(*args, **kwargs)
        return result

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
        """Make a run as Celery's `apply_async` does; takes its options and those of a trigger."""
        result: AsyncResult[Any] = self._celery_task().apply_async(args, kwargs, **options)
        return result

    def _celery_task(self) -> Any:
        return context.current().app.tasks[self._definition.id]

    def s(self, *args: Any, **kwargs: Any) -> Any:
        """Return Celery's signature of a call with this payload, for chains, groups and chords."""
        return self._celery_task().s(*args, **kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Any:
        """Return Celery's immutable signature: in a chain it does not get the result before it."""
        return self._celery_task().si(*args, **kwargs)

    def signature(self, args: Any = None, *more: Any, **options: Any) -> Any:
        """Return Celery's signature, with the options of `apply_async`."""
        return self._celery_task().signature(args, *more, **options)

    subtask = signature

    def map(self, it: Iterable[Any]) -> Any:
        """Return a group with one run an item. Its result is the list of their outputs."""
        return self._celery_task().map(it)

    def starmap(self, it: Iterable[Any]) -> Any:
        """Return a group with one run an item, which is `(payload,)`."""
        return self._celery_task().starmap(it)

    def chunks(self, it: Iterable[Any], n: int) -> Any:
        """Return a group with a group for every *n* items, each `(payload,)`."""
        return self._celery_task().chunks(it, n)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Execute the function here and now, as Celery's `apply` does; returns an EagerResult."""
        return self._celery_task().apply(args, kwargs, **options)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:  # noqa: N802 - Celery's name
        """Return Celery's result of a run, by the id that `delay` or `trigger` gave."""
        return self._celery_task().AsyncResult(task_id, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self._definition.id!r} at {self._definition.place}>"


def task(
    function: None = None,
    /,
    *,
    id: str = "",
    retry: Retry | Mapping[str, Any] | None = None,
    queue: Queue | Mapping[str, Any] | str | None = None,
    max_duration: float | str | None = None,
    ttl: int | str | None = None,
    machine: Machine | Mapping[str, Machine] | None = None,
    description: str | None = None,
    worker_queue: str | None = None,
    **hooks: Unpack[TaskHooks],
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
        ttl: how long a run may wait to be begun, as "10m" or seconds; then it is EXPIRED. 0: for
            ever, whatever the settings say.
        machine: the preset of its runs, such as "large-1x".
        description: a sentence for people; by default the docstring's first line.
        worker_queue: the Celery queue whose workers execute it; by default that of
            `task_routes`.
        hooks: functions that are called at points of a run's life, with what they ask for by
            name: `init`, `middleware`, `on_start`, `on_start_attempt`, `on_wait`, `on_resume`,
            `on_success`, `on_failure`, `on_complete`, `on_cancel`, `catch_error`, `cleanup`.
            Any other option is refused, with the closest.

    Raises:
        DefinitionError: for anything that does not fit, at import.
        DuplicateTaskIdError: when another function has the id.
    """
    require_id(function, "task", id)
    refuse_unknown(hooks, "task", id)
    checked = declared(
        id,
        retry=retry,
        queue=queue,
        max_duration=max_duration,
        ttl=ttl,
        machine=machine,
        description=description,
        worker_queue=worker_queue,
        schema=None,
        hooks=hooks,
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
    ttl: int | str | None = None,
    machine: Machine | Mapping[str, Machine] | None = None,
    description: str | None = None,
    worker_queue: str | None = None,
    **hooks: Unpack[TaskHooks],
) -> SchemaTaskDecorator:
    """Declare a task whose payload is validated: when triggered, and again in the worker.

    *schema* is a pydantic model, a TypeAdapter, a dataclass, a TypedDict or a function. The
    task's function gets the validated value. The other arguments are those of `task`.
    """
    require_id(function, "schema_task", id)
    refuse_unknown(hooks, "schema_task", id)
    if schema is None:
        raise DefinitionError(f"schema_task(id={id!r}) needs a schema: schema=MyPydanticModel")
    checked = declared(
        id,
        retry=retry,
        queue=queue,
        max_duration=max_duration,
        ttl=ttl,
        machine=machine,
        description=description,
        worker_queue=worker_queue,
        schema=Schema(schema, f"schema_task(id={id!r})"),
        hooks=hooks,
    )
    return cast("SchemaTaskDecorator", _decorator(checked))


def queue(
    *,
    name: str,
    concurrency_limit: int | None = None,
    total_concurrency_limit: int | None = None,
    rate_limit: str | float | None = None,
    rate_limit_per_key: str | float | None = None,
    size_limit: int | None = None,
    **unknown: Any,
) -> Queue:
    """Declare a queue that tasks share. Declare it once and import it.

    All bounds hold over all workers together, and the last worker that starts counts.

    Args:
        name: 1 to 128 of letters, digits and `._/-`.
        concurrency_limit: the most of its runs that execute at once; None is no limit, 0 starts
            nothing. With concurrency keys, each key has the whole limit to itself.
        total_concurrency_limit: the most over all keys together.
        rate_limit: how many may start in a time: `"100/m"`, with s, m, h or d; a number is per
            second. Up to 50 a second the starts are spread evenly. Retries of 30 seconds and more,
            and runs that are executed again after a wait, count as starts.
        rate_limit_per_key: the same for each concurrency key.
        size_limit: the most that wait in it, all keys together; a trigger beyond raises
            QueueFullError. None is the setting `queue_size_limit`.
        unknown: refused, with the closest option.

    Raises InvalidQueueError, UnknownTaskOptionError.
    """
    for word in unknown:
        raise UnknownTaskOptionError(f"queue() has {unknown_option(word)}")
    options = {
        "concurrency_limit": concurrency_limit,
        "total_concurrency_limit": total_concurrency_limit,
        "rate_limit": rate_limit,
        "rate_limit_per_key": rate_limit_per_key,
        "size_limit": size_limit,
    }
    return REGISTRY.add_queue(make_queue(name, options))


def _decorator(checked: Declared) -> Callable[[Any], Task[Any, Any]]:
    def decorate(function: Any) -> Task[Any, Any]:
        definition = checked.define(function)
        REGISTRY.add_task(definition)
        return Task(definition)

    return decorate
