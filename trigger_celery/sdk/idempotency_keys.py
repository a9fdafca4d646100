"""`idempotency_keys`: keys that name a thing to do, so that it is done once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.task_options import MAX_IDEMPOTENCY_KEY
from trigger_celery.store.op import Flow, Op, Sleep

SCOPES = ("run", "attempt", "global")


class IdempotencyKey(str):
    """A key made by `create`: text that is already scoped and is used as it is."""

    __slots__ = ()


def create(
    key: str | Sequence[str], *, scope: Literal["run", "attempt", "global"] | None = None
) -> Op[IdempotencyKey]:
    """Return a key that counts within its scope.

    *scope* `run` (the default in a run): the same text means something else in another run, and the
    same in every attempt of this one. `attempt`: something else in each attempt. `global` (the
    default elsewhere): the same everywhere. A list of texts is one key.
    """
    text = "\x1f".join([key] if isinstance(key, str) else [str(part) for part in key])
    if not text or len(text) > MAX_IDEMPOTENCY_KEY:
        raise InvalidOptionError(
            f"an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY:,} characters: {key!r:.60}"
        )
    if scope is not None and scope not in SCOPES:
        raise InvalidOptionError(f"scope={scope!r} is none of {', '.join(SCOPES)}")

    def flow() -> Flow[IdempotencyKey]:
        durable = current_durable()
        wanted = scope or ("global" if durable is None else "run")
        parts = [text]
        if wanted != "global":
            if durable is None:
                raise InvalidOptionError(
                    f"scope={wanted!r} needs a run: outside of one only global keys can be made"
                )
            parts.append(durable.run_id)
            if wanted == "attempt":
                parts.append(str(durable.attempt))
        yield Sleep(0.0)
        return IdempotencyKey(sha256("\x1e".join(parts).encode()).hexdigest())

    return context.current().op(flow(), "idempotency_keys.create")
