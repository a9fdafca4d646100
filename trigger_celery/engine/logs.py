"""The logs of runs: how lines are stored, and how they are read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from trigger_celery.engine.querying import not_found
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.log_line import LogLine, rank_of, read_line
from trigger_celery.model.run import RunStatus
from trigger_celery.store.op import Await, Call, Flow, Listen

PAGE = 500
"""Lines read by one call."""
LOOK_EVERY = 0.4
"""Seconds between two looks for new lines."""
PATIENCE = 60.0
"""Seconds for which a reader waits for a server that is away."""


def append_lines(
    scope: str, op_id: str, run_id: str, lines: Sequence[str], dropped: int = 0
) -> Call:
    """Return the call that adds lines, in their stored form; a repeat of it adds nothing."""
    return SCRIPTS.append_logs(scope, lines, None, op_id=op_id, run_id=run_id, dropped=dropped)


class LogReader:
    """Reads the lines of a run one by one; when it follows, until the run has ended."""

    def __init__(self, scope: str, run_id: str, *, follow: bool, level: str) -> None:
        self.dropped = 0
        """Lines that are not there any more, as far as is known by now."""
        self._scope = scope
        self._id = run_id
        self._follow = follow
        self._rank = rank_of(level)
        self._after = "-"
        self._ready: deque[LogLine] = deque()
        self._more = True
        self._topic: Any = None

    def next(self) -> Flow[LogLine | None]:
        """Return the next line, or None at the end. Raises RunNotFoundError."""
        while True:
            if self._ready:
                return self._ready.popleft()
            if not self._more:
                return None
            yield from self._look()

    def _look(self) -> Flow[None]:
        began = time.monotonic()
        if self._follow and self._topic is None:
            self._topic = yield Listen(self._id)
        status, dropped, entries = yield from self._read()
        if not status:
            raise not_found(self._id)
        self.dropped = int(dropped)
        for _, (_, text) in entries:
            line = read_line(text)
            if rank_of(line.level) >= self._rank:
                self._ready.append(line)
        if entries:
            self._after = entries[-1][0].decode()
        if len(entries) < PAGE:
            self._more = self._follow and not RunStatus(status.decode()).is_final
            if self._more and not self._ready:
                yield Await(self._topic, max(0.01, LOOK_EVERY - (time.monotonic() - began)))

    def _read(self) -> Flow[Any]:
        """Read a page; who follows is told of the run's end, whose lines are stored before it."""
        read = SCRIPTS.read_logs(self._scope, run_id=self._id, after=self._after, count=PAGE)
        if self._topic is None:
            return (yield read)
        watch = SCRIPTS.read_run(
            self._scope, run_id=self._id, channel=self._topic.channel, watch="end", bodies="0"
        )
        return (yield [watch, read])[1]
