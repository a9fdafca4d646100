"""Every exception of the library.

```
TriggerError
├── ConfigurationError            a setting, a URL or the server itself is unfit
│   ├── NotBoundError             no (or more than one) TriggerCelery is bound
│   ├── SettingsError             settings that do not parse; lists every problem
│   └── ServerUnfitError          eviction policy, version or script permission of the server
├── DefinitionError               a task or queue is declared wrongly; raised at import
│   ├── DuplicateTaskIdError
│   └── UnknownTaskOptionError    (also a TypeError)
├── InputError (ValueError)       a trigger was refused before anything was stored
│   ├── UnknownOptionError        (also a TypeError)
│   ├── InvalidDurationError
│   ├── InvalidOptionError
│   ├── InvalidCronError
│   ├── InvalidQueueError
│   ├── InvalidTagsError
│   ├── UnknownTaskError          no such task, or one that takes no schedules
│   ├── QueueFullError
│   ├── PayloadNotSerializableError
│   ├── PayloadTooLargeError
│   ├── PayloadValidationError
│   ├── MetadataTooLargeError
│   ├── OutputTooLargeError
│   ├── DateInPastError
│   └── BatchTooLargeError
├── RunFailedError                what Celery's AsyncResult raises for a run that failed
├── OutputError                   the task returned something that cannot be stored; never retried
├── StateError                    the run is not in a state that allows the call
│   ├── RunNotFoundError
│   ├── TokenNotFoundError
│   ├── BatchNotFoundError
│   ├── BulkActionNotFoundError
│   ├── QueueNotFoundError
│   ├── ScheduleNotFoundError
│   ├── DeclarativeScheduleError  the code declares the schedule: change it there
│   ├── IdempotencyKeyNotFoundError
│   ├── WaitCycleError        a run would wait for itself or for one that waits for it
│   ├── PollTimeoutError
│   └── OutsideRunError       a call that only code of a run may make
├── WaitpointTimeoutError     a token timed out; raised by .unwrap()
├── ResultTypeError           a token's result does not fit the result_type
├── SubtaskUnwrapError        a child run did not succeed; raised by .unwrap()
├── BatchTriggerError         a batch could not be triggered
├── ReplayMismatchError       a run executed again asks for something else; never retried
├── TooManyCallsError         an attempt makes more durable calls than are recorded
├── StoreError                    Redis answered with an error or not at all
│   ├── StoreUnavailableError     worth a retry: down, loading, out of memory, read-only
│   ├── StoreAuthenticationError  wrong password or missing permission
│   └── PayloadStoreError         the payload store cannot be used, now or here
│       └── PayloadLostError      what it had is not there any more, or is not what was stored
├── SyncInAsyncError              .sync() inside a running event loop
├── MiddlewareError               middleware did not call next(), or called it twice
├── InlineModeError               (also a RuntimeError) inline mode of tests cannot do what needs a server
├── AbortTaskRunError             raised by a task: fail now, do not retry
└── OutOfMemoryError              raised by a task: its machine has too little memory
CompleteTaskWithOutput (BaseException) raised by a task: succeed now, with this output
RunLeaseLostError (BaseException) this worker no longer owns the run it executes
├── RunCanceledError              it was cancelled
├── RunEvictedError               it waits without its process, and is executed again later
└── MaxDurationExceededError      its attempt is over its maximum duration
```
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AbortTaskRunError",
    "BatchNotFoundError",
    "BatchTooLargeError",
    "BatchTriggerError",
    "BulkActionNotFoundError",
    "CompleteTaskWithOutput",
    "ConfigurationError",
    "DateInPastError",
    "DeclarativeScheduleError",
    "DefinitionError",
    "DuplicateTaskIdError",
    "IdempotencyKeyNotFoundError",
    "InlineModeError",
    "InputError",
    "InvalidCronError",
    "InvalidDurationError",
    "InvalidOptionError",
    "InvalidQueueError",
    "InvalidTagsError",
    "MaxDurationExceededError",
    "MetadataTooLargeError",
    "MiddlewareError",
    "NotBoundError",
    "OutOfMemoryError",
    "OutputError",
    "OutputTooLargeError",
    "OutsideRunError",
    "PayloadLostError",
    "PayloadNotSerializableError",
    "PayloadStoreError",
    "PayloadTooLargeError",
    "PayloadValidationError",
    "PollTimeoutError",
    "QueueFullError",
    "QueueNotFoundError",
    "ReplayMismatchError",
    "ResultTypeError",
    "RunCanceledError",
    "RunEvictedError",
    "RunFailedError",
    "RunLeaseLostError",
    "RunNotFoundError",
    "ScheduleNotFoundError",
    "ServerUnfitError",
    "SettingsError",
    "StateError",
    "StoreAuthenticationError",
    "StoreError",
    "StoreUnavailableError",
    "SubtaskUnwrapError",
    "SyncInAsyncError",
    "TokenNotFoundError",
    "TooManyCallsError",
    "TriggerError",
    "UnknownOptionError",
    "UnknownTaskError",
    "UnknownTaskOptionError",
    "WaitCycleError",
    "WaitpointTimeoutError",
]


class TriggerError(Exception):
    """Root of every error of this library."""


class ConfigurationError(TriggerError):
    """A setting, a URL or the server itself is unfit."""


class NotBoundError(ConfigurationError):
    """No TriggerCelery is bound to a Celery app in this process, or more than one is."""


class SettingsError(ConfigurationError):
    """One or more settings do not parse; the message lists every problem at once."""


class ServerUnfitError(ConfigurationError):
    """The Redis or Valkey server cannot hold runs safely."""


class DefinitionError(TriggerError):
    """A task or queue is declared wrongly. Raised at import, before any run exists."""


class DuplicateTaskIdError(DefinitionError):
    """Two functions claim one task id."""


class UnknownTaskOptionError(DefinitionError, TypeError):
    """`task()` or `queue()` got an option that does not exist."""


class InputError(TriggerError, ValueError):
    """A call was refused because of its input, before anything was stored."""


class UnknownOptionError(InputError, TypeError):
    """A trigger option that does not exist."""


class InvalidDurationError(InputError):
    """A duration or date that does not parse, is negative, or is out of range."""


class InvalidCronError(InputError):
    """A cron pattern that does not parse or never comes, or an unknown time zone."""


class InvalidOptionError(InputError):
    """An option has a value of the wrong kind or out of range."""


class InvalidQueueError(InputError):
    """A queue name that is empty or too long, or a concurrency limit out of range."""


class InvalidTagsError(InputError):
    """More than 10 tags, or a tag that is empty, too long or not text."""


class UnknownTaskError(InputError):
    """A schedule for a task that neither this process nor a worker knows, or that is not scheduled."""


class QueueFullError(InputError):
    """As many runs wait in the queue as its size limit allows; nothing was stored."""


class PayloadNotSerializableError(InputError):
    """The payload holds something that no wire encoding can carry."""


class PayloadTooLargeError(InputError):
    """The serialised payload is over the limit."""


class PayloadValidationError(InputError):
    """The payload does not match the task's schema."""


