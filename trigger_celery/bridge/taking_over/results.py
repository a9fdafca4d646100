"""What Celery's own call sees to besides the message: where its result goes, what its request says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from trigger_celery.bridge.celery_side import Side
from trigger_celery.bridge.celery_times import in_utc
from trigger_celery.model.duration import parse_delay


def expect_reply(app: Any, backend: Any, side: Side) -> None:
    """Let a result that is sent to its caller (`rpc://`) find the way; others are looked up.

    Raises kombu's OperationalError where the broker, which carries it, is away.
    """
    if not isinstance(backend, RPCBackend) or side.get("ignore_result"):
        return
    side.setdefault("reply_to", app.thread_oid)
    with app.producer_or_acquire() as producer:
        backend.on_task_call(producer, side["id"])  # before the run: its result may be quick


def keeps_results(backend: Any) -> bool:
    """Whether the backend can be asked for a result later: `rpc://` sends it, and none has nothing."""
    return not isinstance(backend, DisabledBackend | RPCBackend)


def inherited_priority(app: Any, options: Mapping[str, Any]) -> Any:
    """Return the priority of the task that makes the call, if the configuration wants that."""
    if not app.conf.task_inherit_parent_priority:
        return None
    if options.get("root_id") and options.get("parent_id"):
        return None
    parent = app.current_worker_task
    return None if parent is None else (parent.request.delivery_info or {}).get("priority")


def eta_of(options: Mapping[str, Any]) -> str:
    """Return the time of a call with `countdown` or `eta`, as `self.request` shows it."""
    return _moment(options.get("countdown") or options["eta"])


def expiry_of(expires: Any) -> str:
    """Return the time after which a call is not begun any more, as `self.request` shows it."""
    return _moment(expires)


def _moment(given: Any) -> str:
    """Return a time of Celery's, or a duration of ours, as the moment that it means."""
    at = in_utc(given)
    if isinstance(at, datetime):
        return at.isoformat()
    if not isinstance(at, int | float):
        at = (parse_delay(at).after_ms or 0) / 1000
    return (datetime.now(UTC) + timedelta(seconds=at)).isoformat()
