"""What every way of triggering shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from trigger_celery.bridge import context
from trigger_celery.bridge.binding import TriggerCelery
from trigger_celery.bridge.blocking import durable_wait
from trigger_celery.bridge.durable import current_durable, require_run
from trigger_celery.bridge.placing import asked, placed
from trigger_celery.bridge.registry import REGISTRY, TaskDefinition
from trigger_celery.bridge.request import build_run
from trigger_celery.bridge.tracing import send, sent_flow
from trigger_celery.engine.querying import read_outcomes
from trigger_celery.engine.triggering import (
    NewRun,
    create_call,
    create_run,
    may_be_put_away,
    put_payloads_away,
)
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.task_options import check_task_id
from trigger_celery.model.wait import WaitInfo
from trigger_celery.sdk.handle import RunHandle
from trigger_celery.sdk.making import MakingOp
from trigger_celery.sdk.results import ResultOp, TaskResult, result_of
from trigger_celery.store.op import Flow, Op


def trigger(
    definition: TaskDefinition | None, task_id: str, payload: Any, options: Mapping[str, Any]
) -> MakingOp[RunHandle]:
    """Return the operation that makes one run; bad input raises now."""
    bound = context.current()
    run = build_run(bound, definition, task_id, payload, options)
    return MakingOp(
        bound.store, _creation(bound, run), "trigger", lambda: _placed_later(bound, run)
    )


def _placed_later(
    bound: TriggerCelery, run: NewRun
) -> tuple[RunHandle, Callable[[], Op[RunHandle]]]:
    """Give a run to come its place and its id; return its handle, and what makes it."""
    durable, path = current_durable(), ""
    if durable is not None:
        path = durable.scope_of("trigger").next_path()
        run.id = durable.id_of("run", path)
    handle = RunHandle(run.id, run.placement.task)
    return handle, lambda: bound.op(_creation(bound, run, path), "trigger")


def _creation(bound: TriggerCelery, run: NewRun, path: str = "") -> Flow[RunHandle]:
    """Make one run; in a run at the next place, or at the one it was given."""
    origin = placed(run, "trigger", path)
    sent = send(bound, origin, origin.path, (run,))
    if sent is None:
        made = yield from create_run(bound.scope, run, bound.settings.run_retention, origin)
    else:
        retention = bound.settings.run_retention
        made = yield from sent.around(create_run(bound.scope, run, retention, sent.origin))
    return RunHandle(made.id, run.placement.task, made.is_cached)


def trigger_and_wait(
    definition: TaskDefinition | None, task_id: str, payload: Any, options: Mapping[str, Any]
) -> ResultOp[TaskResult[Any], Any]:
    """Return the operation that makes a child run and waits for it; bad input raises now."""
    bound = context.current()
    require_run("trigger_and_wait()")
    run = build_run(bound, definition, task_id, payload, options)
    flow = child_flow(bound, run, "trigger_and_wait")
    return ResultOp(bound.store, flow, "trigger_and_wait")


def child_flow(bound: TriggerCelery, run: NewRun, how: str) -> Flow[TaskResult[Any]]:
    """Make a child run and wait for it; in a run."""
    durable = require_run(f"{how}()")
    retention = bound.settings.run_retention
    if may_find(run):
        # Which run it is, is noted first, so that a replay waits for the same.
        origin = placed(run, how)
        sent = send(bound, origin, origin.path, (run,))
        made_at = origin if sent is None else sent.origin
        found = yield from sent_flow(sent, create_run(bound.scope, run, retention, made_at))
        del run
        call = f"{how} {found.id}"
        info = WaitInfo("task", run_id=found.id)
        yield from durable_wait(durable, bound.scope, durable.begin(call), call, found.id, info)
        [outcome] = yield from read_outcomes(bound.scope, [found.id])
        return result_of(outcome)
    call = asked(how, run)
    position = durable.begin(call)
    child = run.id = durable.id_of("run", position[0])
    if may_be_put_away(run) and not durable.knows(position[0]):
        yield from put_payloads_away(bound.scope, (run,))
    origin = durable.origin()
    sent = send(bound, origin, position[0], (run,))
    if sent is not None:
        origin = sent.origin
    prepare = [create_call(bound.scope, run, retention, origin)]
    del run  # with its payload: the call has it until it is sent
    info = WaitInfo("task", run_id=child)
    yield from durable_wait(durable, bound.scope, position, call, child, info, prepare, sent)
    [outcome] = yield from read_outcomes(bound.scope, [child])
    return result_of(outcome)


def may_find(*runs: NewRun) -> bool:
    """Whether a run that is there already may be the answer."""
    return any(run.extras is not None and run.extras.may_find for run in runs)


def patience(timeout: str | float | timedelta | None) -> float | None:
    """Return a timeout in seconds; None waits for ever. Raises InvalidDurationError."""
    return None if timeout is None else parse_duration(timeout, name="timeout") / 1000


def known(task_id: str) -> TaskDefinition | None:
    """Return the definition, if this process has it."""
    return REGISTRY.tasks.get(task_id)


def unvalidated(task_id: str) -> TaskDefinition | None:
    """Return what is known here of an id, without its schema: by id nothing is validated."""
    check_task_id(task_id)
    definition = known(task_id)
    if definition is None or definition.schema is None:
        return definition
    return replace(definition, schema=None)
