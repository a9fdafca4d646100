"""What runs do to wait, and what others do for them: one call each, in sync code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import redis

from trigger_celery.engine import batching, keys, triggering, waiting, waitpoints
from trigger_celery.engine.attempts import Grant
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.engine.triggering import NewRun, Origin
from trigger_celery.engine.waiting import Answer, Record
from trigger_celery.engine.waitpoints import NewWaitpoint, Noted, TokenFilter
from trigger_celery.model.batch import Batch, BatchItemError
from trigger_celery.model.duration import Delay
from trigger_celery.model.ids import batch_id, waitpoint_id
from trigger_celery.model.packet import JSON, Packet
from trigger_celery.model.waitpoint import Token
from trigger_celery.store.op import Call, Flow, ask
from trigger_celery.store.store import Store

T = TypeVar("T")

DAY = 86_400_000
HOUR = 3_600_000
RETENTION = 7 * DAY


def origin(grant: Grant, path: str = "", call: str = "", batch: str = "") -> Origin:
    """Return the links of runs that the granted run makes."""
    links = "\x1e".join((grant.id, grant.root_id or grant.id, str(grant.depth + 1)))
    return Origin(grant.id, links, path, call, batch)


class Waits:
    """The waiting half of `Engine`."""

    store: Store
    client: redis.Redis
    scope: str

    def run(self, flow: Flow[T]) -> T:
        return self.store.run_sync(flow)

    def deployed(self, new: NewRun) -> NewRun:
        """See `Engine.deployed`."""
        return new

    # Waitpoints

    def waitpoint(
        self, new: NewWaitpoint, grant: Grant | None = None, path: str = "1", call: str = "make"
    ) -> tuple[str, str]:
        """Make a waitpoint, in a run or outside; returns created, cached or again, and its id."""
        noted = Noted(grant.id, path, call) if grant else None
        word, found = self.run(ask(waitpoints.create_waitpoint(self.scope, new, RETENTION, noted)))
        return word, found

    def token(
        self,
        timeout: int = DAY,
        key: str = "",
        *,
        key_ttl: int = 30 * DAY,
        tags: Sequence[str] = (),
        at: int | None = None,
    ) -> str:
        """Make a token that times out in *timeout* ms, or at a moment; returns its id."""
        due = Delay(timeout, None) if at is None else Delay(None, at)
        new = NewWaitpoint(waitpoint_id(), "TOKEN", due, key, key_ttl, tuple(tags))
        return self.waitpoint(new)[1]

    def date(self, ms: int, key: str = "", *, key_ttl: int = 30 * DAY) -> str:
        """Make a waitpoint that is reached in *ms*; returns its id."""
        due = Delay(ms, None)
        return self.waitpoint(NewWaitpoint(waitpoint_id(), "DATETIME", due, key, key_ttl))[1]

    def complete(self, token: str, data: str = "1", type: str = JSON) -> bool:
        """End a token; False: it had ended before."""
        return self.run(waitpoints.complete_token(self.scope, token, Packet(data, type), RETENTION))

    def read_token(self, token: str) -> Token:
        return self.run(waitpoints.read_token(self.scope, token))

    def list_tokens(
        self, wanted: TokenFilter | None = None, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Token], str | None]:
        wanted = wanted or TokenFilter()
        return self.run(waitpoints.list_tokens(self.scope, wanted, limit, cursor))

    # Runs that wait

    def ask_to_wait(
        self,
        grant: Grant,
        target: str = "",
        *,
        path: str = "",
        call: str = "",
        park: bool = True,
        post: str = "",
    ) -> Answer:
        """Note a durable call and wait for *target*; the path is the target unless given."""
        path = path or target
        answer: Answer = self.run(
            ask(
                waiting.wait_for(
                    self.scope, grant.id, grant.epoch, path, call or path, target, post, park
                )
            )
        )
        return answer

    def wait(self, grant: Grant, target: str, **options: object) -> str:
        """The same; returns the word of the answer."""
        return self.ask_to_wait(grant, target, **options).word  # type: ignore[arg-type]

    def park(self, grant: Grant, *targets: str) -> Answer:
        return self.run(waiting.park_run(self.scope, grant.id, grant.epoch, targets))

    def resume(self, grant: Grant) -> str:
        """The run's own code gives its wait up."""
        return self.run(waiting.resume_run(self.scope, grant.id, grant.epoch))

    def evict(self, *grants: Grant) -> list[str]:
        pairs = [(grant.id, grant.epoch) for grant in grants]
        return self.run(waiting.evict_runs(self.scope, pairs))

    def step(self, grant: Grant, name: str, data: str, path: str = "") -> str | None:
        """Record a step and return the result that counts, or None: the run is not ours."""
        kept = self.run(
            waiting.record_step(
                self.scope, grant.id, grant.epoch, path or name, "step", name, Packet(data, JSON)
            )
        )
        return None if kept is None else kept.data

    def record(self, grant: Grant) -> Record:
        return self.run(waiting.read_record(self.scope, grant.id))

    # Children and batches

    def child(self, parent: Grant, new: NewRun, path: str = "", call: str = "") -> str:
        """Let a run make another; noted at *path*, if given."""
        made = triggering.create_run(
            self.scope, self.deployed(new), RETENTION, origin(parent, path, call)
        )
        return self.run(made).id

    def batch_calls(
        self,
        runs: Sequence[NewRun],
        parent: Grant | None = None,
        errors: Sequence[BatchItemError] = (),
        id: str = "",
    ) -> tuple[str, list[Call]]:
        """Return the calls that make a batch, not sent yet, behind its id."""
        batch = id or batch_id()
        for new in runs:
            self.deployed(new)
        made_in = origin(parent, batch=batch) if parent else Origin(batch=batch)
        calls = batching.batch_calls(self.scope, batch, runs, errors, RETENTION, made_in)
        return batch, calls

    def batch(
        self,
        runs: Sequence[NewRun],
        parent: Grant | None = None,
        errors: Sequence[BatchItemError] = (),
    ) -> str:
        """Make a batch: announced, created, sealed; returns its id."""
        batch, calls = self.batch_calls(runs, parent, errors)
        self.store.send(*calls)
        return batch

    def seal(self, batch: str) -> str:
        """Seal a batch; returns its status."""
        answer: bytes = self.run(ask(SCRIPTS.seal_batch(self.scope, id=batch)))
        return answer.decode()

    def read_batch(self, batch: str) -> Batch:
        return self.run(batching.read_batch(self.scope, batch))

    # What is stored

    def waiters(self, target: str) -> set[str]:
        found = self.client.smembers(keys.key(self.scope, "waiters", target))
        return {item.decode() for item in found}

    def waits_of(self, run: str) -> set[str]:
        found = self.client.smembers(keys.key(self.scope, "waiting", run))
        return {item.decode() for item in found}

    def waitpoint_fields(self, waitpoint: str) -> Mapping[str, str]:
        stored = self.client.hgetall(keys.key(self.scope, "waitpoint", waitpoint))
        return {name.decode(): value.decode() for name, value in stored.items()}
