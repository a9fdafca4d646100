"""`logger`: structured logging that takes any `extra` keys."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable

_log = logging.getLogger("trigger_celery.task")
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class TaskLogger:
    """Logs through the standard library's logger `trigger_celery.task`.

    Unlike it, `extra` may have any keys: those that would collide with a record's own
    attributes (`name`, `message`, `args` …) get a `_` behind. In a run, every record carries
    `run_id` and `task_id`. A run that is executed again after a wait is silent until the place
    where it waited.
    """

    def debug(self, message: object, **kwargs: Any) -> None:
        """Log at DEBUG."""
        self._write(logging.DEBUG, message, **kwargs)

    def info(self, message: object, **kwargs: Any) -> None:
        """Log at INFO."""
        self._write(logging.INFO, message, **kwargs)

    log = info

    def warning(self, message: object, **kwargs: Any) -> None:
        """Log at WARNING."""
        self._write(logging.WARNING, message, **kwargs)

    warn = warning

    def error(self, message: object, **kwargs: Any) -> None:
        """Log at ERROR; `exc_info=True` adds the traceback."""
        self._write(logging.ERROR, message, **kwargs)

    def _write(
        self,
        level: int,
        message: object,
        *,
        extra: Mapping[str, Any] | None = None,
        exc_info: Any = None,
    ) -> None:
        if not _log.isEnabledFor(level):
            return
        durable = current_durable()
        if durable is not None and durable.replaying:
            return  # it was said before the run waited
        fields = {
            (f"{name}_" if name in _RESERVED else str(name)): value
            for name, value in (extra or {}).items()
        }
        ctx = context.current_context()
        if ctx is not None:
            fields.setdefault("run_id", ctx.run.id)
            fields.setdefault("task_id", ctx.task.id)
        _log.log(level, "%s", message, extra=fields, exc_info=exc_info, stacklevel=3)


logger = TaskLogger()
"""The task logger."""