class MetadataTooLargeError(InputError):
    """The serialised metadata is over the limit."""


class OutputTooLargeError(InputError):
    """What completes a token is over the limit."""


class DateInPastError(InputError):
    """`wait.until` got a date in the past and was told to refuse it."""


class BatchTooLargeError(InputError):
    """A batch has more items than the limit."""


class RunFailedError(TriggerError):
    """What Celery's `AsyncResult.get()` raises for a run that failed; says the run's error."""


class OutputError(TriggerError):
    """A task returned something that cannot be stored. The run fails and is not retried."""


class StateError(TriggerError):
    """The run is not in a state that allows the call."""


class RunNotFoundError(StateError):
    """No run has this id: it never existed, or its retention has passed."""


class TokenNotFoundError(StateError):
    """No token has this id: it never existed, or its retention has passed."""


class BatchNotFoundError(StateError):
    """No batch has this id: it never existed, or its retention has passed."""


class BulkActionNotFoundError(StateError):
    """No bulk action has this id: it never existed, or its retention has passed."""


class IdempotencyKeyNotFoundError(StateError):
    """No run has the idempotency key: never used, reset, or its time has passed."""


class QueueNotFoundError(StateError):
    """No queue has this name: no worker declared it, and no run is in it."""


class ScheduleNotFoundError(StateError):
    """No schedule has this id: it never existed, or it was deleted."""


