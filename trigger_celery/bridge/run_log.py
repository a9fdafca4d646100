"""What runs of this process say, on its way to the store.

Each attempt that says something has a `RunLog`; those that say nothing have none. One thread per
process sends the lines of all of them, half a second after the first at the latest.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from itertools import chain
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from trigger_celery.bridge import context
from trigger_celery.engine.logs import append_lines
from trigger_celery.errors import StoreError, StoreUnavailableError
from trigger_celery.model.ids import op_id
from trigger_celery.model.log_line import LogSource, rank_of
from trigger_celery.model.packet import dump_json
from trigger_celery.model.redaction import MAX_MESSAGE, Redaction
from trigger_celery.store.op import Call

if TYPE_CHECKING:
    from trigger_celery.bridge.binding import TriggerCelery

logger = logging.getLogger("trigger_celery.logs")

INTERVAL = 0.5
"""Seconds after which a line is sent: what a killed process had not sent yet is lost."""
AT_ONCE = 1000
"""Lines of a process that are sent without waiting for more."""
CALL_LINES, CALL_BYTES = 500, 256 * 1024
"""What one call of the store carries."""
KNOWN_CALLS = 8
"""Calls of one run that go in one pipeline: half of those that the server remembers."""
MAX_BUFFER = 8 * 1024 * 1024
"""Bytes of lines that a process keeps while the store is away; more are dropped, and counted."""
PATIENCE = 2.0
"""Seconds that the end of an attempt waits for its lines to be stored."""


class Speaker(Protocol):
    """An attempt, as far as its log needs it."""

    log: RunLog | None

    @property
    def trigger(self) -> TriggerCelery:
        """The binding it belongs to."""
        ...

    @property
    def durable(self) -> Any:
        """Its durable side: run, attempt, and whether it is replayed."""
        ...


class RunLog:
    """The log of one attempt."""

    __slots__ = (
        "_durable", "_sender", "dropped", "lines", "partial", "pid", "rank", "size", "under_way",
        "waiting",
    )  # fmt: skip

    def __init__(self, sender: LogSender, durable: Any) -> None:
        self._sender = sender
        self._durable = durable
        self.rank = sender.rank
        """Lines below this are not for the log."""
        self.begin(os.getpid())

    def begin(self, pid: int) -> None:
        """Start empty in a process."""
        self.pid = pid
        self.lines: list[str] = []
        self.size = 0
        self.dropped = 0
        self.under_way = 0
        """Bytes of its lines that are being sent."""
        self.waiting = False
        """It is among those whose lines are to be sent."""
        self.partial = ""

    @property
    def run_id(self) -> str:
        """The run it belongs to."""
        run_id: str = self._durable.run_id
        return run_id

    def attributes(self, given: object) -> dict[str, Any]:
        """Return attributes as they may be stored."""
        return self._sender.redaction.attributes(given)

    def add(
        self,
        level: str,
        message: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        source: LogSource = "logger",
        name: str | None = None,
        exception: str | None = None,
        span_id: str | None = None,
        parent: str | None = None,
        took: float | None = None,
        decided: bool = False,
    ) -> None:
        """Take one line, unless the run is executed again and has said it before.

        *decided*: that has been looked at.
        """
        if not decided and self._durable.had_before(said=True):
            return
        line: dict[str, Any] = {
            "t": round(time.time(), 3),
            "l": level,
            "m": self._sender.redaction.message(message),
            "a": self._durable.attempt,
        }
        if attributes:
            line["d"] = attributes
        if source != "logger":
            line["s"] = source
        if name is not None:
            line["n"] = self._sender.redaction.message(name)
        if exception is not None:
            line["x"] = self._sender.redaction.message(exception[-MAX_MESSAGE:])
        if span_id is not None:
            line["i"], line["u"] = span_id, took
        if parent is None:
            span = context.current_span.get()
            parent = None if span is None else span.id
        if parent:
            line["p"] = parent
        self._sender.take(self, dump_json(line))

    def print(self, text: str) -> None:
        """Take what was printed: whole lines at once, the rest when its end comes."""
        if self._durable.had_before(said=True):
            return  # the begin of a line as well
        with self._sender.printing(self):
            *whole, rest = (self.partial + text).split("\n")
            if len(rest) > MAX_MESSAGE:
                whole.append(rest)
                rest = ""
            self.partial = rest
        for line in whole:
            if line.strip():
                self.add("info", line.rstrip("\r"), source="print", decided=True)

    def end(self) -> Future[None] | None:
        """Have everything sent now; returns what is done then, or None when all is stored."""
        rest, self.partial = self.partial, ""
        if rest.strip():
            self.add("info", rest, source="print", decided=True)
        return self._sender.flush(self)


class LogSender:
    """Sends the lines of this process's runs, of one binding."""

    def __init__(self, trigger: TriggerCelery) -> None:
        settings = trigger.settings
        self._store = trigger.store
        self.rank = rank_of(settings.log_level)
        self.redaction = Redaction(settings.redact)
        self._begin(os.getpid())

    def _begin(self, pid: int) -> None:
        self._pid = pid
        # What is called within them may be interrupted by a finalizer that says something, too.
        self._lock = threading.RLock()
        self._printing = threading.RLock()
        self._logs: list[RunLog] = []
        self._promises: list[Future[None]] = []
        self._lines = self._bytes = 0
        self._wakes: SimpleQueue[bool] = SimpleQueue()
        """There is something to send; True: at once."""
        self._thread: threading.Thread | None = None

    def open(self, durable: Any) -> RunLog:
        """Return the log of an attempt."""
        self._follow_fork()
        return RunLog(self, durable)

    def _follow_fork(self, log: RunLog | None = None) -> None:
        """A forked child has not the thread; the lines are its parent's, and the locks may be held."""
        pid = os.getpid()
        if self._pid != pid:
            self._begin(pid)
        if log is not None and log.pid != pid:
            log.begin(pid)

    def printing(self, log: RunLog) -> AbstractContextManager[bool]:
        """Return what keeps threads that print apart."""
        self._follow_fork(log)
        return self._printing

    def take(self, log: RunLog, text: str) -> None:
        """Keep one line until it is sent."""
        size = len(text) if text.isascii() else len(text.encode())
        self._follow_fork(log)
        with self._lock:
            if self._bytes + size > MAX_BUFFER:
                log.dropped += 1
            else:
                log.lines.append(text)
                log.size += size
                self._lines += 1
                self._bytes += size
            if not log.waiting:
                log.waiting = True
                self._logs.append(log)
                if self._thread is None:
                    self._start()
                self._wakes.put(False)
            if self._lines == AT_ONCE:
                self._wakes.put(True)

    def flush(self, log: RunLog) -> Future[None] | None:
        """Have the lines of a log sent at once."""
        self._follow_fork(log)
        with self._lock:
            if not (log.waiting or log.under_way):
                return None
            promise: Future[None] = Future()
            self._promises.append(promise)
            self._wakes.put(True)
            return promise

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._send_for_ever, name="trigger-logs", daemon=True
        )
        self._thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Send what is left: the process ends."""
        with self._lock:
            if self._thread is None or self._pid != os.getpid() or not self._bytes:
                return
            promise: Future[None] = Future()
            self._promises.append(promise)
            self._wakes.put(True)
        with suppress(TimeoutError):
            promise.result(PATIENCE)

    def _send_for_ever(self) -> None:
        while True:
            self._wait()
            try:
                self._send_all()
            except Exception:  # the thread is the only one: lines after these are to be sent
                logger.exception("log lines of runs were lost", extra={"action": "log_lines_lost"})

    def _wait(self) -> None:
        at_once = self._wakes.get()
        deadline = time.monotonic() + INTERVAL
        with suppress(Empty):
            while not at_once:
                at_once = self._wakes.get(timeout=max(0.0, deadline - time.monotonic()))

    def _send_all(self) -> None:
        with self._lock:
            with suppress(Empty):
                while True:
                    self._wakes.get_nowait()
            logs, self._logs = self._logs, []
            promises, self._promises = self._promises, []
            taken = [self._lift(log) for log in logs]
        try:
            calls = [self._calls(*parcel) for parcel in taken]
            # The server knows the last calls of a run: no more of one run may be under way.
            few = all(len(of_one) <= KNOWN_CALLS for of_one in calls)
            self._send(list(chain.from_iterable(calls)), 50 if few else KNOWN_CALLS)
        finally:
            with self._lock:
                for log in logs:
                    self._bytes -= log.under_way
                    log.under_way = 0
            for promise in promises:
                if promise.set_running_or_notify_cancel():
                    promise.set_result(None)

    def _lift(self, log: RunLog) -> tuple[str, list[str], int]:
        """Take the lines out of a log; their bytes count until they are stored."""
        lines, dropped = log.lines, log.dropped
        self._lines -= len(lines)
        log.under_way, log.size = log.size, 0
        log.lines, log.dropped, log.waiting = [], 0, False
        return log.run_id, lines, dropped

    def _calls(self, run_id: str, lines: list[str], dropped: int) -> list[Call]:
        calls: list[Call] = []
        some: list[str] = []
        size = 0
        for line in lines:
            if some and (len(some) == CALL_LINES or size + len(line) > CALL_BYTES):
                calls.append(append_lines(self._store.scope, op_id(), run_id, some))
                some, size = [], 0
            some.append(line)
            size += len(line)
        calls.append(append_lines(self._store.scope, op_id(), run_id, some, dropped))
        return calls

    def _send(self, calls: list[Call], together: int) -> None:
        """Send the calls, again and again while the server is away: a repeat adds nothing twice."""
        told = False
        for start in range(0, len(calls), together):
            while True:
                try:
                    self._store.send(*calls[start : start + together])
                    break
                except StoreUnavailableError as problem:
                    if not told:
                        logger.warning(
                            "log lines of runs wait for the server: %s",
                            problem,
                            extra={"action": "log_lines_wait"},
                        )
                    told = True
                    time.sleep(INTERVAL)
                except StoreError as problem:
                    logger.warning(
                        "log lines of runs could not be stored: %s",
                        problem,
                        extra={"action": "log_lines_lost"},
                    )
                    break


def current_log() -> RunLog | None:
    """Return the log of the run that this code belongs to, made now if need be; None outside."""
    execution: Any = context.current_execution.get()
    return None if execution is None else log_of(execution)


def log_of(execution: Speaker) -> RunLog | None:
    """Return the log of an attempt, or None when it has none and needs none."""
    log = execution.log
    if log is None:
        log = execution.log = execution.trigger.logs.open(execution.durable)
    return log


async def end_log(execution: Speaker) -> None:
    """Wait, but not for long, until what an attempt said is stored; on an event loop."""
    promise = None if execution.log is None else execution.log.end()
    if promise is not None:
        await asyncio.wait([asyncio.wrap_future(promise)], timeout=PATIENCE)


def end_log_blocking(execution: Speaker) -> None:
    """The same in a thread."""
    promise = None if execution.log is None else execution.log.end()
    if promise is not None:
        with suppress(TimeoutError):
            promise.result(PATIENCE)


def send_log(execution: Speaker) -> None:
    """Have what an attempt said sent soon, without waiting: the attempt is stopped."""
    if execution.log is not None:
        execution.log.end()
