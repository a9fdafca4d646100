"""A pulled run as Celery's `Request`, so that events, inspect and signals see it."""

from __future__ import annotations

from collections import deque
from typing import Any

from trigger_celery.engine.attempts import Grant
from trigger_celery.errors import OutOfMemoryError
from trigger_celery.model.trace import carrier_of
from trigger_celery.worker.celery_internals import Request, cause, task_reserved

_EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class _Message:
    """Stands where Celery expects the broker's message; a run has none."""

    def __init__(self) -> None:
        self.delivery_info = {"exchange": "", "routing_key": None}
        self.properties: dict[str, Any] = {}
        self.headers: dict[str, Any] = {}
        self.body = ""
        self.content_type = self.content_encoding = None


_MESSAGE = _Message()


class RunRequest(Request):
    """Celery's request of a run. `cancelled`: by a cold shutdown, so the run goes back."""

    cancelled = False

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Stop the attempt, because the worker ends."""
        self.cancelled = True
        super().cancel(pool, signal, emit_retry=emit_retry)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> None:
        """Tell of a failure. A MemoryError fails its run only: Celery's would end the worker."""
        problem = cause(exc_info)
        if isinstance(problem, MemoryError):
            exc_info.exception = OutOfMemoryError(str(problem) or "MemoryError")
        super().on_failure(exc_info, send_failed_event, return_ok)


class EventSender:
    """Sends worker events through the hub, in order, from any thread.

    The dispatcher may flush its buffer when it sends; that must not happen on the event loop.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque(maxlen=10_000)

    @property
    def _dispatcher(self) -> Any:
        return getattr(getattr(self._worker, "consumer", None), "event_dispatcher", None)

    @property
    def enabled(self) -> bool:
        """Whether task events are on (`-E`, or `celery control enable_events`).

        Heartbeats use the same dispatcher: it is enabled for the group `worker` always.
        """
        dispatcher = self._dispatcher
        if dispatcher is None or not dispatcher.enabled:
            return False
        return not dispatcher.groups or "task" in dispatcher.groups

    def send(self, kind: str, **fields: Any) -> None:
        """Queue an event; the hub's thread sends it."""
        self._waiting.append((kind, fields))
        hub = getattr(self._worker, "hub", None)
        if hub is None:
            self._drain()
        else:
            hub.call_soon(self._drain)

    def _drain(self) -> None:
        dispatcher = self._dispatcher
        while self._waiting:
            kind, fields = self._waiting.popleft()
            if dispatcher is not None:
                dispatcher.send(kind, **fields)


def make_request(worker: Any, events: EventSender, task: Any, grant: Grant, payload: Any) -> Any:
    """Return the Request of one attempt, announced as received."""
    shown = f"({grant.id},)"
    headers = {
        "lang": "py",
        "task": grant.task,
        "id": grant.id,
        "root_id": grant.id,
        "parent_id": None,
        "retries": grant.attempt - 1 if grant.executing else grant.attempt,
        "ignore_result": True,
        "argsrepr": shown,
        "kwargsrepr": "{}",
        "headers": {},
        "origin": worker.hostname,
        "is_eager": False,
    }
    if grant.trace:
        # Where the instrumentation of Celery looks for it.
        headers.update(carrier_of(grant.trace))
    request = RunRequest(
        _MESSAGE,
        hostname=worker.hostname,
        eventer=events,
        app=worker.app,
        task=task,
        body=((payload,), {}, _EMBED),
        headers=headers,
        decoded=True,
    )
    request.request_dict["args"] = (payload,)
    request.request_dict["kwargs"] = {}
    task_reserved(request)
    if events.enabled:
        request.send_event(
            "task-received",
            name=grant.task,
            args=shown,
            kwargs="{}",
            root_id=grant.id,
            parent_id=None,
            retries=headers["retries"],
            eta=None,
            expires=None,
        )
    return request
