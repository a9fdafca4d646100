"""Messages of plain Celery tasks that the code of a run sends: once, also when it is executed again.

Such a call is a durable one. Its task id is made of its position, and the run's record says that it
was made as soon as the broker has the message. A process that dies between the two leaves a message
that is sent again, under the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from trigger_celery.bridge.blocking import raise_refusal
from trigger_celery.bridge.durable import Durable, Scope
from trigger_celery.engine.waiting import Answer, wait_for
from trigger_celery.errors import MaxDurationExceededError, RunCanceledError, StoreError
from trigger_celery.store.op import ask

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.calls")

POSITIONAL: Final = (
    "name", "args", "kwargs", "countdown", "eta", "task_id", "producer", "connection", "router", "result_cls", "expires",
    "publisher", "link", "link_error", "add_to_parent", "group_id", "group_index", "retries",
    "chord", "reply_to", "time_limit", "soft_time_limit", "root_id", "parent_id", "route_name",
    "shadow", "chain", "task_type", "replaced_task_nesting",
)  # fmt: skip
"""Parameters of Celery's `send_task`, in its order."""

_TASK_ID: Final = POSITIONAL.index("task_id")
_OVER: Final = (RunCanceledError, MaxDurationExceededError)


def is_sent_once(scope: Scope) -> bool:
    """Whether code with this place in a run sends as a durable call.

    Not in the function of a step, which is recorded itself; nor when the run has been cancelled or is
    over its time: what it sends to clean up is sent, and nothing of it is executed again.
    """
    return not scope.step and not isinstance(scope.durable.parking.stopped, _OVER)


def send_once(
    trigger: TriggerCelery,
    durable: Durable,
    send: Callable[..., Any],
    given: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """Send the message of a call by *send*, unless an earlier execution of the attempt has.

    Raises ReplayMismatchError for a call of another task than then, and what stops the run.
    """
    asked = {**options, **dict(zip(POSITIONAL, given, strict=False))}
    call = f"send {asked['name']}".replace("\x1f", " ")
    path, _ = durable.begin(call)
    if durable.knows(path):
        return _result(trigger, durable.found_at(path), asked)
    task_id = str(asked.get("task_id") or durable.task_id_of(path))
    if len(given) > _TASK_ID:
        given = (*given[:_TASK_ID], task_id, *given[_TASK_ID + 1 :])
    else:
        options = {**options, "task_id": task_id}
    result = send(*given, **options)
    _note(trigger, durable, path, call, task_id)
    return result


def _note(trigger: TriggerCelery, durable: Durable, path: str, call: str, task_id: str) -> None:
    """Write down that the message is on the broker, with the id that it has."""
    noted = f"{call}\x1f{task_id}"
    note = wait_for(trigger.scope, durable.run_id, durable.epoch, path, noted)
    try:
        answer: Answer = trigger.store.run_blocking(ask(note))
    except StoreError as problem:
        # To raise would be to say that it was not sent.
        logger.warning(
            "run %s has sent task %s as %s, and this cannot be noted: if the run is executed again "
            "after a wait, it sends it again, under the same id: %s",
            durable.run_id,
            call.partition(" ")[2],
            task_id,
            problem,
            extra={"action": "message_not_noted", "run_id": durable.run_id, "task_id": task_id},
        )
        return
    if answer.word not in ("ready", "full"):  # above the bound nothing is noted, as of runs
        raise_refusal(durable, answer, path, call, "")


def _result(trigger: TriggerCelery, task_id: str, asked: dict[str, Any]) -> Any:
    """Return what `send_task` has returned for the message, with its place in the parent's trail."""
    app: Any = trigger.app
    result = (asked.get("result_cls") or app.AsyncResult)(task_id)
    result.ignored = asked.get("ignore_result")
    parent = app.current_worker_task
    if parent is not None and asked.get("add_to_parent", True):
        parent.add_trail(result)
    return result
