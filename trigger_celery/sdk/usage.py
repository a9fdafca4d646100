"""`usage`: how long a run has been active, and what that costs."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.engine import querying
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.run import Run
from trigger_celery.store.op import Flow, Op

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Compute:
    """A stretch of active time, waits excluded, and its cost at the setting `cost_per_second`."""

    duration_ms: float = 0.0
    cost_in_cents: float = 0.0


@dataclass(frozen=True, slots=True)
class RunCompute:
    """The active time of the attempt, and of the run with its earlier attempts."""

    attempt: Compute
    total: Compute


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run has used. `base_cost_in_cents` is the setting `cost_per_run`.

    `duration_ms` and `cost_in_cents` are the attempt's, under the names of old code; they warn.
    """

    compute: RunCompute
    base_cost_in_cents: float = 0.0

    @property
    def total_cost_in_cents(self) -> float:
        """The cost of the run: its compute and its base."""
        return self.compute.total.cost_in_cents + self.base_cost_in_cents

    @property
    def duration_ms(self) -> float:
        """Deprecated: `compute.attempt.duration_ms`."""
        warn_of_old_form("usage.duration_ms is now called usage.compute.attempt.duration_ms")
        return self.compute.attempt.duration_ms

    @property
    def cost_in_cents(self) -> float:
        """Deprecated: `compute.attempt.cost_in_cents`."""
        warn_of_old_form("usage.cost_in_cents is now called usage.compute.attempt.cost_in_cents")
        return self.compute.attempt.cost_in_cents


@dataclass(frozen=True, slots=True)
class Measured(Generic[T]):
    """What a function returned, and what it used."""

    result: T
    compute: Compute


def get_current() -> Op[Usage]:
    """Return what the current run has used by now; zeros outside of a run.

    The time of the attempt is its active time: while the run waits, it stands still. It is asked
    in memory. Earlier attempts are read from the store, with all the time between their start and
    their end; an attempt that is executed again after its memory was given up counts from there.
    """
    return context.current().op(_usage(), "usage.get_current")


def _usage() -> Flow[Usage]:
    durable = current_durable()
    if durable is None:
        return Usage(RunCompute(Compute(), Compute()))
    trigger = context.current()
    ms = durable.parking.active_seconds() * 1000
    total = ms
    if durable.attempt > 1:
        run: Run = yield from querying.read_run(trigger.scope, durable.run_id)
        for attempt in run.attempts:
            began, ended = attempt.started_at, attempt.finished_at
            if attempt.number < durable.attempt and began is not None and ended is not None:
                total += (ended - began).total_seconds() * 1000
    return Usage(RunCompute(_priced(ms), _priced(total)), trigger.settings.cost_per_run)


@overload
def measure(  # type: ignore[overload-overlap]
    function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> Awaitable[Measured[T]]: ...
@overload
def measure(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Measured[T]: ...
def measure(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call *function*; return its `.result`, and its active time and cost as `.compute`.

    For an async function await the result. What the function raises goes through. Outside of a
    run the time counts, and costs nothing.
    """
    if not callable(function):
        raise InvalidOptionError(
            f"usage.measure({function!r:.60}): pass the function and its arguments, "
            "usage.measure(resize, image), not the result of calling it"
        )
    began = _active_seconds()
    result = function(*args, **kwargs)
    if inspect.isawaitable(result):
        return _measured(result, began)
    return Measured(result, _priced((_active_seconds() - began) * 1000))


async def _measured(awaitable: Awaitable[T], began: float) -> Measured[T]:
    result = await awaitable
    return Measured(result, _priced((_active_seconds() - began) * 1000))


def _active_seconds() -> float:
    durable = current_durable()
    return time.monotonic() if durable is None else durable.parking.active_seconds()


def _priced(ms: float) -> Compute:
    if current_durable() is None:
        return Compute(ms)
    return Compute(ms, ms / 1000 * context.current().settings.cost_per_second)
