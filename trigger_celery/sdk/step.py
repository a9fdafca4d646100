"""`step`: side effects whose results are recorded."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.context import current_scope
from trigger_celery.bridge.durable import require_run
from trigger_celery.bridge.recalling import record_of
from trigger_celery.engine.offloading import bring, put_away
from trigger_celery.engine.waiting import record_step
from trigger_celery.errors import InvalidOptionError, OutputError, RunLeaseLostError
from trigger_celery.model.packet import decode, encode
from trigger_celery.store.op import Flow, Op, Perform

P = ParamSpec("P")
T = TypeVar("T")

MAX_NAME = 128


@overload
def run(
    name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> Op[T]: ...
@overload
def run(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Op[T]: ...
def run(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Op[Any]:
    """Call *function* once in the life of the run and return its result.

    The result is stored. When the code runs again, in a replay after a wait or in the next
    attempt, the stored result is returned and the function is not called. It is called again
    only when the process died after the call and before the result was stored, or when it
    raised: errors are not stored. The result is given as it comes back from the store: a tuple
    in plain JSON is a list. Steps of the same name are told apart by their order.

    The function cannot wait, trigger or run steps: such calls are recorded by themselves and raise
    StateError in it. Raises OutsideRunError outside of a run and OutputError for a result that
    cannot be stored.
    """
    if not 0 < len(str(name)) <= MAX_NAME:
        raise InvalidOptionError(
            f"step.run({name!r:.60}, …): a step's name is text of 1 to {MAX_NAME} characters"
        )
    if not callable(function):
        raise InvalidOptionError(
            f"step.run({name!r}, {function!r:.60}): pass the function and its arguments, "
            f"step.run({name!r}, charge, order), not the result of calling it"
        )
    bound = context.current()
    require_run("step.run()")

    async def asynchronously() -> Any:
        with _in_step(name):
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

    def synchronously() -> Any:
        if inspect.iscoroutinefunction(function):
            raise InvalidOptionError(
                f"step.run({name!r}, …).sync(): {function.__qualname__} is async; await the step "
                "in an async task, or pass a sync function"
            )
        with _in_step(name):
            return function(*args, **kwargs)

    return bound.op(_flow(bound.scope, name, Perform(asynchronously, synchronously)), "step.run")


@contextmanager
def _in_step(name: str) -> Iterator[None]:
    """Refuse durable calls meanwhile: a replay does not call the function again."""
    scope = current_scope.get()
    if scope is None:
        yield
        return
    outer, scope.step = scope.step, name
    try:
        yield
    finally:
        scope.step = outer


def _flow(scope: str, name: str, perform: Perform) -> Flow[Any]:
    durable = require_run("step.run()")
    key = durable.step_name(name)
    record = yield from record_of(scope, durable)
    known = record.steps.get(key)
    path, _ = durable.begin(f"step {name}", answered=known is not None)
    if known is not None:
        [known] = yield from bring([known])
        return decode(known.data, known.type)
    value = yield perform
    result = encode(value, error=OutputError, too_large=OutputError, what=f"result of step {name}")
    [stored] = yield from put_away(scope, [(durable.run_id, result)])
    kept = yield from record_step(
        scope, durable.run_id, durable.epoch, path, f"step {name}", key, stored
    )
    if kept is None:
        durable.parking.check()
        raise RunLeaseLostError(f"run {durable.run_id} belongs to another worker now")
    if "~" in path:  # the next try may come to it again
        record.steps[key] = kept
    if kept == stored:
        kept = result
    [kept] = yield from bring([kept])
    return decode(kept.data, kept.type)
