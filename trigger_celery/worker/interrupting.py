"""Reaches the main thread of a pool process, whatever its code is doing.

By a signal of its own: Python executes the handler between two steps of the main thread's code.
The worker's process sends it to say that a run was cancelled; a thread of the process itself, to
raise an error in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from trigger_celery.errors import RunLeaseLostError

_SIGNAL = signal.SIGUSR2


class _Word:
    """What the handler acts on when the signal comes."""

    run_id = ""
    """The run that the main thread executes."""
    meant = ""
    reason: RunLeaseLostError | None = None
    on_told: Callable[[], None] | None = None


_word = _Word()


def allow_interrupts(on_told: Callable[[], None]) -> bool:
    """Install the handler; tells whether this is a main thread, which alone can be interrupted.

    *on_told* is called in a thread of its own when the worker's process sends word.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    _word.on_told = on_told
    signal.signal(_SIGNAL, _handle)
    return True


def tell_process(pid: int) -> None:
    """Send word to a pool process; one that is gone needs none."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, _SIGNAL)


def now_executes(run_id: str) -> None:
    """Say which run the main thread executes from now on; an empty text for none."""
    _word.run_id = run_id


def interrupt(run_id: str, reason: RunLeaseLostError) -> None:
    """Raise *reason* in the main thread of this process, if it still executes the run."""
    _word.meant, _word.reason = run_id, reason
    os.kill(os.getpid(), _SIGNAL)


def forget_interrupt() -> None:
    """What was to be interrupted is over."""
    _word.reason = None


def _handle(number: int, frame: FrameType | None) -> None:
    reason, _word.reason = _word.reason, None
    if reason is not None:
        if _word.meant == _word.run_id:
            raise reason
        return
    if _word.on_told is not None:
        threading.Thread(target=_word.on_told, name="trigger-told", daemon=True).start()
