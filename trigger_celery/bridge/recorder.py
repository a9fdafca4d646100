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

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import signals, states

from trigger_celery.bridge import context
from trigger_celery.bridge.celery_times import delay_of, due_in
from trigger_celery.bridge.fact_sender import FactSender, OpenExecution
from trigger_celery.bridge.recorded_values import RecordedValues
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.engine.codec import dump_error
from trigger_celery.engine.recording import About, Fact, end_detail, start_detail
from trigger_celery.model.ids import op_id, run_id_of
from trigger_celery.model.packet import JSON
from trigger_celery.model.recorded import BACK, NOWHERE, RETRY, position
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
        self._wanted: dict[str, bool] = {}
        self._queues: dict[tuple[str, str], str] = {}
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
            (signals.worker_process_shutdown, self._process_ends),
        )

    def connect(self) -> None:
        """Begin to listen."""
        for signal, handler in self._links:
            signal.connect(handler, weak=False)

    def disconnect(self) -> None:
        """Stop listening, and send what is left."""
        for signal, handler in self._links:
            signal.disconnect(handler)
        self.sender.stop()

    def forget(self, task: str) -> None:
        """Look again whether a task is recorded."""
        self._wanted.pop(task, None)

    def _fail(self, problem: Exception) -> None:
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
            if task in self._tasks:  # another may still be registered
                self._wanted[task] = wanted
        return wanted

    @property
    def _tasks(self) -> Any:
        """The app's tasks. `app.tasks` would finalize the app, which a publish does not."""
        app: Any = self._trigger.app
        return app._tasks

    def _is_ours(self, task: Any) -> bool:
        """Whether a task of the bound app tells: others in this process have signals, too."""
        return task.app is self._trigger.app and self._is_wanted(task.name)

    def _configure(self) -> None:
        settings = self._trigger.settings
        self._rule = settings.record
        self._values = RecordedValues((*settings.redact, *settings.mask))
        self._wanted.clear()
        self._settings = settings

    def _look_up(self, task: str) -> bool:
        definition = REGISTRY.tasks.get(task)
        if definition is not None and definition.plain is None:
            return False  # the engine's own
        own = getattr(self._tasks.get(task), "record", None)
        return own if isinstance(own, bool) else self._rule.fits(task)

    # What a message says

    def _queue(self, exchange: str | None, routing_key: str | None) -> str:
        """Return the queue that messages to an exchange go to."""
        place = exchange or "", routing_key or ""
        if not place[0]:
            return place[1]
        name = self._queues.get(place)
        if name is None:
            if len(self._queues) >= 1000:  # routing keys may be anything
                self._queues.clear()
            queues = list(self._trigger.app.amqp.queues.values())  # publishing adds to them
            fitting = (
                queue.name
                for queue in queues
                if queue.exchange.name == place[0] and queue.routing_key in (place[1], "#")
            )
            name = self._queues[place] = next(fitting, place[1] or place[0])
        return name

    def _about(
        self, message: dict[str, Any], task: str, queue: str, kind: str = "", *, blind: bool = False
    ) -> About:
        parent, root = message.get("parent_id"), message.get("root_id")
        return About(str(message["id"]), task, queue, parent, root, kind, blind=blind)

    def _called(self, task: str, kwargs: Any) -> Any:
        """Return the task that a task of Celery's own calls for each item of a list, or None."""
        return self._tasks.get(kwargs["task"]["task"]) if task in _OF_LISTS else None

    def _add_published(
        self, message: dict[str, Any], task: str, queue: str, args: Any, kwargs: Any
    ) -> None:
        now = time.monotonic()
        known = self._tasks.get(task)
        packet = self._values.payload(known, args, kwargs, self._called(task, kwargs))
        self.sender.add(
            Fact(
                run_id_of(str(message["id"])),
                "p",
                _position(message),
                now,
                about=self._about(message, task, queue, packet.type, blind=known is None),
                payload=packet.data,
                detail=due_in(message.get("eta")),
            )
        )

    @_never_raise
    def _published(
        self, sender: Any = None, body: Any = None, headers: Any = None, exchange: Any = None,
        routing_key: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        """Task: a message is on the broker. Of protocol 1 the worker will tell."""
        if context.sending.get() is not self._trigger:
            return  # another app's
        if not isinstance(body, tuple) or not headers or "id" not in headers:
            return
        task = headers.get("task") or sender
        if self._is_wanted(task):
            queue = self._queue(getattr(exchange, "name", exchange), routing_key)
            self._add_published(headers, task, queue, body[0], body[1])

    @_never_raise
    def _received(self, request: Any = None, **_: Any) -> None:
        """The worker's main process has a message. Only those that wait there are of interest."""
        if request.eta and self._is_ours(request.task):
            message = request.request_dict
            self.sender.add(
                Fact(
                    run_id_of(request.id),
                    "p",
                    _position(message),
                    time.monotonic(),
                    about=self._about(message, request.name, self._queue_of(message)),
                    detail=due_in(request.eta),
                )
            )

    def _queue_of(self, message: Any) -> str:
        info = message.get("delivery_info") or {}
        return self._queue(info.get("exchange"), info.get("routing_key"))

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
        packet = self._values.payload(sender, args, kwargs, inner)
        again = bool((request.delivery_info or {}).get("redelivered"))
        fact = Fact(
            run_id_of(task_id),
            "s",
            _position(message),
            time.monotonic(),
            execution=op_id(),
            about=self._about(message, sender.name, self._queue_of(message), packet.type),
            payload=packet.data,
            detail=start_detail(request.hostname or "", again),
        )
        self.sender.follow_fork()
        self.sender.open[task_id] = OpenExecution(fact)
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
        execution = self.sender.open.pop(task_id, None)
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
        execution = self.sender.open.get(task_id)
        if execution is not None:
            if not execution.said:
                self.sender.end(execution, detail, text)
            return
        message = {} if request is None else request
        where = _position(message) if message else NOWHERE
        about = About(task_id, task.name, self._queue_of(message), None, None, "")
        if message:
            about = self._about(message, task.name, self._queue_of(message))
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
        """An execution ended with `self.retry()` or `autoretry_for`."""
        if request.is_eager or _in_attempt() or not self._is_ours(sender):
            return
        cause = reason.exc if isinstance(reason.exc, BaseException) else reason
        error = RunError.of(cause)
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
        error = RunError.of(exception)
        if error.stack_trace is None or exception.__traceback__ is None:
            error = replace(error, stack_trace=str(getattr(einfo, "traceback", None) or "") or None)
        message = vars(request) if known else None
        self._tell(sender, task_id, message, end_detail(_outcome(exception)), error)

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
        self, message: Any = None, name: Any = None, id: Any = None, **_: Any  # noqa: A002
    ) -> None:  # fmt: skip
        """The worker threw a message away whose task it does not know."""
        headers = getattr(message, "headers", None) or {}
        if not (isinstance(id, str) and isinstance(name, str) and self._is_wanted(name)):
            return
        info = message.delivery_info or {}
        queue = self._queue(info.get("exchange"), info.get("routing_key"))
        error = RunError.internal(
            "TASK_NOT_REGISTERED",
            f"the worker does not know the task {name!r}: it threw the message away",
        )
        self.sender.add(
            Fact(
                run_id_of(id),
                "e",
                _position(headers),
                time.monotonic(),
                about=self._about({**headers, "id": id}, name, queue),
                detail=end_detail("FAILED"),
                body=dump_error(error),
            )
        )

    @_never_raise
    def _process_ends(self, **_: Any) -> None:
        self.sender.close()


def _position(message: Any) -> str:
    return position(message.get("replaced_task_nesting"), message.get("retries"))


def _outcome(problem: BaseException) -> str:
    if isinstance(problem, SoftTimeLimitExceeded | TimeLimitExceeded):
        return "TIMED_OUT"
    return "CRASHED" if isinstance(problem, WorkerLostError) else "FAILED"
