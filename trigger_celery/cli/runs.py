"""`runs list`, `runs get`, `runs logs`, `runs cancel`, `runs replay`; `runs bulk` is in bulk.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trigger_celery.cli import output
from trigger_celery.cli.bulk import bulk
from trigger_celery.cli.failure import Failure
from trigger_celery.cli.log_text import log_text
from trigger_celery.cli.options import ProjectGroup, json_option, project_of
from trigger_celery.cli.payload import read_payload
from trigger_celery.cli.run_filters import filter_options, filters_of
from trigger_celery.engine.listing import RunPage
from trigger_celery.errors import StateError
from trigger_celery.model.run import Attempt, Run
from trigger_celery.model.run_error import error_line
from trigger_celery.sdk import runs as sdk_runs

SHOWN_CHILDREN = 10


@click.group("runs", cls=ProjectGroup)
def runs() -> None:
    """List, show, cancel and replay runs."""


runs.add_command(bulk)


@runs.command("list")
@filter_options
@click.option("--limit", type=int, default=20, show_default=True, help="Runs in a page, 1 to 100.")
@click.option(
    "--after", "--cursor", "after", help="Go on with older runs; a page names its cursor."
)
@click.option("--before", help="Go back to newer runs.")
@click.option("--all", "every", is_flag=True, help="All pages. With --json, one object a line.")
@json_option
@click.pass_context
def list_(ctx: click.Context, /, every: bool, as_json: bool, **given: Any) -> None:
    """List runs, newest first."""
    project = project_of(ctx)
    _ = project.trigger
    listed = sdk_runs.list(**filters_of(given))
    if every and as_json:
        for run in listed:
            click.echo(json.dumps(run.to_dict(), ensure_ascii=False))
        return
    page = RunPage([*listed]) if every else listed.sync()
    if as_json:
        output.print_json(
            {
                "runs": [run.to_dict() for run in page],
                "next_cursor": page.next_cursor,
                "previous_cursor": page.previous_cursor,
            }
        )
        return
    if not page.runs:
        project.note("no runs")
        return
    columns = ("ID", "TASK", "STATUS", "ATTEMPT", "CREATED", "WAITED", "TOOK", "TAGS")
    output.print_table(columns, [_row(run) for run in page.runs])
    if page.next_cursor:
        project.note(f"more: --after {page.next_cursor}")


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
        ("Celery's id", run.celery_task_id or ""),
        ("task", run.task_identifier),
        ("status", run.status.value),
        ("queue", run.queue),
        ("concurrency key", run.concurrency_key or ""),
        ("priority", f"{run.priority:g} s" if run.priority else ""),
        ("tags", " ".join(run.tags)),
        ("parent", run.parent_id or ""),
        ("root", run.root_id or ""),
        ("batch", run.batch_id or ""),
        ("replay of", run.replayed_from or ""),
        *_children(run),
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
        ("notes", ", ".join(run.notes)),
        ("metadata", "" if run.metadata is None else output.value_text(run.metadata)),
    ]
    details += [(f"attempt {attempt.number}", _attempt(attempt)) for attempt in run.attempts]
    if run.error is not None:
        details.append(("error", error_line(run.error)))
        details.append(("", run.error.stack_trace or ""))
    return details


def _attempt(attempt: Attempt) -> str:
    """Return why an attempt was not the last, or what else is to be said of it."""
    again = attempt.retry_delay
    said = (
        "" if attempt.error is None else error_line(attempt.error),
        "" if again is None else f"again after {output.length(again)}",
        attempt.note or "",
    )
    return "; ".join(filter(None, said))


def _children(run: Run) -> list[tuple[str, str]]:
    around = run.related_runs
    if around is None or not around.child_count:
        return []
    lines = [
        f"{child.id}  {child.task_identifier}  {child.status.value}"
        for child in around.children[:SHOWN_CHILDREN]
    ]
    if around.child_count > len(lines):
        lines.append(f"… {around.child_count:,} in all: runs list --parent {run.id}")
    return [("children", "\n".join(lines))]


@runs.command("logs")
@click.argument("run_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("--level", default="debug", show_default=True, help="Only lines from this level on.")
@json_option
@click.pass_context
def logs(ctx: click.Context, run_id: str, follow: bool, level: str, as_json: bool) -> None:
    """Print what a run said. With --json, one JSON object a line."""
    project = project_of(ctx)
    _ = project.trigger
    lines = sdk_runs.logs(run_id, follow=follow, level=level)
    printed = False
    for line in lines:
        printed = True
        if as_json:
            click.echo(json.dumps(line.to_dict(), ensure_ascii=False))
        else:
            click.echo(log_text(line))
    if not printed and not as_json and sdk_runs.retrieve(run_id).sync().recorded:
        project.note("a Celery task that is only recorded says what it says in its worker's log")
    if lines.dropped:
        project.note(f"{lines.dropped:,} more lines were not kept: a log has its newest")


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


@runs.command("replay")
@click.argument("run_id", metavar="ID")
@click.option("--payload", help="Another payload, JSON; - reads it from stdin.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Read it from here.")
@click.option("--tag", "tags", multiple=True, help="Other tags (repeat for several).")
@click.option("--queue", help="Another queue.")
@click.option("--delay", help="Start later: 30s, 2h30m, or an ISO date.")
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    run_id: str,
    payload: str | None,
    file: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Trigger a run again, in any status, and print the id of the new run."""
    options = {name: value for name, value in given.items() if value not in ((), None)}
    if payload is not None or file is not None:
        options["payload"] = read_payload(payload, file)
    _ = project_of(ctx).trigger
    handle = sdk_runs.replay(run_id, **options).sync()
    if as_json:
        shown = {"id": handle.id, "task_identifier": handle.task_identifier}
        output.print_json({**shown, "replayed_from": run_id})
    else:
        click.echo(handle.id)