class DeclarativeScheduleError(StateError):
    """The schedule is declared by `@scheduled_task` in code, and only changes with the code."""


class WaitCycleError(StateError):
    """A run would wait for itself, or for a run that waits for it; the message shows the chain."""


class OutsideRunError(StateError):
    """A call that only the code of a run may make was made elsewhere."""


class WaitpointTimeoutError(TriggerError, TimeoutError):
    """A token timed out before anybody completed it; `.unwrap()` raises it."""


class ResultTypeError(TriggerError):
    """A token was completed with something that does not fit the `result_type`."""


class SubtaskUnwrapError(TriggerError):
    """A child run did not succeed; `.unwrap()` raises it.

    `run_id` and `task_id` name the child, `error` is its error; `cause` is the same as text.
    """

    def __init__(self, message: str, *, run_id: str, task_id: str, error: object = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.task_id = task_id
        self.error = error

    @property
    def cause(self) -> object:
        """The child's error."""
        return self.error


class BatchTriggerError(TriggerError):
    """A batch could not be triggered; what was created is left, and sending it again is safe.

    `phase` is `create` (some runs may exist) or `wait`; `batch_id` and `item_count` name it.
    """

    def __init__(self, message: str, *, phase: str, batch_id: str, item_count: int) -> None:
        super().__init__(message)
        self.phase = phase
        self.batch_id = batch_id
        self.item_count = item_count


class ReplayMismatchError(TriggerError):
    """A run that is executed again after a wait asks for something else than before.

    The message shows both. The run fails and is not retried.
    """


class TooManyCallsError(TriggerError):
    """An attempt makes more than 10,000 durable calls; the run fails and is not retried."""


class PollTimeoutError(StateError, TimeoutError):
    """The run did not end within the time the caller was willing to wait."""


class StoreError(TriggerError):
    """Redis answered with an error or not at all."""


class StoreUnavailableError(StoreError):
    """The server cannot serve at the moment; the same call may succeed later."""


class StoreAuthenticationError(StoreError):
    """Wrong password, unknown user, or a missing permission."""


class PayloadStoreError(StoreError):
    """The payload store cannot be used: it is away, refuses, or this process does not have it."""


class PayloadLostError(PayloadStoreError):
    """What was kept in the payload store is not there any more, or is not what was stored."""


class SyncInAsyncError(TriggerError, RuntimeError):
    """`.sync()` was called inside a running event loop, which it would block."""


class MiddlewareError(TriggerError):
    """Middleware did not call `next()`, called it twice, or broke off what it calls."""


class InlineModeError(TriggerError, RuntimeError):
    """Inline mode of the testing kit was asked for something that needs a server."""


class CompleteTaskWithOutput(BaseException):
    """Raised anywhere in a task's function: the run succeeds at once, with this output.

    Not in hooks. `except Exception` does not catch it.
    """

    def __init__(self, output: object = None) -> None:
        super().__init__(output)
        self.output = output


class AbortTaskRunError(TriggerError):
    """Raise this in a task to fail its run at once, whatever attempts are left."""


class OutOfMemoryError(TriggerError):
    """Raise this in a task that has too little memory: a `MemoryError` means the same.

    The run is CRASHED, unless its policy has `out_of_memory`: then it moves to that machine.
    """


class RunLeaseLostError(BaseException):
    """This worker no longer owns the run it executes: stop, nothing it writes counts.

    A `BaseException`, so that a task's `except Exception` does not swallow it.
    """


class RunCanceledError(RunLeaseLostError):
    """The run was cancelled while this code executed it."""


class RunEvictedError(RunLeaseLostError):
    """The run waits without its process: it is executed again when it can go on."""


class MaxDurationExceededError(RunLeaseLostError):
    """The attempt has been active for longer than its maximum duration."""


def closest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known word nearest to *word*, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {match[0]!r}?" if match else ""
