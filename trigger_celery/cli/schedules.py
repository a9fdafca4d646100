"""`schedules list|get|create|update|pause|resume|delete|next|import`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from trigger_celery.bridge.project_app import import_tasks
from trigger_celery.cli import output
from trigger_celery.cli.failure import Misuse
from trigger_celery.cli.options import ProjectGroup, json_option, project_of
from trigger_celery.cli.project import Project
from trigger_celery.cli.schedule_import import import_
from trigger_celery.model.cron import parse_cron
from trigger_celery.model.instant import iso
from trigger_celery.model.schedule import CATCH_UPS, Schedule
from trigger_celery.model.time_zone import time_zone
from trigger_celery.sdk import schedules as sdk_schedules
from trigger_celery.store.op import Op

MAX_SHOWN = 1000


def _definition(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say what a schedule is."""
    for option in (
        click.option(
            "--catch-up-limit", type=int, help="The most that --catch-up all makes up for."
        ),
        click.option(
            "--catch-up", type=click.Choice(CATCH_UPS), help="What to do about missed ones."
        ),
        click.option("--external-id", help="What the payload of its runs repeats, such as a user."),
        click.option("--timezone", metavar="ZONE", help="An IANA name, such as Europe/Berlin."),
        click.option("--cron", metavar="PATTERN", help="Five fields, for example '0 9 * * 1-5'."),
        click.option("--task", metavar="TASK", help="The id of a scheduled task."),
    ):
        command = option(command)
    return command


@click.group("schedules", cls=ProjectGroup)
def schedules() -> None:
    """Show, make and change what runs by the clock."""


@schedules.command("list")
@click.option("--task", metavar="TASK", help="Only schedules of this task.")
@click.option("--beat", is_flag=True, help="Instead: what Celery's beat sends by beat_schedule.")
@click.option("--page", type=int, default=1, show_default=True, help="Which page.")
@click.option("--per-page", type=int, default=100, show_default=True, help="Schedules in a page.")
@json_option
@click.pass_context
def list_(
    ctx: click.Context, task: str | None, beat: bool, page: int, per_page: int, as_json: bool
) -> None:
    """List schedules, newest first.

    With --beat, list the entries of the app's beat_schedule, which stay Celery's: they are only shown.
    """
    project = project_of(ctx)
    if beat:
        _list_entries(project, task, as_json)
        return
    _ = project.trigger
    found = sdk_schedules.list(page=page, per_page=per_page, task=task).sync()
    if as_json:
        shown = [schedule.to_dict() for schedule in found]
        counts = {"page": found.page, "pages": found.pages, "count": found.count}
        output.print_json({"schedules": shown, **counts})
        return
    if not found.schedules:
        project.note("no schedules")
        return
    rows = [
        (
            schedule.id,
            schedule.task,
            schedule.cron,
            schedule.timezone,
            output.instant(schedule.next_run) or _state(schedule),
            schedule.external_id or "",
        )
        for schedule in found
    ]
    output.print_table(("ID", "TASK", "CRON", "TIMEZONE", "NEXT RUN", "EXTERNAL ID"), rows)
    if page < found.pages:
        project.note(f"page {page} of {found.pages}: --page {page + 1}")


def _list_entries(project: Project, task: str | None, as_json: bool) -> None:
    from trigger_celery.scheduler import importing  # brings RedBeat, which other commands need not

    app = project.bound_for_work().app
    import_tasks(app)
    found = [one for one in importing.entries_of(app) if task in (None, one.task)]
    if as_json:
        output.print_json({"entries": [asdict(one) for one in found]})
    elif found:
        rows = [(one.name, one.task, one.schedule, ", ".join(one.options)) for one in found]
        output.print_table(("NAME", "TASK", "SCHEDULE", "OPTIONS"), rows)
        project.note(
            "sent by beat, as messages; `schedules import` shows what can become schedules"
        )
    else:
        project.note("beat_schedule is empty")


@schedules.command("get")
@click.argument("schedule_id", metavar="ID")
@json_option
@click.pass_context
def get(ctx: click.Context, schedule_id: str, as_json: bool) -> None:
    """Show everything about a schedule."""
    _do(ctx, sdk_schedules.retrieve, schedule_id, as_json)


