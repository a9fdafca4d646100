"""A flow like that of `lifecycle.py`, in which runs write metadata, tags, streams, log lines and objects."""

from __future__ import annotations

from typing import Any

from tests.driving import HOUR, RETENTION
from tests.engine.lifecycle import Life
from trigger_celery.engine import logs, metadata, sessions, streams, tagging
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.ids import op_id
from trigger_celery.model.packet import JSON
from trigger_celery.store.op import Flow, ask


class Data(Life):
    """The flow. `answers` collects what must not depend on lost replies."""

    def flow(self) -> Flow[list[Any]]:
        """Live through what runs may carry."""
        yield from self._register("w1", "t")
        yield from self._create(2, metadata='{"n":1}', tags=("x",))
        (one, two) = yield from self._take("w1", 2)
        for number in range(3):
            yield from self._change(one, two.id, f'[["increment","n",{number}]]')
        yield from metadata.fold_metadata(self.scope, two.id)
        yield from self._change(one, two.id, '[["append","list",1]]')
        self.answers.append((yield from tagging.add_tags(self.scope, one.id, ["y", "x"])))
        to = streams.Address(self.scope, two.id, "words", one.id, one.epoch)
        yield from streams.append(to, ['"a"', '"b"'], begins=True)
        yield from streams.append(to, ['"c"'], ends=True)
        for line in ("one", "two"):
            yield from ask(logs.append_lines(self.scope, one.id, op_id(), [line], 0))
        for grant in (one, two):
            stored = yield from metadata.read_metadata(self.scope, grant.id)
            assert stored is not None
            self.answers.append(stored.now.to_text())
            yield from self._finish(self._end(grant, "done", JSON, "1"))
        yield SCRIPTS.note_objects(self.scope, [one.id, two.id], None, most=9)
        yield from self._pass(RETENTION + HOUR)
        yield from sessions.prune(self.scope, 100)
        yield SCRIPTS.prune_objects(self.scope, (), None, count=9)
        yield SCRIPTS.prune_objects(self.scope, [one.id, 1], None, count=0)
        return self.answers

    def _change(self, grant: Grant, above: str, changes: str) -> Flow[None]:
        """Change the metadata of a run, and of the one above it."""
        batch = metadata.Batch([(grant.id, changes, 1), (above, changes, 1)])
        reply = yield batch.call(self.scope, grant.id, grant.epoch)
        yield from metadata.settle(self.scope, batch, reply)
