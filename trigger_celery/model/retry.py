"""When a failed attempt is tried again: the policy, where it comes from, and the decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite
from typing import Any, Final

from trigger_celery.errors import DefinitionError, InvalidOptionError, closest
from trigger_celery.model.machine import check_machine

MAX_ATTEMPTS: Final = 250
MAX_LOSSES: Final = 3  # a run that lost its worker so often ends as CRASHED
REQUEUE_FROM_MS: Final = 30_000  # shorter delays are waited out in the worker, the slot kept


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """What follows when a run is out of memory: its next attempt is on the preset *machine*."""

    machine: str

    @classmethod
    def of(cls, value: object) -> OutOfMemory:
        """Return the option as a value. Raises DefinitionError."""
        if isinstance(value, OutOfMemory):
            return value
        if not isinstance(value, Mapping) or set(value) != {"machine"}:
            raise DefinitionError(
                f"retry out_of_memory={value!r:.80} is not a dict such as {{'machine': 'large-1x'}}."
            )
        try:
            return cls(check_machine(value["machine"]))
        except InvalidOptionError as problem:
            raise DefinitionError(f"retry out_of_memory: {problem}") from None


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after which delays a failed run is tried again.

    `max_attempts` counts the first try. The delay after attempt n is `min_timeout_in_ms` times
    `factor` to the power n-1, times a random number from 1 to 2 when `randomize`, and then cut at
    `max_timeout_in_ms`: a delay at the cap has no jitter. A run that is out of memory is not
    tried again, unless `out_of_memory` names a machine with more of it: `{"machine": "large-1x"}`.
    """

    max_attempts: int = 3
    factor: float = 2.0
    min_timeout_in_ms: int = 1000
    max_timeout_in_ms: int = 60000
    randomize: bool = True
    out_of_memory: OutOfMemory | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        if given.pop("out_of_memory") is not None:
            object.__setattr__(self, "out_of_memory", OutOfMemory.of(self.out_of_memory))
        wanted = {
            "max_attempts": f"a whole number from 1 to {MAX_ATTEMPTS}",
            "factor": "a finite number above 0, for example 2",
            "min_timeout_in_ms": "a whole number of milliseconds, 0 or more",
            "max_timeout_in_ms": "a whole number of milliseconds, 0 or more",
            "randomize": "True or False",
        }
        for name, value in given.items():
            if not _fits(name, value):
                raise DefinitionError(f"retry {name}={value!r} is not {wanted[name]}.")
        if self.min_timeout_in_ms > self.max_timeout_in_ms:
            raise DefinitionError(
                f"retry min_timeout_in_ms={self.min_timeout_in_ms} is above "
                f"max_timeout_in_ms={self.max_timeout_in_ms}."
            )

    @property
    def larger_machine(self) -> str | None:
        """The preset on which a run goes on that was out of memory."""
        return None if self.out_of_memory is None else OutOfMemory.of(self.out_of_memory).machine

    @classmethod
    def of(cls, value: Retry | Mapping[str, Any] | None, *, where: str) -> Retry | None:
        """Return the policy of a `retry=` option. What a mapping leaves out has its default.

        *where* opens the message when it is refused, for example `task 'send-email'`.
        """
        if value is None or isinstance(value, Retry):
            return value
        if not isinstance(value, Mapping):
            raise DefinitionError(
                f"{where}: retry must be a Retry or a dict such as {{'max_attempts': 5}}, "
                f"not {type(value).__name__}."
            )
        known = [field.name for field in fields(cls)]
        for name in value:
            if name not in known:
                raise DefinitionError(
                    f"{where}: retry has no option {name!r}; it has {', '.join(known)}."
                    f"{closest(str(name), known)}"
                )
        try:
            return cls(**value)
        except DefinitionError as problem:
            raise DefinitionError(f"{where}: {problem}") from None

    def delay_ms(self, attempt: int, rng: Callable[[], float]) -> int:
        """Return the delay after the attempt that just failed (from 1); *rng* gives [0, 1)."""
        jitter = 1 + rng() if self.randomize else 1.0
        try:
            delay = jitter * self.min_timeout_in_ms * float(self.factor) ** (attempt - 1)
        except OverflowError:
            delay = self.max_timeout_in_ms if self.min_timeout_in_ms else 0
        return int(min(self.max_timeout_in_ms, delay) + 0.5)


def effective(task: Retry | None, default: Retry | None, max_attempts: int | None) -> Retry | None:
    """Return the policy of a run: the task's, else the default's, with the run's own number.

    The two are not merged. *max_attempts* alone makes no policy: without one there are no retries.
    """
    policy = task if task is not None else default
    if policy is None or max_attempts is None:
        return policy
    return replace(policy, max_attempts=min(max(max_attempts, 1), MAX_ATTEMPTS))


def decide(
    policy: Retry | None, attempt: int, *, retryable: bool, rng: Callable[[], float]
) -> int | None:
    """Return the delay in milliseconds before the next attempt, or None when the failure is final.

    A delay of 0 means again at once. From `REQUEUE_FROM_MS` on the run gives its slot back.
    """
    if policy is None or not retryable or attempt >= min(policy.max_attempts, MAX_ATTEMPTS):
        return None
    return policy.delay_ms(attempt, rng)


def _fits(name: str, value: Any) -> bool:
    if name == "randomize" or isinstance(value, bool):
        return name == "randomize" and isinstance(value, bool)
    if name == "factor":
        return isinstance(value, (int, float)) and isfinite(value) and value > 0
    if name == "max_attempts":
        return isinstance(value, int) and 1 <= value <= MAX_ATTEMPTS
    return isinstance(value, int) and value >= 0
