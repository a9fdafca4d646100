"""Records what plain Celery tasks do: signals of producers and workers become facts.

Celery's own signals, and nothing of it patched: messages, results and timing stay as they are. What is
recorded is what a signal tells; what it costs is to note it in memory, see `fact_sender.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from celery import signals, states

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_task import registered
from trigger_celery.bridge.celery_times import delay_of
from trigger_celery.bridge.listening import leave, listen
from trigger_celery.bridge.recording.calls import RecordedCalls, about_of, note_serializer
from trigger_celery.bridge.recording.fact_sender import FactSender, OpenExecution, execution_key
from trigger_celery.bridge.recording.messages import Messages, Rejection, invalid, not_registered
from trigger_celery.bridge.recording.sending_again import replayed_as
from trigger_celery.bridge.recording.states import RecordedStates
from trigger_celery.bridge.recording.values import RecordedValues
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.bridge.time_limits import error_of, outcome_of, soft_limit_of
from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.recording import About, Fact, end_detail, start_detail
from trigger_celery.model.ids import op_id, run_id_of
from trigger_celery.model.packet import JSON
from trigger_celery.model.recorded import BACK, NOWHERE, REJECTED, RETRY, position
from trigger_celery.model.run_error import STRING_ERROR, RunError

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.recording")

_OF_LISTS = ("celery.map", "celery.starmap")
MAX_REASON = 8000
"""Characters of the stack trace that are kept of a retry's reason."""


def _never_raise(handler: Callable[..., None]) -> Callable[..., None]:
    """Whatever is wrong with recording, the task is not to notice."""

    @wraps(handler)
    def guarded(self: Recorder, *args: Any, **kwargs: Any) -> None:
        try:
            handler(self, *args, **kwargs)
        except Exception as problem:
            self._fail(problem)

    return guarded


def _in_attempt() -> bool:
    """Whether an attempt of a run executes the task: one that was taken over."""
    return context.current_execution.get() is not None


