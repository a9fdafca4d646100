"""`idempotency_keys`: keys that name a thing to do, so that it is done once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.durable import current_durable
from trigger_celery.engine import admission
from trigger_celery.errors import IdempotencyKeyNotFoundError, InvalidOptionError, closest
from trigger_celery.model.idempotency import SCOPES, IdempotencyKey, KeyScope, scoped_key
from trigger_celery.model.ids import is_run_id
from trigger_celery.model.task_options import check_task_id
from trigger_celery.model.trigger_options import key_parts
from trigger_celery.store.op import Flow, Op, Sleep


def create(key: str | Sequence[str | int], *, scope: KeyScope | None = None) -> Op[IdempotencyKey]:
    """Return a key that counts within its scope.

    *scope* `run` (the default in a run): the same text means something else in another run, and the
    same in every attempt of this one. `attempt`: something else in each attempt. `global` (the
    default elsewhere): the same everywhere. A list of texts is one key; other lists are other
    keys, however their texts are joined. The key carries what it was made of: `.text`, `.scope`.
    """
    parts = key_parts(key)
    _check_scope(scope)

    def flow() -> Flow[IdempotencyKey]:
        durable = current_durable()
        wanted: KeyScope = scope or ("global" if durable is None else "run")
        yield Sleep(0.0)
        if wanted == "global":
            return scoped_key(parts, "global")
        if durable is None:
            raise InvalidOptionError(
                f"scope={wanted!r} needs a run: outside of one only global keys can be made"
            )
        return scoped_key(parts, wanted, durable.run_id, durable.attempt)

    return context.current().op(flow(), "idempotency_keys.create")


def reset(
    task: Any,
    key: str | Sequence[str | int] | IdempotencyKey,
    *,
    scope: KeyScope | None = None,
    parent_run_id: str | None = None,
    attempt_number: int | None = None,
) -> Op[None]:
    """Take a key from the run of a task that has it: the next trigger with it makes a new run.

    The run itself is left alone. *task* is a task or its id. A key made by `create` is used as it
    is. For text, *scope* is as in `create`; outside of a run, scope `run` needs *parent_run_id* and
    `attempt` also *attempt_number*, those of the run that triggered. Raises
    IdempotencyKeyNotFoundError when no run has the key.
    """
    task_id = check_task_id(getattr(task, "id", task))
    made = key if isinstance(key, IdempotencyKey) else None
    parts = [] if made is not None else key_parts(key)
    _check_scope(scope)
    bound = context.current()

    def flow() -> Flow[None]:
        durable = current_durable()
        meant = made or _scoped(parts, scope, parent_run_id, attempt_number)
        if durable is not None and durable.had_before():
            return
        if not (yield from admission.reset_key(bound.scope, task_id, meant)):
            raise IdempotencyKeyNotFoundError(
                f"no run of task {task_id!r} has the idempotency key {meant.text!r:.60} in scope "
                f"{meant.scope}: it was never used there, was reset, or its time has passed"
            )

    return bound.op(flow(), "idempotency_keys.reset")


def _scoped(
    parts: Sequence[str], scope: KeyScope | None, run_id: str | None, attempt: int | None
) -> IdempotencyKey:
    """Return the key of the run that is given, or of the one that this code belongs to."""
    durable = current_durable()
    wanted: KeyScope = scope or ("global" if durable is None and run_id is None else "run")
    if wanted == "global":
        return scoped_key(parts, "global")
    if run_id is None and durable is not None:
        run_id, attempt = durable.run_id, attempt or durable.attempt
    if not is_run_id(run_id):
        raise InvalidOptionError(
            f"scope={wanted!r} needs the run that triggered: parent_run_id='run_…', not {run_id!r}"
        )
    if wanted == "attempt" and (type(attempt) is not int or attempt < 1):
        raise InvalidOptionError(
            f"scope='attempt' needs the attempt that triggered: attempt_number=1, not {attempt!r}"
        )
    return scoped_key(parts, wanted, run_id, attempt or 0)


def _check_scope(scope: object) -> None:
    if scope is not None and scope not in SCOPES:
        raise InvalidOptionError(
            f"scope={scope!r} is none of {', '.join(SCOPES)}.{closest(str(scope), SCOPES)}"
        )
