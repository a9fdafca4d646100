"""`runs.replay`: a run once more."""

from __future__ import annotations

import json
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.durable import Durable, current_durable
from trigger_celery.bridge.recording.sending_again import SAME, send_again
from trigger_celery.bridge.request import build_run, check_options
from trigger_celery.engine.admission import Extras
from trigger_celery.engine.querying import not_found
from trigger_celery.engine.replaying import Original, copy_of, read_originals
from trigger_celery.engine.triggering import NewRun, create_run
from trigger_celery.errors import StateError
from trigger_celery.model.ids import GivenRunId, derived_id, derived_uuid, run_id, run_id_of
from trigger_celery.model.run import Run
from trigger_celery.sdk.handle import RunHandle, id_of
from trigger_celery.sdk.triggering import known, unvalidated
from trigger_celery.store.op import Flow, Op


def replay(run: str | RunHandle | Run, *, payload: Any = SAME, **options: Any) -> Op[RunHandle]:
    """Trigger a run again, whatever its status, and return the handle of the new run.

    The new run has the payload, the tags, the metadata as it was triggered, the queue (if that is
    still known), the concurrency key and the machine of the old one, and is a test if that was one.
    It does not have its idempotency key, delay, TTL, priority, attempts, maximum duration, version
    and parent. With *payload* it gets another one, which is validated; *options* are those of a
    trigger and replace what would be taken over.

    `run.is_replay` and `run.replayed_from` tell it from other runs, in tasks `ctx.run.is_replay`.
    A recorded run is sent again as a message with a new task id, with exactly the arguments that it
    had, or those of `payload={"args": […], "kwargs": {…}}`. Its options are delay, ttl, queue,
    priority and tags. It goes to the same queue if that is still known, with the same serializer and
    priority, and has none of the callbacks, headers and times of the old one. Raises StateError when
    its arguments are not known, because secrets were masked for one, and when the broker does not
    answer. If its task makes runs by now, so does the replay.

    In a run it is made once: a run executed again after a wait gets the same handle. Raises
    RunNotFoundError, the errors of a trigger, and StateError for a run that was kept without its
    payload.
    """
    bound = context.current()
    old = id_of(run)
    check_options(options)

    def flow() -> Flow[RunHandle]:
        durable = current_durable()
        name = durable.step_name(f"runs.replay {old}") if durable is not None else ""
        new = once("run", durable, name) or run_id()
        task_id = derived_uuid(new, old)
        [original] = yield from read_originals(bound.scope, [old])
        gone = original is None and isinstance(old, GivenRunId)
        if gone or (original is not None and original.sent is not None):
            new = run_id_of(task_id)
        if durable is not None and durable.had_before():
            return RunHandle(new, "" if original is None else original.task)
        if original is None:
            raise not_found(old)
        if original.sent is not None:
            yield from send_again(bound, original, task_id, options, payload)
            return RunHandle(new, original.task)
        if original.payload is None:
            raise StateError(
                f"run {old} was kept without its payload, because its item of a batch could not be "
                "triggered: trigger it again"
            )
        copy = _copy(bound, original, new, payload, options)
        made = yield from create_run(bound.scope, copy, bound.settings.run_retention)
        return RunHandle(made.id, original.task, made.is_cached)

    return bound.op(flow(), "runs.replay")


def once(kind: str, durable: Durable | None, name: str) -> str:
    """Return the id of what a run makes at this place: the same when it is executed again."""
    if durable is None:
        return ""
    return derived_id(kind, durable.run_id, f"{durable.attempt}:{name}")


def _copy(
    bound: TriggerCelery, original: Original, new: str, payload: Any, options: dict[str, Any]
) -> NewRun:
    task = original.task
    if payload is SAME and not options:
        return copy_of(original, bound.placement(None, task), new)
    same: dict[str, Any] = {
        "tags": original.tags or None,
        "metadata": json.loads(original.metadata) if original.metadata else None,
        "queue": original.queue or None,
        "concurrency_key": original.concurrency_key or None,
        "machine": original.machine or None,
        "test": original.test,
    }
    if payload is SAME:
        run = build_run(bound, unvalidated(task), task, None, same | options)
        if original.payload is not None:
            run.payload = original.payload
    else:
        run = build_run(bound, known(task), task, payload, same | options)
    run.id = new
    run.extras = run.extras or Extras()
    run.extras.replay_of = original.id
    run.extras.shown = original.shown
    return run
