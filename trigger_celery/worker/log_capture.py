"""What runs say by other means than the task logger: `logging` and `print`, caught for their logs.

Installed once per process, at its first run: when Celery has set up its own logging, and after a
pool process was forked.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any, TextIO

from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.run_log import current_log
from trigger_celery.model.log_line import level_of

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TASKS = "celery.task"
_MACHINERY = frozenset({"celery", "kombu", "billiard", "amqp", "vine", "trigger_celery"})
"""Loggers of what runs the run, not of the run; the task logger writes by itself."""

_installed: list[int] = []


class RunLogHandler(logging.Handler):
    """Puts records that are made in a run into the run's log."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Take the record without the lock of handlers: a log has its own."""
        kept: Any = self.filter(record)  # newer Pythons: the record, or another one
        if kept:
            self.emit(record if kept is True else kept)
        return bool(kept)

    def emit(self, record: logging.LogRecord) -> None:
        """Take the record, if it is a run's."""
        if record.name.partition(".")[0] in _MACHINERY and not record.name.startswith(_TASKS):
            return
        log = current_log()
        if log is None or record.levelno < log.rank:
            return
        try:
            message = record.getMessage().rstrip("\n")  # a warning's text ends with one
        except Exception:  # arguments that do not fit: the record's other handlers complain
            message = str(record.msg)
        extra = {name: value for name, value in vars(record).items() if name not in _OWN}
        if extra.get("task_id") in (log.run_id, "???"):  # by Celery's formatter of task loggers
            extra.pop("task_id")
            extra.pop("task_name", None)
        exception = record.exc_text
        if exception is None and record.exc_info and record.exc_info[0] is not None:
            exception = "".join(traceback.format_exception(*record.exc_info))
        log.add(
            level_of(record.levelno),
            message,
            log.attributes(extra) if extra else None,
            source="logging",
            name=record.name,
            exception=exception,
        )


class RunStdout:
    """Stands in front of `sys.stdout`: everything passes, and what a run prints is noted."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: Any) -> Any:
        """Write to what stands behind, and note it for the run."""
        written = self._stream.write(text)
        log = current_log() if isinstance(text, str) else None
        if log is not None:
            log.print(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __iter__(self) -> Any:
        return iter(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def capture_logs(trigger: TriggerCelery) -> None:
    """Begin to catch what runs of this process say; once."""
    if _installed == [os.getpid()]:
        return
    _installed[:] = [os.getpid()]
    settings = trigger.settings
    if settings.log_level == "none":
        return
    if settings.capture_logging:
        _catch_records()
    if settings.capture_print and not isinstance(sys.stdout, RunStdout) and sys.stdout is not None:
        sys.stdout = RunStdout(sys.stdout)


def _catch_records() -> None:
    handler = RunLogHandler()
    for logger in (logging.getLogger(), logging.getLogger(_TASKS)):
        known = any(isinstance(other, RunLogHandler) for other in logger.handlers)
        # Celery's task logger propagates only where it is told to.
        if not known and (logger.parent is None or not logger.propagate):
            logger.addHandler(handler)
