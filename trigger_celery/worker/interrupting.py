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
_reason: RunLeaseLostError | None = None
_on_told: Callable[[], None] | None = None


def allow_interrupts(on_told: Callable[[], None]) -> bool:
    """Install the handler; tells whether this is a main thread, which alone can be interrupted.

    *on_told* is called in a thread of its own when the worker's process sends word.
    """
    global _on_told
    if threading.current_thread() is not threading.main_thread():
        return False
    _on_told = on_told
    signal.signal(_SIGNAL, _handle)
    return True


def tell_process(pid: int) -> None:
    """Send word to a pool process; one that is gone needs none."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, _SIGNAL)


def interrupt(reason: RunLeaseLostError) -> None:
    """Raise *reason* in the main thread of this process, once `allow_interrupts` was called."""
    global _reason
    _reason = reason
    os.kill(os.getpid(), _SIGNAL)


def forget_interrupt() -> None:
    """What was to be interrupted is over."""
    global _reason
    _reason = None


def _handle(number: int, frame: FrameType | None) -> None:
    global _reason
    reason, _reason = _reason, None
    if reason is not None:
        raise reason
    if _on_told is not None:
        threading.Thread(target=_on_told, name="trigger-told", daemon=True).start()