@schedules.command("create")
@_definition
@click.option("--deduplication-key", required=True, help="Replace the schedule that has this key.")
@json_option
@click.pass_context
def create(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Make a schedule, or replace the one with the deduplication key, and print its id."""
    _require(given, "task", "cron")
    _ = project_of(ctx).trigger
    options = {name: value for name, value in given.items() if value is not None}
    schedule = sdk_schedules.create(**options).sync()
    if as_json:
        output.print_json(schedule.to_dict())
    else:
        click.echo(schedule.id)


@schedules.command("update")
@click.argument("schedule_id", metavar="ID")
@_definition
@json_option
@click.pass_context
def update(ctx: click.Context, /, schedule_id: str, as_json: bool, **given: Any) -> None:
    """Change what is named of a schedule; the rest stays. --external-id '' removes it."""
    options = {name: value for name, value in given.items() if value is not None}
    if not options:
        raise click.UsageError("Name what to change, for example --cron '0 9 * * 1-5'.")
    _ = project_of(ctx).trigger
    before = sdk_schedules.retrieve(schedule_id).sync()
    kept = {name: getattr(before, name) for name in given}
    wanted = {**kept, **options}
    wanted["external_id"] = wanted["external_id"] or None
    _show(sdk_schedules.update(schedule_id, **wanted).sync(), as_json)


@schedules.command("pause")
@click.argument("schedule_id", metavar="ID")
@json_option
@click.pass_context
def pause(ctx: click.Context, schedule_id: str, as_json: bool) -> None:
    """Let a schedule fire no more until it is resumed. Runs that it has made go on."""
    _do(ctx, sdk_schedules.deactivate, schedule_id, as_json)


@schedules.command("resume")
@click.argument("schedule_id", metavar="ID")
@json_option
@click.pass_context
def resume(ctx: click.Context, schedule_id: str, as_json: bool) -> None:
    """Let a paused schedule fire again, from its next occurrence on."""
    _do(ctx, sdk_schedules.activate, schedule_id, as_json)


@schedules.command("delete")
@click.argument("schedule_id", metavar="ID")
@json_option
@click.pass_context
def delete(ctx: click.Context, schedule_id: str, as_json: bool) -> None:
    """Remove a schedule. Runs that it has made stay."""
    _ = project_of(ctx).trigger
    sdk_schedules.delete(schedule_id).sync()
    if as_json:
        output.print_json({"id": schedule_id, "deleted": True})
    else:
        click.echo(f"{schedule_id}  deleted")


@schedules.command("next")
@click.argument("schedule_id", metavar="[ID]", required=False)
@click.option("--cron", metavar="PATTERN", help="A pattern instead of a schedule; needs no server.")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="Its zone.")
@click.option(
    "--count", type=click.IntRange(1, MAX_SHOWN), default=5, show_default=True, help="How many."
)
@click.option("--after", metavar="DATE", help="Those after this ISO date instead of after now.")
@json_option
@click.pass_context
def next_(
    ctx: click.Context,
    schedule_id: str | None,
    cron: str | None,
    timezone: str,
    count: int,
    after: str | None,
    as_json: bool,
) -> None:
    """Show when a schedule, or a cron pattern, fires next: by its own clock and in UTC."""
    if (schedule_id is None) is (cron is None):
        raise click.UsageError("Name one schedule, or pass --cron PATTERN.")
    project = project_of(ctx)
    schedule = None
    if schedule_id is not None:
        _ = project.trigger
        schedule = sdk_schedules.retrieve(schedule_id).sync()
        cron, timezone = schedule.cron, schedule.timezone
    found = parse_cron(cron or "", timezone)
    zone = time_zone(timezone)
    start = datetime.now(UTC) if after is None else _date(after, zone)
    moments = [
        datetime.fromtimestamp(ms // 1000, UTC)
        for ms in found.upcoming(int(start.timestamp() * 1000), count)
    ]
    if as_json:
        shown = {"cron": found.pattern, "timezone": timezone, "description": found.description}
        output.print_json({**shown, "upcoming": [iso(moment) for moment in moments]})
        return
    project.note(f"{found.description} ({timezone})")
    if schedule is not None and not schedule.active:
        project.note("the schedule is paused: none of these will run")
    rows = [
        (moment.astimezone(zone).strftime("%a %Y-%m-%d %H:%M %Z"), iso(moment))
        for moment in moments
    ]
    output.print_table(("LOCAL", "UTC"), rows)


schedules.add_command(import_)


def _date(text: str, zone: Any) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Misuse(
            f"--after {text!r} is no date: write for example 2026-03-29 or 2026-03-29T01:30"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _require(given: dict[str, Any], *names: str) -> None:
    for name in names:
        if given[name] is None:
            raise click.UsageError(f"Missing option '--{name}'.")


def _do(
    ctx: click.Context, act: Callable[[str], Op[Schedule]], schedule_id: str, as_json: bool
) -> None:
    _ = project_of(ctx).trigger
    _show(act(schedule_id).sync(), as_json)


def _state(schedule: Schedule) -> str:
    if schedule.problem:
        return "broken"
    return "active" if schedule.active else "paused"


def _show(schedule: Schedule, as_json: bool) -> None:
    if as_json:
        output.print_json(schedule.to_dict())
        return
    limit = f", at most {schedule.catch_up_limit}" if schedule.catch_up == "all" else ""
    details = [
        ("id", schedule.id),
        ("task", schedule.task),
        ("state", _state(schedule)),
        ("cron", schedule.cron),
        ("timezone", schedule.timezone),
        ("in words", schedule.description),
        ("declared", "in code" if schedule.is_declarative else ""),
        ("next run", output.instant(schedule.next_run)),
        ("last run", output.instant(schedule.last_run)),
        ("last run id", schedule.last_run_id or ""),
        ("runs", str(schedule.run_count)),
        ("lost, queue full", str(schedule.lost_count or "")),
        ("times passed over", str(schedule.missed_count or "")),
        ("catch up", f"{schedule.catch_up}{limit}"),
        ("external id", schedule.external_id or ""),
        ("deduplication key", schedule.deduplication_key or ""),
        ("problem", schedule.problem or ""),
    ]
    output.fields([(name, text) for name, text in details if text])
