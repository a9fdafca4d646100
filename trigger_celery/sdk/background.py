"""`wait_until`: work that goes on beside the task, and that the attempt waits for."""

from __future__ import annotations

import concurrent.futures
import inspect
from collections.abc import Awaitable
from typing import Any

from trigger_celery.bridge.context import current_execution
from trigger_celery.errors import InvalidOptionError, OutsideRunError


def wait_until(work: Awaitable[Any] | concurrent.futures.Future[Any], /) -> None:
    """Let *work* go on beside the task; the attempt ends when it is done, or after 60 seconds.

    A coroutine is started at once. The 60 seconds are for all together, from when the task's
    function and hooks are done; what is not done by then is cancelled. An error is logged and
    changes nothing of the run. Raises OutsideRunError.
    """
    if not inspect.isawaitable(work) and not isinstance(work, concurrent.futures.Future):
        raise InvalidOptionError(
            f"wait_until({work!r:.60}): pass a coroutine, a task or a future: "
            "wait_until(send_report())"
        )
    execution = current_execution.get()
    if execution is None:
        if inspect.iscoroutine(work):
            work.close()
        raise OutsideRunError(
            "wait_until() can only be called in a run: elsewhere nothing would wait"
        )
    execution.keep(work)
