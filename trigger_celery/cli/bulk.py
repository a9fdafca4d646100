"""`runs bulk cancel|replay|list|get|abort`: many runs at once, carried out by the workers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import click

from trigger_celery.cli import output
from trigger_celery.cli.failure import Failure, Misuse
from trigger_celery.cli.options import ProjectGroup, json_option, project_of
from trigger_celery.cli.project import Project
from trigger_celery.cli.run_filters import filter_options, filters_of
from trigger_celery.engine.querying import list_workers
from trigger_celery.errors import PollTimeoutError
from trigger_celery.model.bulk import BulkAction, BulkStatus, BulkType
from trigger_celery.sdk import bulk as actions
from trigger_celery.sdk import runs as sdk_runs
from trigger_celery.sdk.run_filters import RunFilters
from trigger_celery.store.op import Op

COUNTED = 1000
"""Runs that are counted before the question whether to go on."""
LOOK_EVERY = 0.5

Show = Callable[[BulkAction], None]


@click.group("bulk", cls=ProjectGroup)
def bulk() -> None:
    """Cancel or replay many runs; workers do it, also when this command has ended."""


def _acting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command what cancel and replay share."""
    for option in (
        click.pass_context,
        json_option,
        click.option("--detach", is_flag=True, help="Print the id of the action and end."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("--name", help="A name, for people."),
        filter_options,
        click.argument("run_ids", metavar="[ID]...", nargs=-1),
    ):
        command = option(command)
    return command


@bulk.command("cancel")
@click.option("--reason", default="Canceled by user", show_default=True, help="Their error.")
@_acting
def cancel(ctx: click.Context, reason: str, **given: Any) -> None:
    """Cancel runs, with all their descendants: those named, or those that fit the options.

    Without --period and --from, those of the last 7 days; without --status, all that have not
    ended.
    """
    _act(project_of(ctx), BulkType.CANCEL, given, {"reason": reason})


@bulk.command("replay")
@_acting
def replay(ctx: click.Context, **given: Any) -> None:
    """Trigger runs again: those named, or those that fit the options.

    Without --period and --from, those of the last 7 days.
    """
    _act(project_of(ctx), BulkType.REPLAY, given, {})


def _act(project: Project, kind: BulkType, given: dict[str, Any], more: dict[str, Any]) -> None:
    _ = project.trigger
    as_json, yes, detach = (given.pop(name) for name in ("as_json", "yes", "detach"))
    run_ids, name = given.pop("run_ids"), given.pop("name")
    filters = cast("RunFilters", filters_of(given))
    if bool(run_ids) is bool(filters):
        raise Misuse(
            "say which runs: their ids, or options such as --status failed --task t, not both.\n"
            "  all of them   --period 30d"
        )
    call = actions.cancel if kind == BulkType.CANCEL else actions.replay
    which: dict[str, Any] = {"run_ids": run_ids} if run_ids else {"filter": filters}
    op = call(**which, name=name, **more)
    try:
        if not yes:
            _ask(kind, run_ids, filters)
    except BaseException:
        op.close()
        raise
    _follow(project, op, as_json=as_json, detach=detach)


def _ask(kind: BulkType, run_ids: tuple[str, ...], filters: RunFilters) -> None:
    if not is_interactive():
        raise Misuse("nobody is here to be asked: add --yes")
    count = f"{len(run_ids):,}" if run_ids else _count(kind, filters)
    runs = "run" if count == "1" else "runs"
    click.confirm(f"{kind.value.capitalize()} {count} {runs}?", abort=True, err=True)


def is_interactive() -> bool:
    """Tell whether a person can answer a question."""
    return sys.stdin.isatty()


def _count(kind: BulkType, filters: RunFilters) -> str:
    """Return how many runs are meant now, as text; large numbers are not counted to the end."""
    found = 0
    for _ in sdk_runs.list(**actions.with_defaults(filters, kind), limit=100):
        found += 1
        if found == COUNTED:
            return f"{COUNTED:,} or more"
    return f"{found:,}"


def _follow(project: Project, op: Op[BulkAction], *, as_json: bool, detach: bool) -> None:
    action = op.sync()
    if detach:
        _print(action, as_json)
        return
    project.note(action.id)
    if not any(worker.alive for worker in project.run(list_workers(project.trigger.scope))):
        project.note("no worker is running: the action waits for one")
    try:
        with _progress(project, action) as show:
            action = _until_end(action, show)
    except KeyboardInterrupt as problem:
        raise Failure(
            f"no longer watching; {action.id} goes on\n"
            f"  stop it  trigger-celery runs bulk abort {action.id}"
        ) from problem
    if as_json:
        output.print_json(action.to_dict())
    else:
        click.echo(_summary(action))
    if action.status == BulkStatus.ABORTED:
        raise Failure(f"{action.id} was aborted")


def _until_end(action: BulkAction, show: Show) -> BulkAction:
    while True:
        try:
            action = actions.poll(action, timeout=LOOK_EVERY).sync()
        except PollTimeoutError:
            action = actions.retrieve(action).sync()
        show(action)
        if action.is_completed:
            return action


@contextmanager
def _progress(project: Project, action: BulkAction) -> Iterator[Show]:
    """Show how far an action is: a bar on a terminal, else a line for each change."""
    if project.quiet or not output.fancy():
        last = [0]

        def say(now: BulkAction) -> None:
            if now.done_count != last[0] and not now.is_completed:
                last[0] = now.done_count
                project.note(_summary(now))

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(_summary(action), total=action.total)

        def draw(now: BulkAction) -> None:
            bar.update(shown, description=_summary(now), total=now.total, completed=now.done_count)

        yield draw


def _summary(action: BulkAction) -> str:
    done = "cancelled" if action.type == BulkType.CANCEL else "replayed"
    text = f"{action.success_count:,} {done}"
    if action.failure_count:
        text += f", {action.failure_count:,} failed"
    return text if action.total is None else f"{text}, of {action.total:,}"


@bulk.command("list")
@click.option("--limit", type=int, default=20, show_default=True, help="At most so many.")
@json_option
@click.pass_context
def list_(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List bulk actions, newest first."""
    project = project_of(ctx)
    _ = project.trigger
    found = actions.list(limit=limit).sync()
    if as_json:
        output.print_json({"bulk_actions": [action.to_dict() for action in found]})
        return
    if not found:
        project.note("no bulk actions")
        return
    columns = ("ID", "TYPE", "STATUS", "DONE", "FAILED", "CREATED", "NAME")
    output.print_table(columns, [_row(action) for action in found])


def _row(action: BulkAction) -> tuple[str, ...]:
    return (
        action.id,
        action.type.value,
        action.status.value,
        f"{action.success_count:,}",
        f"{action.failure_count:,}",
        output.instant(action.created_at),
        action.name or "",
    )


@bulk.command("get")
@click.argument("action_id", metavar="ID")
@json_option
@click.pass_context
def get(ctx: click.Context, action_id: str, as_json: bool) -> None:
    """Show how far a bulk action is."""
    _ = project_of(ctx).trigger
    _print(actions.retrieve(action_id).sync(), as_json)


@bulk.command("abort")
@click.argument("action_id", metavar="ID")
@json_option
@click.pass_context
def abort(ctx: click.Context, action_id: str, as_json: bool) -> None:
    """Stop a bulk action; what it has done stays."""
    _ = project_of(ctx).trigger
    _print(actions.abort(action_id).sync(), as_json)


def _print(action: BulkAction, as_json: bool) -> None:
    if as_json:
        output.print_json(action.to_dict())
    else:
        click.echo(f"{action.id}  {action.status.value}  {_summary(action)}")
