"""A flow like that of `lifecycle.py`, of a run from which a chain of Celery's goes on."""

from __future__ import annotations

import json
from typing import Any

from tests.engine.lifecycle import RETENTION, Life
from trigger_celery.engine import continuing
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.cancelling import revoke_runs
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.store.op import Flow


class Continued(Life):
    """The flow. `answers` collects what must not depend on lost replies."""

    def flow(self) -> Flow[list[Any]]:
        """Change the call of an attempt, end it, and go on from it."""
        yield from self._register("w1", "t")
        extras = Extras(task_id="abc", celery='c{"id":"abc"}')
        (run,) = yield from self._create(1, extras=extras)
        (grant,) = yield from self._take("w1", 1)
        for payload in (Packet(json.dumps("p" * 99), JSON), Packet("2", "text/plain"), None):
            changed = yield from continuing.change_call(
                self.scope, run, grant.epoch, "c{}", payload
            )
            stale = yield from continuing.change_call(self.scope, run, "1", "c!", payload)
            self.answers.append((changed, stale))
        yield from self._finish(self._end(grant, "done", JSON, "7"))
        yield from continuing.claim(self.scope, 9, 1000)
        yield from continuing.note_progress(self.scope, run, "c{1}")
        yield from self._pass(2000)  # whoever claimed it is gone
        yield from continuing.claim(self.scope, 9, 1000)
        yield from continuing.continued(self.scope, [run])
        self.answers.append((yield from continuing.read_celery(self.scope, run)))
        yield from self._revoke(run)
        return self.answers

    def _revoke(self, final: str) -> Flow[None]:
        """Hear of a revoke, and of one that terminates."""
        (executing,) = yield from self._create(1)
        yield from self._take("w1", 1)
        (queued,) = yield from self._create(1)
        for ids, terminate in (([queued, final, executing], False), ([executing], True)):
            flow = revoke_runs(self.scope, ids, "Revoked", RETENTION, terminate=terminate)
            self.answers.append((yield from flow))
