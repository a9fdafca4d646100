"""The state machine of a run, as one table. Scripts, drawings and tests are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from trigger_celery.model.run import FINAL as FINAL
from trigger_celery.model.run import RunStatus

S = RunStatus

TRANSITIONS: Final[Mapping[RunStatus | None, frozenset[RunStatus]]] = MappingProxyType(
    {
        # SYSTEM_FAILURE: an item of a batch that could not be triggered.
        None: frozenset({S.PENDING_VERSION, S.DELAYED, S.QUEUED, S.SYSTEM_FAILURE}),
        S.PENDING_VERSION: frozenset({S.QUEUED, S.DELAYED, S.EXPIRED, S.CANCELED}),
        S.DELAYED: frozenset({S.QUEUED, S.CANCELED}),
        S.QUEUED: frozenset({S.DEQUEUED, S.EXPIRED, S.CANCELED, S.PENDING_VERSION}),
        S.DEQUEUED: frozenset(
            {S.EXECUTING, S.QUEUED, S.CANCELED, S.SYSTEM_FAILURE, S.PENDING_VERSION}
        ),
        S.EXECUTING: frozenset(
            {
                S.WAITING,
                S.QUEUED,
                S.COMPLETED,
                S.FAILED,
                S.CRASHED,
                S.SYSTEM_FAILURE,
                S.TIMED_OUT,
                S.CANCELED,
            }
        ),
        S.WAITING: frozenset({S.EXECUTING, S.QUEUED, S.CANCELED}),
        **{status: frozenset[RunStatus]() for status in FINAL},
    }
)

_NOT_BEGUN: Final = frozenset({S.DELAYED, S.QUEUED})
_OUTCOMES: Final = FINAL  # SYSTEM_FAILURE: a worker threw the message away

RECORDED_TRANSITIONS: Final[Mapping[RunStatus | None, frozenset[RunStatus]]] = MappingProxyType(
    {
        # What the broker and a worker of Celery's do with a task is told afterwards, several steps
        # at once, and not in order: a run may begin in any status, and skip any.
        None: _NOT_BEGUN | {S.EXECUTING} | _OUTCOMES,
        S.DELAYED: frozenset({S.QUEUED, S.EXECUTING}) | _OUTCOMES,
        S.QUEUED: frozenset({S.DELAYED, S.EXECUTING}) | _OUTCOMES,
        S.EXECUTING: _NOT_BEGUN | _OUTCOMES,
        # Back from the end: the message is delivered once more, a silent process speaks again, or
        # the task put another one in its place. A success is the last word on one message.
        **{
            status: (_NOT_BEGUN | {S.EXECUTING} | _OUTCOMES) - {status}
            for status in sorted(_OUTCOMES)
        },
    }
)
"""The statuses of a recorded run; which one it has, its facts decide: `include/standing.lua`."""


def allowed(before: RunStatus | None, after: RunStatus) -> bool:
    """Say whether a run may go from *before* (None: it does not exist yet) to *after*.

    Staying where it is (a reschedule, a repeated cancel) is not a transition: the answer is no.
    """
    return after in TRANSITIONS[before]


def allowed_recorded(before: RunStatus | None, after: RunStatus) -> bool:
    """Say the same of a recorded run."""
    return after in RECORDED_TRANSITIONS.get(before, frozenset())


def mermaid() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for before, afters in TRANSITIONS.items():
        source = "[*]" if before is None else before.value
        lines += [f"    {source} --> {after.value}" for after in RunStatus if after in afters]
    lines += [f"    {status.value} --> [*]" for status in RunStatus if status in FINAL]
    return "\n".join(lines) + "\n"
