"""A flow like that of `lifecycle.py`, of a task that Celery carries and that is recorded."""

from __future__ import annotations

import time
from typing import Any

from tests.driving import ERROR, LEASE, RETENTION
from tests.engine.lifecycle import Life
from trigger_celery.engine import querying, recording, sessions
from trigger_celery.engine.recording import About, Fact, end_detail, start_detail
from trigger_celery.model.ids import run_id_of
from trigger_celery.model.packet import JSON
from trigger_celery.store.op import Flow


class Recorded(Life):
    """The flow. `answers` collects what must not depend on lost replies."""

    def _record(self, kinds: str, place: str, detail: str, body: str = "") -> Flow[None]:
        run = run_id_of("task")
        about = About("task", "old", "celery", None, "task", JSON)
        fact = Fact(
            run, kinds, place, time.monotonic(), execution="x", about=about,
            payload=f'"{"x" * 99}"', detail=detail, body=body,
        )  # fmt: skip
        yield recording.record_calls(self.scope, [fact], time.monotonic(), LEASE, RETENTION, 2)
        found = yield from querying.read_run(self.scope, run)
        self.answers.append((found.status, found.attempt_count, found.output))

    def flow(self) -> Flow[list[Any]]:
        """Publish, retry, go silent, speak again, and succeed."""
        yield from self._register("w1", "t")
        yield from sessions.sweep(self.scope, LEASE, 5000, RETENTION)
        retried = f"{start_detail('w', True)}\x1f{end_detail('RETRY', '0')}"
        yield from self._record("p", "0", "")
        yield from self._record("se", "0", retried, ERROR)
        yield from self._record("s", "1", start_detail("w", False))
        yield [recording.renew_call(self.scope, [(run_id_of("task"), "1", "x")], LEASE, RETENTION)]
        yield from self._pass(2 * LEASE)
        swept = yield from recording.sweep_recorded(self.scope, LEASE, RETENTION)
        self.answers.append(swept.more)
        yield [recording.renew_call(self.scope, [(run_id_of("task"), "1", "x")], LEASE, RETENTION)]
        yield from self._record("e", "1", end_detail("COMPLETED", JSON), "7")
        found = yield from recording.read_unrecorded(self.scope)
        self.answers.append(found.count)
        return self.answers
