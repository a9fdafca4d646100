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
│   ├── InvalidQueueError
│   ├── InvalidTagsError
│   ├── PayloadNotSerializableError
│   ├── PayloadTooLargeError
│   ├── PayloadValidationError
│   ├── MetadataTooLargeError
│   └── BatchTooLargeError
├── RunFailedError                what Celery's AsyncResult raises for a run that failed
├── OutputError                   the task returned something that cannot be stored; never retried
├── StateError                    the run is not in a state that allows the call
│   ├── RunNotFoundError
│   ├── CannotCancelError
│   └── PollTimeoutError
├── StoreError                    Redis answered with an error or not at all
│   ├── StoreUnavailableError     worth a retry: down, loading, out of memory, read-only
│   └── StoreAuthenticationError  wrong password or missing permission
├── SyncInAsyncError              .sync() inside a running event loop
└── AbortTaskRunError             raised by a task: fail now, do not retry
RunLeaseLostError (BaseException) this worker no longer owns the run it executes
```
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AbortTaskRunError",
    "BatchTooLargeError",
    "CannotCancelError",
    "ConfigurationError",
    "DefinitionError",
    "DuplicateTaskIdError",
    "InputError",
    "InvalidDurationError",
    "InvalidOptionError",
    "InvalidQueueError",
    "InvalidTagsError",
    "MetadataTooLargeError",
    "NotBoundError",
    "OutputError",
    "PayloadNotSerializableError",
    "PayloadTooLargeError",
    "PayloadValidationError",
    "PollTimeoutError",
    "RunFailedError",
    "RunLeaseLostError",
    "RunNotFoundError",
    "ServerUnfitError",
    "SettingsError",
    "StateError",
    "StoreAuthenticationError",
    "StoreError",
    "StoreUnavailableError",
    "SyncInAsyncError",
    "TriggerError",
    "UnknownOptionError",
    "UnknownTaskOptionError",
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


class InvalidOptionError(InputError):
    """An option has a value of the wrong kind or out of range."""


class InvalidQueueError(InputError):
    """A queue name that is empty or too long, or a concurrency limit out of range."""


class InvalidTagsError(InputError):
    """More than 10 tags, or a tag that is empty, too long or not text."""


class PayloadNotSerializableError(InputError):
    """The payload holds something that no wire encoding can carry."""


class PayloadTooLargeError(InputError):
    """The serialised payload is over the limit."""


class PayloadValidationError(InputError):
    """The payload does not match the task's schema."""


class MetadataTooLargeError(InputError):
    """The serialised metadata is over the limit."""


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


class CannotCancelError(StateError):
    """The run has already started; it cannot be cancelled any more."""


class PollTimeoutError(StateError, TimeoutError):
    """The run did not end within the time the caller was willing to wait."""


class StoreError(TriggerError):
    """Redis answered with an error or not at all."""


class StoreUnavailableError(StoreError):
    """The server cannot serve at the moment; the same call may succeed later."""


class StoreAuthenticationError(StoreError):
    """Wrong password, unknown user, or a missing permission."""


class SyncInAsyncError(TriggerError, RuntimeError):
    """`.sync()` was called inside a running event loop, which it would block."""


class AbortTaskRunError(TriggerError):
    """Raise this in a task to fail its run at once, whatever attempts are left."""


class RunLeaseLostError(BaseException):
    """This worker no longer owns the run it executes: stop, nothing it writes counts.

    A `BaseException`, so that a task's `except Exception` does not swallow it.
    """


def closest(word: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known word nearest to *word*, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {match[0]!r}?" if match else ""
