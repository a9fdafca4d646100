"""What Celery says of a run, and the final runs from which chains, chords and callbacks go on.

The text begins with a letter that the scripts read: `c`, something goes on from the run whatever
its end is; `r`, a result backend is told of an end that no attempt has told it; `x`, nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trigger_celery.engine import keys
from trigger_celery.engine.offloading import put_away
from trigger_celery.engine.scripts import SCRIPTS
from trigger_celery.model.packet import Packet
from trigger_celery.store.op import Flow, command


def claim(scope: str, count: int, lease_ms: int) -> Flow[list[tuple[str, str]]]:
    """Return final runs that are to be continued, with what Celery says of each.

    They are the caller's for so long; then they are anybody's again.
    """
    reply: Sequence[bytes] = yield SCRIPTS.claim_continuing(scope, count=count, lease=lease_ms)
    texts = [part.decode() for part in reply]
    return list(zip(texts[::2], texts[1::2], strict=True))


def continued(scope: str, run_ids: Sequence[str]) -> Flow[None]:
    """Everything has gone on from these runs."""
    if run_ids:
        yield command("ZREM", keys.key(scope, "continuing"), *run_ids)


def note_progress(scope: str, run_id: str, celery: str) -> Flow[None]:
    """Change what Celery says of a final run: a part of what follows it has been sent."""
    yield command("SET", keys.key(scope, "canvas", run_id), celery, "XX", "KEEPTTL")


def read_celery(scope: str, run_id: str) -> Flow[str]:
    """Return what Celery says of a run; empty for nothing."""
    text: bytes | None = yield command("GET", keys.key(scope, "canvas", run_id))
    return "" if text is None else text.decode()


def was_lost(scope: str, run_id: str) -> Flow[bool]:
    """Return whether a worker has died over the run."""
    losses: bytes | None = yield command("HGET", keys.key(scope, "run", run_id), "lost")
    return int(losses or 0) > 0


def change_call(
    scope: str, run_id: str, epoch: str, celery: str = "", payload: Packet | None = None
) -> Flow[bool]:
    """Change what Celery says of a run under way, or its payload; False: it is not ours any more.

    A large payload goes to the payload store, if there is one. Raises PayloadStoreError.
    """
    if payload is not None:
        [payload] = yield from put_away(scope, [(run_id, payload)])
    kind, data = ("", "") if payload is None else (payload.type, payload.data)
    answer: Any = yield SCRIPTS.change_call(
        scope, run_id=run_id, epoch=epoch, celery=celery, ptype=kind, payload=data
    )
    return bool(answer == b"ok")
