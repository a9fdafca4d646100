"""What an exception means that left a task's function, and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from trigger_celery.errors import CompleteTaskWithOutput

_OURS = str(Path(__file__).parent.parent)


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


def user_part(traceback: TracebackType | None) -> TracebackType | None:
    """Cut the frames of this library off the outer end of a traceback."""
    inner = traceback
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_OURS):
        inner = inner.tb_next
    return inner or traceback
