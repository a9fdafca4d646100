"""Ids that sort by time, ids of calls, and the tokens that stand for user text in key names."""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from base64 import b32hexencode
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import sha1
from itertools import product
from random import Random
from typing import Final, TypeGuard
from uuid import NAMESPACE_OID, uuid5

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"  # base32hex: text order is number order
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]
_IS_RUN_ID: Final = re.compile(r"run_[0-9a-v]{26}").fullmatch
_IS_TOKEN_ID: Final = re.compile(r"waitpoint_[0-9a-v]{26}").fullmatch
_IS_BATCH_ID: Final = re.compile(r"batch_[0-9a-v]{26}").fullmatch
_IS_BULK_ID: Final = re.compile(r"bulk_[0-9a-v]{26}").fullmatch
_IS_SCHEDULE_ID: Final = re.compile(r"sched_[0-9a-v]{26}").fullmatch
_RANDOM_BITS: Final = 82  # below the 48 bits of milliseconds: 130 bits, 26 characters


def _reset() -> None:
    """Forget everything a forked child shares with its parent: lock, random source, counters."""
    global _lock, _random_bits, _last, _op_ids
    # Reentrant: a signal handler or finalizer may ask for an id while this thread is making one.
    _lock = threading.RLock()
    _random_bits = Random(secrets.randbits(256)).getrandbits  # noqa: S311  ids are not secrets
    _last = 0
    _op_ids = _numbered_ids()


def _numbered_ids() -> Iterator[str]:
    """Return an iterator of 32**6 ids with one random prefix. All in C: each `next` is atomic."""
    return map("".join, product([secrets.token_urlsafe(8)[:10]], *[_ALPHABET] * 6))


_lock: threading.RLock
_random_bits: Callable[[int], int]
_last: int
_op_ids: Iterator[str]
_reset()
os.register_at_fork(after_in_child=_reset)


def _sortable() -> str:
    """Return 26 characters that are greater than all that this process made before."""
    global _last
    with _lock:
        number = time.time_ns() // 1_000_000 << _RANDOM_BITS
        if number > _last:
            number |= _random_bits(_RANDOM_BITS)
        else:  # the same millisecond, or the clock went back
            number = _last + 1 + _random_bits(60)
        _last = number
    return _spelled(number)


def _spelled(number: int) -> str:
    """Return a number of 130 bits as 26 characters of base32hex."""
    # Unrolled: a loop over the 13 pairs takes three times as long.
    p = _PAIRS
    high, low = number >> 60, number & 0xFFF_FFFF_FFFF_FFFF
    return (
        f"{p[high >> 60]}{p[high >> 50 & 1023]}{p[high >> 40 & 1023]}{p[high >> 30 & 1023]}"
        f"{p[high >> 20 & 1023]}{p[high >> 10 & 1023]}{p[high & 1023]}"
        f"{p[low >> 50]}{p[low >> 40 & 1023]}{p[low >> 30 & 1023]}"
        f"{p[low >> 20 & 1023]}{p[low >> 10 & 1023]}{p[low & 1023]}"
    )


def run_id() -> str:
    """Return a new run id, `run_` and 26 characters of `0-9a-v`, that sorts by creation time.

    Within a process each id is greater than the one before, also when the clock goes back.
    Between processes the order is that of their clocks, to the millisecond.
    """
    return "run_" + _sortable()


def batch_id() -> str:
    """Return a new batch id; sorts by creation time as run ids do."""
    return "batch_" + _sortable()


def bulk_id() -> str:
    """Return a new id of a bulk action; sorts by creation time as run ids do."""
    return "bulk_" + _sortable()


def waitpoint_id() -> str:
    """Return a new id of a waitpoint; sorts by creation time as run ids do."""
    return "waitpoint_" + _sortable()


def schedule_id() -> str:
    """Return a new id of a schedule; sorts by creation time as run ids do."""
    return "sched_" + _sortable()


