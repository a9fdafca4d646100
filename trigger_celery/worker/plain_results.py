"""What a Celery task returns that is taken over: whatever its result backend carries.

The backend gets the value itself, from Celery's tracer. The run keeps what a packet carries of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.result import ResultBase
from kombu.utils.json import dumps, loads

from trigger_celery.bridge.celery_side import goes_on
from trigger_celery.bridge.recording.values import RecordedValues
from trigger_celery.bridge.taking_over.results import keeps_results
from trigger_celery.errors import OutputError
from trigger_celery.model.packet import Packet, encode

if TYPE_CHECKING:
    from trigger_celery.worker.executor import RunExecution


def pack_result(execution: RunExecution, value: Any) -> Packet:
    """Return the output of a run whose task is Celery's; what no packet carries, as its repr.

    Raises OutputError if a chain or a chord goes on with it and no result backend has it.
    """
    if isinstance(value, ResultBase):
        made: Any = value
        value = made.as_tuple()  # as a result backend keeps it
    try:
        return _packet(value)
    except OutputError as unfit:
        try:
            return _packet(loads(dumps(value)))  # some objects say to Celery how they are written
        except Exception:
            if goes_on(execution.side) and not _is_kept(execution):
                raise unfit from None
        settings = execution.trigger.settings
        return RecordedValues((*settings.redact, *settings.mask)).value(value)


def _packet(value: Any) -> Packet:
    return encode(value, error=OutputError, too_large=OutputError, what="output")


def _is_kept(execution: RunExecution) -> bool:
    task: Any = execution.trigger.app.tasks[execution.definition.id]
    ignored = execution.side.get("ignore_result")
    if task.ignore_result if ignored is None else ignored:
        return False
    return keeps_results(task.backend)
