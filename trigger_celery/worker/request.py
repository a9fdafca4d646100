"""A pulled run as Celery's `Request`, so that events, inspect and signals see it."""

from __future__ import annotations

import json
import logging
from collections import deque
from contextlib import suppress
from typing import Any

from celery.utils.saferepr import saferepr

from trigger_celery.bridge.celery_side import CANVAS, REQUEUED
from trigger_celery.bridge.registry import REGISTRY, PlainTask
from trigger_celery.bridge.result import revoke_run
from trigger_celery.engine.admission import SHOWN, shown_of
from trigger_celery.engine.attempts import Grant
from trigger_celery.errors import OutOfMemoryError, StoreError
from trigger_celery.model.trace import carrier_of
from trigger_celery.worker.celery_internals import Request, as_failure, cause, task_reserved
from trigger_celery.worker.daemon_threads import call_later

logger = logging.getLogger("trigger_celery.worker")

_EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

Arguments = tuple[tuple[Any, ...], dict[str, Any]]

_LEVELS = 3
"""How deep they are shown where the app has no setting for it: before Celery 5.7."""


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
        """Stop the attempt, because the worker ends.

        Whether another one follows is decided by its run: the result backend is not told here that
        one does. That would block, too, which gevent's loop does not let a signal's handler do.
        """
        self.cancelled = True
        # Threads and solo cannot stop it. On solo the error would come up in the task's own code.
        with suppress(NotImplementedError):
            super().cancel(pool, signal, emit_retry=False)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Cancel the run: what is asked for by `control.revoke(id, terminate=True)`.

        To end its process only would be an attempt that failed, and the next one would begin.
        """
        call_later(0.0, _cancel, self.id)  # not here: the worker's loop may not wait

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> None:
        """Tell of a failure. A MemoryError fails its run only: Celery's would end the worker."""
        problem = cause(exc_info)
        if isinstance(problem, MemoryError):
            exc_info.exception = OutOfMemoryError(str(problem) or "MemoryError")
        super().on_failure(as_failure(exc_info), send_failed_event, return_ok)


def _cancel(task_id: str) -> None:
    try:
        revoke_run(task_id)
    except StoreError as problem:
        logger.warning(
            "%s is not cancelled, as it was asked for: %s",
            task_id,
            problem,
            extra={"action": "terminate_failed", "run_id": task_id},
        )


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


def celery_id(grant: Grant) -> str:
    """Return Celery's id of a run: its own, unless the call gave another."""
    if '"task_id"' in grant.options:
        return str(json.loads(grant.options).get("task_id") or grant.id)
    return grant.id


def _shown(worker: Any, grant: Grant, arguments: Arguments) -> list[str]:
    """Return what is shown of args and kwargs: what the call says, else the text of them.

    Of a task of ours the run's id, by which its payload is found.
    """
    said = shown_of(grant.options)
    if _plain(grant) is None:
        texts = [f"({grant.id},)", "{}"]
        return [said.get(name, text) for name, text in zip(SHOWN, texts, strict=True)]
    amqp, levels = worker.app.amqp, worker.app.conf.get("task_repr_maxlevels", _LEVELS)
    sizes = amqp.argsrepr_maxsize, amqp.kwargsrepr_maxsize
    return [
        said[name] if name in said else saferepr(value, size, maxlevels=levels)
        for name, value, size in zip(SHOWN, arguments, sizes, strict=True)
    ]


def _plain(grant: Grant) -> PlainTask | None:
    definition = REGISTRY.tasks.get(grant.task)
    return None if definition is None else definition.plain


def call_of(grant: Grant, payload: Any) -> Arguments:
    """Return what the task is called with. Raises InvalidOptionError for what does not fit it."""
    plain = _plain(grant)
    return ((payload,), {}) if plain is None else plain.arguments(payload)


def complete_request(request: dict[str, Any], grant: Grant) -> None:
    """Let a request say what Celery says of its run. Not what goes on from it: see `canvas_shown`."""
    side = grant.celery
    if not side:
        return
    request.update({name: value for name, value in side.items() if name not in CANVAS})
    headers = side.get("headers") or {}
    request.update({name: value for name, value in headers.items() if name not in request})
    request["retries"] = side.get("retries", 0) + grant.attempt - 1
    if _plain(grant) is None:
        request["ignore_result"] = True  # the run's end tells the result backend
    request["retries"] -= side.get(REQUEUED, 0)


def make_request(worker: Any, events: EventSender, task: Any, grant: Grant, payload: Any) -> Any:
    """Return the Request of one attempt, announced as received."""
    args, kwargs = call_of(grant, payload)
    is_plain = _plain(grant) is not None
    shown, shown_kwargs = _shown(worker, grant, (args, kwargs))
    headers = {
        "lang": "py",
        "task": grant.task,
        "id": celery_id(grant),
        "root_id": grant.root_id or celery_id(grant),
        "parent_id": grant.parent_id,
        "retries": grant.attempt - 1 if grant.executing else grant.attempt,
        "ignore_result": None if is_plain else True,  # None: what the task says
        "argsrepr": shown,
        "kwargsrepr": shown_kwargs,
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
        body=(args, kwargs, _EMBED),
        headers=headers,
        decoded=True,
    )
    request.request_dict["args"] = args
    request.request_dict["kwargs"] = kwargs
    request.request_dict["correlation_id"] = headers["id"]
    complete_request(request.request_dict, grant)
    task_reserved(request)
    if events.enabled:
        request.send_event(
            "task-received",
            name=grant.task,
            args=shown,
            kwargs=shown_kwargs,
            root_id=request.request_dict["root_id"],
            parent_id=request.request_dict["parent_id"],
            retries=request.request_dict["retries"],
            eta=None,
            expires=None,
        )
    return request