def declared_schedule_id(task: str) -> str:
    """Return the id of the schedule that the code declares for a task: always the same."""
    digest = sha1(f"declared {task}".encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return "sched_" + b32hexencode(digest.digest()).decode().lower()[:26]


def occurrence_id(schedule: str, nominal_ms: int) -> str:
    """Return the id of the run that an occurrence of a schedule makes: always the same.

    It sorts by the nominal time, among the runs that were created then.
    """
    digest = sha1(f"{schedule}:{nominal_ms}".encode(), usedforsecurity=False).digest()[:10]
    top = nominal_ms << 2  # as in _sortable: 48 bits of ms above 82 others, in 26 * 5
    return (
        f"run_{_PAIRS[top >> 40]}{_PAIRS[top >> 30 & 1023]}{_PAIRS[top >> 20 & 1023]}"
        f"{_PAIRS[top >> 10 & 1023]}{_PAIRS[top & 1023]}{b32hexencode(digest).decode().lower()}"
    )


def run_id_of(task_id: str) -> str:
    """Return the id of the run that a Celery task id stands for: always the same.

    A run id stands for itself. Any other text, a UUID for one, has one run id, which does not sort
    by time.
    """
    if _IS_RUN_ID(task_id):
        return task_id
    digest = sha1(f"task {task_id}".encode("utf-8", "surrogatepass"), usedforsecurity=False)
    return "run_" + _spelled(int.from_bytes(digest.digest()[:17], "big") >> 6)


class GivenRunId(str):
    """The run id that another text stands for; an error names what was given."""

    given: str

    def __new__(cls, task_id: str) -> GivenRunId:
        """Return the run id of a Celery task id."""
        made = super().__new__(cls, run_id_of(task_id))
        made.given = task_id
        return made


def derived_id(kind: str, run_id: str, what: str) -> str:
    """Return the id of something that a run makes: the same for the same run and *what*.

    `kind_` and 26 characters; it sorts by its run's creation time.
    """
    digest = sha1(f"{run_id}:{what}".encode(), usedforsecurity=False).digest()[:10]
    return f"{kind}_{run_id[4:14]}{b32hexencode(digest).decode().lower()}"


def derived_uuid(run_id: str, what: str) -> str:
    """Return a UUID for something that a run sends: the same for the same run and *what*."""
    return str(uuid5(NAMESPACE_OID, f"{run_id}:{what}"))


def session_id() -> str:
    """Return a new id of a worker session; sorts by creation time as run ids do."""
    return "worker_" + _sortable()


def op_id() -> str:
    """Return 16 characters that no other call, thread, process or forked child returns.

    Names one logical call of the store, so that a repeat of it can be told from a second call.
    The ids of one process share a prefix: unique, but neither secret nor in order of time.
    """
    global _op_ids
    try:
        return next(_op_ids)
    except StopIteration:
        _op_ids = _numbered_ids()
        return op_id()


def is_token_id(text: object) -> TypeGuard[str]:
    """Say whether *text* has the form of a token's id. Says nothing about whether it exists."""
    return isinstance(text, str) and _IS_TOKEN_ID(text) is not None


def is_batch_id(text: object) -> TypeGuard[str]:
    """Say whether *text* has the form of a batch id. Says nothing about whether it exists."""
    return isinstance(text, str) and _IS_BATCH_ID(text) is not None


def is_bulk_id(text: object) -> TypeGuard[str]:
    """Say whether *text* has the form of a bulk action's id. Says nothing about whether it exists."""
    return isinstance(text, str) and _IS_BULK_ID(text) is not None


def is_schedule_id(text: object) -> TypeGuard[str]:
    """Say whether *text* has the form of a schedule's id. Says nothing about whether it exists."""
    return isinstance(text, str) and _IS_SCHEDULE_ID(text) is not None


def is_run_id(text: object) -> TypeGuard[str]:
    """Say whether *text* has the form of a run id. Says nothing about whether the run exists."""
    return isinstance(text, str) and _IS_RUN_ID(text) is not None


@lru_cache(maxsize=4096)
def token(text: str) -> str:
    """Return 20 hex characters that stand for *text* in a key name.

    The same text gives the same token in every process and release; it cannot be turned back.
    The scripts make the same tokens: SHA-1 is the digest they have.
    """
    return sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:20]
