"""`retry`: parts of a task that are tried again by themselves."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.durable import require_run
from trigger_celery.bridge.tries import NEVER_AGAIN, Tries
from trigger_celery.errors import DefinitionError, InvalidOptionError
from trigger_celery.model.duration import Delay
from trigger_celery.model.retry import Retry
from trigger_celery.sdk.fetching import fetch
from trigger_celery.store.op import Flow, Op, Perform

__all__ = ["fetch", "on_throw"]

T = TypeVar("T")


@overload
def on_throw(
    function: Callable[..., Awaitable[T]],
    /,
    *,
    max_attempts: int = ...,
    factor: float = ...,
    min_timeout_in_ms: int = ...,
    max_timeout_in_ms: int = ...,
    randomize: bool = ...,
) -> Op[T]: ...
@overload
def on_throw(
    function: Callable[..., T],
    /,
    *,
    max_attempts: int = ...,
    factor: float = ...,
    min_timeout_in_ms: int = ...,
    max_timeout_in_ms: int = ...,
    randomize: bool = ...,
) -> Op[T]: ...
def on_throw(
    function: Callable[..., Any],
    /,
    *,
    max_attempts: int = 3,
    factor: float = 2.0,
    min_timeout_in_ms: int = 1000,
    max_timeout_in_ms: int = 60_000,
    randomize: bool = True,
) -> Op[Any]:
    """Call *function* until it does not raise, and return its result; only in a run.

    It is called with `attempt` (from 1) and `max_attempts` if it has parameters of these names.
    The delays are those of a task's `retry`, and between tries the run waits as with
    `wait.for_duration`, without a slot. When the run is executed again after such a wait, the tries
    that failed are not made again; the last one is, like all code. The function may wait, trigger
    and run steps; a step that succeeded in one try is not called again in the next.

    The error of the last try is raised. AbortTaskRunError is raised at once, and so is what the
    library or Celery uses to stop a run. Raises OutsideRunError, InvalidOptionError.
    """
    if not callable(function):
        raise InvalidOptionError(
            f"retry.on_throw({function!r:.60}): pass a function, such as "
            "retry.on_throw(lambda: charge(order)), not the result of calling it"
        )
    try:
        policy = Retry(max_attempts, factor, min_timeout_in_ms, max_timeout_in_ms, randomize)
    except DefinitionError as problem:
        raise InvalidOptionError(f"retry.on_throw(): {problem}") from None
    bound = context.current()
    require_run("retry.on_throw()")
    return bound.op(_flow(bound, function, policy), "retry.on_throw")


def _flow(bound: TriggerCelery, function: Callable[..., Any], policy: Retry) -> Flow[Any]:
    tries = Tries(bound, "retry.on_throw")
    wanted = _wanted(function)
    most = policy.max_attempts
    for number in range(1, most):
        if not tries.failed_before(number):
            try:
                return (yield _one_try(tries, function, wanted, number, most))
            except NEVER_AGAIN:
                raise
            except Exception:  # noqa: S110 - the last one is raised, and the others are retried
                pass
        delay = policy.delay_ms(number, random.random)
        yield from tries.pause(number, Delay(delay, None))
    return (yield _one_try(tries, function, wanted, most, most))


def _wanted(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return which of our names the function has parameters for. Raises InvalidOptionError."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some of C have none
        return ()
    ours = ("attempt", "max_attempts")
    for name, parameter in parameters.items():
        optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if name not in ours and not optional:
            raise InvalidOptionError(
                f"retry.on_throw(): {_name(function)} has a parameter {name!r}; it is called with "
                "attempt and max_attempts only. Give it the rest by functools.partial or a lambda"
            )
    return tuple(name for name in ours if name in parameters)


def _one_try(
    tries: Tries,
    function: Callable[..., Any],
    wanted: tuple[str, ...],
    number: int,
    most: int,
) -> Perform:
    given = {"attempt": number, "max_attempts": most}
    call = functools.partial(function, **{name: given[name] for name in wanted})

    async def asynchronously() -> Any:
        with tries.inside(number):
            result = call()
            return await result if inspect.isawaitable(result) else result

    def synchronously() -> Any:
        if inspect.iscoroutinefunction(function):
            raise InvalidOptionError(
                f"retry.on_throw(…).sync(): {_name(function)} is async; await it in an async "
                "task, or pass a sync function"
            )
        with tries.inside(number):
            result = call()
            return result.sync() if isinstance(result, Op) else result

    return Perform(asynchronously, synchronously)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", repr(function)))
