"""How the code of an attempt ended, and what `catch_error` may decide about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypedDict

from trigger_celery.errors import DefinitionError, closest
from trigger_celery.model.duration import MAX_MS
from trigger_celery.model.retry import MAX_ATTEMPTS, Retry


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What `next()` returns to middleware, and what `on_complete` gets as `result`."""

    ok: bool
    output: Any = None
    """What the task returned; None when it failed."""
    error: Exception | None = None
    """What it raised; None when it succeeded."""

    @property
    def data(self) -> Any:
        """The same as `output`."""
        return self.output


class CatchErrorResult(TypedDict, total=False):
    """What `catch_error` may return. The first of the four that is there decides; `error` always counts."""

    skip_retrying: bool
    """True: the failure is final."""
    retry_at: datetime
    """When the next attempt begins; in the past: at once. Without a zone: the system's."""
    retry_delay_in_ms: float
    """Milliseconds until the next attempt."""
    retry: Retry | Mapping[str, Any]
    """Policy to take the delay from, and perhaps fewer attempts."""
    error: BaseException
    """What is recorded instead of the error that was raised."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from a failure. `delay` is in ms; None: it is final."""

    delay: int | None
    error: BaseException | None = None


_KEYS = ("skip_retrying", "retry_at", "retry_delay_in_ms", "retry", "error")


def read_decision(
    answer: object, policy: Retry | None, attempt: int, rng: Callable[[], float]
) -> Decision:
    """Return what an answer of `catch_error` decides. It never gives more attempts than the policy.

    Raises DefinitionError for an answer that means nothing.
    """
    if not isinstance(answer, Mapping):
        raise DefinitionError(
            f"catch_error returned {answer!r:.80}; it may return None or a dict of "
            f"{', '.join(_KEYS)}"
        )
    for key in answer:
        if key not in _KEYS:
            raise DefinitionError(
                f"catch_error returned the key {key!r}.{closest(str(key), _KEYS)} "
                f"It may return: {', '.join(_KEYS)}."
            )
    error = answer.get("error")
    if error is not None and not isinstance(error, BaseException):
        raise DefinitionError(f"catch_error returned error={error!r:.80}, which is no exception")
    left = policy is not None and attempt < min(policy.max_attempts, MAX_ATTEMPTS)
    if not left or answer.get("skip_retrying"):
        return Decision(None, error)
    return Decision(_delay(answer, attempt, rng), error)


def _delay(answer: Mapping[str, Any], attempt: int, rng: Callable[[], float]) -> int | None:
    if (at := answer.get("retry_at")) is not None:
        if not isinstance(at, datetime):
            raise DefinitionError(f"catch_error returned retry_at={at!r:.80}, which is no datetime")
        return _milliseconds((at.astimezone(UTC) - datetime.now(UTC)).total_seconds() * 1000)
    if (delay := answer.get("retry_delay_in_ms")) is not None:
        fits = isinstance(delay, int | float) and not isinstance(delay, bool) and isfinite(delay)
        if not fits or delay < 0:
            raise DefinitionError(
                f"catch_error returned retry_delay_in_ms={delay!r:.80}, which is not a number of "
                "milliseconds from 0"
            )
        return _milliseconds(delay)
    policy = Retry.of(answer.get("retry"), where="catch_error")
    if policy is None or attempt >= policy.max_attempts:
        return None
    return policy.delay_ms(attempt, rng)


def _milliseconds(delay: float) -> int:
    return int(min(max(0.0, delay), MAX_MS) + 0.5)
