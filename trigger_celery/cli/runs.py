"""`runs list`, `runs get`, `runs cancel`."""

from __future__ import annotations

from typing import Any

import click

from trigger_celery.cli import output
from trigger_celery.cli.failure import Failure
from trigger_celery.cli.options import ProjectGroup, json_option, project_of
from trigger_celery.errors import StateError
from trigger_celery.model.run import Run
from trigger_celery.sdk import runs as sdk_runs


@click.group("runs", cls=ProjectGroup)
def runs() -> None:
    """List, show and cancel runs."""


@runs.command("list")
@click.option("--status", multiple=True, help="Only runs with this status (repeat for several).")
@click.option("--task", multiple=True, help="Only runs of this task.")
@click.option("--tag", multiple=True, help="Only runs with this tag.")
@click.option("--queue", multiple=True, help="Only runs in this queue.")
@click.option("--period", help="Only runs made within this time, for example 1h or 7d.")
@click.option("--limit", type=int, default=20, show_default=True, help="Runs in a page, 1 to 100.")
@click.option("--cursor", help="Go on behind the page before; it names its cursor.")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, as_json: bool, **filters: Any) -> None:
    """List runs, newest first."""
    project = project_of(ctx)
    _ = project.trigger
    given = {name: value for name, value in filters.items() if value not in ((), None)}
    page = sdk_runs.list(**given).sync()
    if as_json:
        shown = [run.to_dict() for run in page.runs]
        output.print_json({"runs": shown, "next_cursor": page.next_cursor})
        return
    if not page.runs:
        project.note("no runs")
        return
    columns = ("ID", "TASK", "STATUS", "ATTEMPT", "CREATED", "WAITED", "TOOK", "TAGS")
    output.print_table(columns, [_row(run) for run in page.runs])
    if page.next_cursor:
        project.note(f"more: --cursor {page.next_cursor}")


def _row(run: Run) -> tuple[str, ...]:
    return (
        run.id,
        run.task_identifier,
        run.status.value,
        str(run.attempt_count or ""),
        output.instant(run.created_at),
        output.length(run.queue_wait),
        output.took(run),
        " ".join(run.tags),
    )


@runs.command("get")
@click.argument("run_id", metavar="ID")
@json_option
@click.pass_context
def get(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Show everything about a run."""
    _ = project_of(ctx).trigger
    run = sdk_runs.retrieve(run_id).sync()
    if as_json:
        output.print_json(run.to_dict())
        return
    output.fields([(name, text) for name, text in _details(run) if text])


def _details(run: Run) -> list[tuple[str, str]]:
    details = [
        ("id", run.id),
        ("task", run.task_identifier),
        ("status", run.status.value),
        ("queue", run.queue),
        ("concurrency key", run.concurrency_key or ""),
        ("priority", f"{run.priority:g} s" if run.priority else ""),
        ("tags", " ".join(run.tags)),
        ("parent", run.parent_id or ""),
        ("root", run.root_id or ""),
        ("batch", run.batch_id or ""),
        (
            "attempts",
            f"{run.attempt_count}" + (f" of {run.max_attempts}" if run.max_attempts else ""),
        ),
        ("created", output.instant(run.created_at)),
        ("delayed until", output.instant(run.delayed_until)),
        ("started", output.instant(run.started_at)),
        ("finished", output.instant(run.finished_at)),
        ("waited", output.length(run.queue_wait)),
        ("took", output.took(run)),
        ("payload", "" if run.payload is None else output.value_text(run.payload)),
        ("output", "" if run.output is None else output.value_text(run.output)),
        ("metadata", "" if run.metadata is None else output.value_text(run.metadata)),
    ]
    for attempt in run.attempts:
        if attempt.error is not None:
            name = attempt.error.name or attempt.error.code or attempt.error.type
            details.append((f"attempt {attempt.number}", f"{name}: {attempt.error.message}"))
    if run.error is not None:
        name = run.error.name or run.error.code or run.error.type
        details.append(("error", f"{name}: {run.error.message}"))
        details.append(("", run.error.stack_trace or ""))
    return details


@runs.command("cancel")
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@click.pass_context
def cancel(ctx: click.Context, run_ids: tuple[str, ...], as_json: bool) -> None:
    """Cancel runs in any state, with all their descendants."""
    _ = project_of(ctx).trigger
    done: list[Run] = []
    problems: list[str] = []
    for run_id in run_ids:
        try:
            done.append(sdk_runs.cancel(run_id).sync())
        except StateError as problem:
            problems.append(str(problem))
    if as_json:
        output.print_json({"runs": [run.to_dict() for run in done], "errors": problems})
    else:
        for run in done:
            click.echo(f"{run.id}  {run.status.value}")
    if problems:
        raise Failure("\n  ".join(problems))