class Recorder:
    """Listens to Celery's signals in this process, for one binding."""

    def __init__(self, trigger: TriggerCelery) -> None:
        self._trigger = trigger
        self.sender = FactSender(trigger)
        self._settings: object = None
        self._rule: Any = None
        self._values = RecordedValues(())
        self._calls: Any = None
        self._wanted: dict[str, bool] = {}
        self._messages = Messages(trigger)
        self._states = RecordedStates(self.sender)
        self._failed = False
        self._links = (
            (signals.after_task_publish, self._published),
            (signals.task_received, self._received),
            (signals.task_prerun, self._started),
            (signals.task_postrun, self._ended),
            (signals.task_retry, self._retried),
            (signals.task_failure, self._failed_task),
            (signals.task_revoked, self._revoked),
            (signals.task_unknown, self._unknown),
            (signals.task_rejected, self._rejected),
            (signals.worker_process_shutdown, self._process_ends),
        )

    def connect(self) -> None:
        """Begin to listen."""
        for signal, handler in self._links:
            listen(signal, handler)

    def disconnect(self) -> None:
        """Stop listening, and send what is left."""
        for signal, handler in self._links:
            leave(signal, handler)
        self._states.give_back()
        self.sender.stop()

    def forget(self, task: str) -> None:
        """Look again whether a task is recorded."""
        self._wanted.pop(task, None)

    def _fail(self, problem: Exception) -> None:
        self.sender.miss()
        if not self._failed:
            self._failed = True
            logger.warning(
                "a task could not be recorded, and perhaps others: %r",
                problem,
                extra={"action": "recording_failed"},
                exc_info=problem,
            )

    # Which tasks

    def _is_wanted(self, task: str) -> bool:
        if self._trigger.settings is not self._settings:
            self._configure()
        wanted = self._wanted.get(task)
        if wanted is None:
            wanted = self._look_up(task)
            if self._task(task) is not None:  # another may still be registered
                self._wanted[task] = wanted
        return wanted

    def _task(self, name: str) -> Any:
        return registered(self._trigger.app, name)

    def _is_ours(self, task: Any) -> bool:
        """Whether a task of the bound app tells: others in this process have signals, too."""
        return task.app is self._trigger.app and self._is_wanted(task.name)

    def _configure(self) -> None:
        settings = self._trigger.settings
        self._rule = settings.record
        self._values = RecordedValues((*settings.redact, *settings.mask))
        self._calls = RecordedCalls(self._values, self._trigger.app.conf)
        self._states.configure(self._values)
        self._messages.configure()
        self._wanted.clear()
        self._settings = settings

    def _look_up(self, task: str) -> bool:
        definition = REGISTRY.tasks.get(task)
        if definition is not None and definition.plain is None:
            return False  # the engine's own
        own = getattr(self._task(task), "record", None)
        return own if isinstance(own, bool) else self._rule.fits(task)

    # What a message says

    def _called(self, task: str, kwargs: Any) -> Any:
        """Return the task that a task of Celery's own calls for each item of a list, or None."""
        return self._task(kwargs["task"]["task"]) if task in _OF_LISTS else None

    def _add_published(
        self, message: dict[str, Any], task: str, queue: str, body: tuple[Any, ...], options: Any
    ) -> None:
        args, kwargs, canvas = body
        now = time.monotonic()
        known, again = self._task(task), replayed_as(message["id"])
        kept = None if again is None else again.kept
        if kept is None:
            inner = self._called(task, kwargs)
            kept = self._calls.published(known, args, kwargs, inner, options)
        repeated = "" if again is None else again.text
        self.sender.add(
            Fact(
                run_id_of(str(message["id"])),
                "p",
                _position(message),
                now,
                about=about_of(message, task, queue, kept, blind=known is None, again=repeated),
                payload=kept.payload,
                detail=self._messages.detail(message, task, in_chord=bool(canvas.get("chord"))),
            )
        )

    @_never_raise
    def _published(
        self, sender: Any = None, body: Any = None, headers: Any = None, exchange: Any = None,
        routing_key: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        """Task: a message is on the broker. Of protocol 1 the worker will tell."""
        sending = context.sending.get()
        if sending is None or sending[0] is not self._trigger:
            return  # another app's
        if not isinstance(body, tuple) or not headers or "id" not in headers:
            return
        task = headers.get("task") or sender
        if self._is_wanted(task):
            queue = self._messages.queue(getattr(exchange, "name", exchange), routing_key)
            self._add_published(headers, task, queue, body, sending[1])

    @_never_raise
    def _received(self, request: Any = None, **_: Any) -> None:
        """The worker's main process has a message. Only those that wait there are of interest."""
        note_serializer(request)
        if request.eta and self._is_ours(request.task):
            message = request.request_dict
            self.sender.add(
                Fact(
                    run_id_of(request.id),
                    "p",
                    _position(message),
                    time.monotonic(),
                    about=about_of(message, request.name, self._messages.queue_of(message)),
                    detail=self._messages.detail(
                        message, request.name, in_chord=_ignored_in_chord(request)
                    ),
                )
            )

    # What the process that executes says

    @_never_raise
    def _started(
        self,
        sender: Any = None,
        task_id: Any = None,
        args: Any = None,
        kwargs: Any = None,
        **_: Any,
    ) -> None:
        """An execution begins."""
        request = sender.request
        if request.is_eager or _in_attempt() or not self._is_ours(sender):
            return
        message = vars(request)
        inner = self._called(sender.name, kwargs)
        kept = self._calls.received(sender, args, kwargs, inner, message)
        again = bool((request.delivery_info or {}).get("redelivered"))
        fact = Fact(
            run_id_of(task_id),
            "s",
            _position(message),
            time.monotonic(),
            execution=op_id(),
            about=about_of(message, sender.name, self._messages.queue_of(message), kept),
            payload=kept.payload,
            detail=start_detail(request.hostname or "", again),
        )
        self._states.watch(sender)
        self.sender.follow_fork()
        self.sender.open[execution_key(task_id, message)] = OpenExecution(fact)
        self.sender.add(fact)

    @_never_raise
    def _ended(
        self,
        sender: Any = None,
        task_id: Any = None,
        retval: Any = None,
        state: Any = None,
        **_: Any,
    ) -> None:
        """An execution is over, however. Failures and retries have been told."""
        execution = self.sender.open.pop(execution_key(task_id, vars(sender.request)), None)
        if execution is None or execution.said:
            return
        if state == states.SUCCESS:
            packet = self._values.value(retval)
            self.sender.end(execution, end_detail("COMPLETED", packet.type), packet.data)
        elif state == states.IGNORED:
            self.sender.end(execution, end_detail("COMPLETED", JSON, "ignored"), "null")
        elif state == states.REJECTED and getattr(retval, "requeue", False):
            self.sender.end(execution, end_detail(BACK, "", "returned to the broker"), "")
        elif state == states.REJECTED:
            error = dump_error(RunError.of(retval))
            self.sender.end(execution, end_detail("FAILED", "", "rejected"), error)

    def _tell(self, task: Any, task_id: str, request: Any, detail: str, error: RunError) -> None:
        """Tell how an execution ended: one of this process, or of a pool process that is gone."""
        text = dump_error(error)
        execution = self.sender.open.get(execution_key(task_id, request or {}))
        if execution is not None:
            if not execution.said:
                self.sender.end(execution, detail, text)
            return
        message = {} if request is None else request
        where = _position(message) if message else NOWHERE
        about = About(task_id, task.name, self._messages.queue_of(message), None, None, "")
        if message:
            about = about_of(message, task.name, self._messages.queue_of(message))
        self.sender.add(
            Fact(
                run_id_of(task_id), "e", where, time.monotonic(),
                about=about, detail=detail, body=text,
            )
        )  # fmt: skip

    @_never_raise
    def _retried(
        self, sender: Any = None, request: Any = None, reason: Any = None, **_: Any
    ) -> None:
        """An execution ended with `self.retry()` or `autoretry_for`.

        Without a reason a worker that ends has stopped it, and its message is delivered again.
        """
        if reason is None or request.is_eager or _in_attempt() or not self._is_ours(sender):
            return
        cause = reason.exc if isinstance(reason.exc, BaseException) else reason
        error = error_of(cause, soft_limit_of(request, sender))
        if error.stack_trace is not None:
            error = replace(error, stack_trace=error.stack_trace[-MAX_REASON:])
        detail = end_detail(RETRY, delay_of(reason.when))
        self._tell(sender, request.id, vars(request), detail, error)

    @_never_raise
    def _failed_task(
        self,
        sender: Any = None,
        task_id: Any = None,
        exception: Any = None,
        einfo: Any = None,
        **_: Any,
    ) -> None:
        """An execution raised, in this process; or the main one says that a pool process did not end it."""
        request = sender.request
        known = request.id == task_id
        if (known and request.is_eager) or _in_attempt() or not self._is_ours(sender):
            return
        error = error_of(exception, soft_limit_of(request, sender))
        if error.stack_trace is None or exception.__traceback__ is None:
            error = replace(error, stack_trace=str(getattr(einfo, "traceback", None) or "") or None)
        message = vars(request) if known else None
        self._tell(sender, task_id, message, end_detail(outcome_of(exception)), error)

    # What only the worker's main process knows

    @_never_raise
    def _revoked(
        self, sender: Any = None, request: Any = None, terminated: Any = None, signum: Any = None,
        expired: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        """A message was thrown away, or its execution was terminated."""
        if not self._is_ours(sender):
            return
        text = "its time to expire had passed" if expired else "revoked"
        if terminated:
            text = f"terminated by {signum}" if signum else "terminated"
        detail = end_detail("EXPIRED" if expired else "CANCELED")
        error = RunError(None, text, type=STRING_ERROR)
        self._tell(sender, request.id, vars(request), detail, error)

    @_never_raise
    def _unknown(
        self, sender: Any = None, message: Any = None, name: Any = None, **told: Any
    ) -> None:
        """The worker threw a message away whose task it does not know."""
        self._thrown_away(sender, message, name, told.get("id"), not_registered(name))

    @_never_raise
    def _rejected(self, sender: Any = None, message: Any = None, exc: Any = None, **_: Any) -> None:
        """The worker threw a message away that it may not or cannot read."""
        headers = getattr(message, "headers", None) or {}
        self._thrown_away(sender, message, headers.get("task"), headers.get("id"), invalid(exc))

    def _thrown_away(
        self, consumer: Any, message: Any, name: Any, task_id: Any, why: Rejection
    ) -> None:
        if consumer is None or consumer.app is not self._trigger.app:
            return  # the worker of another app in this process
        if not (isinstance(task_id, str) and isinstance(name, str) and self._is_wanted(name)):
            return
        headers = getattr(message, "headers", None) or {}
        queue = self._messages.queue_of({"delivery_info": message.delivery_info})
        self.sender.add(
            Fact(
                run_id_of(task_id),
                "e",
                _position(headers),
                time.monotonic(),
                about=about_of({**headers, "id": task_id}, name, queue),
                detail=end_detail(REJECTED, "", why.note(consumer.hostname)),
                body=dump_error(why.error(consumer.hostname)),
            )
        )

    @_never_raise
    def _process_ends(self, **_: Any) -> None:
        self.sender.close()


def _ignored_in_chord(request: Any) -> bool:
    """Whether a message is of a chord's header; the body is decoded only where it may matter."""
    return bool(request.ignore_result and request.chord)


def _position(message: Any) -> str:
    return position(message.get("replaced_task_nesting"), message.get("retries"))
