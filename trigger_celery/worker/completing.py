"""What an exception means that left a task's function, and what is shown of it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from trigger_celery.errors import CompleteTaskWithOutput, OutputError

_OURS = str(Path(__file__).parent.parent) + os.sep


def completion(problem: BaseException) -> CompleteTaskWithOutput | None:
    """Return the completion that was raised, alone or in a group of nothing else."""
    if isinstance(problem, CompleteTaskWithOutput):
        return problem
    if not isinstance(problem, BaseExceptionGroup):
        return None
    found, others = problem.split(CompleteTaskWithOutput)
    if found is None or others is not None:
        return None
    first: BaseException = found
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, CompleteTaskWithOutput) else None


def as_exception(problem: BaseException) -> Exception:
    """Return what Celery and hooks can be given of anything that was raised."""
    if isinstance(problem, Exception):
        return problem
    return RuntimeError(f"{type(problem).__name__}: {problem}")


def user_part(problem: BaseException) -> TracebackType | None:
    """Return the traceback without the frames of this library at its outer end.

    None for an output that cannot be stored: no line of the task's had a part in raising that.
    """
    inner = problem.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_OURS):
        inner = inner.tb_next
    return inner if inner is not None or isinstance(problem, OutputError) else problem.__traceback__
