"""`schedules import`: from `beat_schedule`, or from RedBeat, to schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trigger_celery.bridge.project_app import import_tasks
from trigger_celery.cli import output
from trigger_celery.cli.options import ProjectCommand, json_option, project_of
from trigger_celery.cli.project import Project
from trigger_celery.errors import InputError, UnknownTaskError
from trigger_celery.model.schedule import Schedule
from trigger_celery.sdk import schedules as sdk_schedules

if TYPE_CHECKING:
    from trigger_celery.scheduler.importing import Carried, Left

SOURCES = ("beat-schedule", "redbeat")


@click.command("import", cls=ProjectCommand)
@click.option(
    "--from",
    "source",
    type=click.Choice(SOURCES),
    default="beat-schedule",
    show_default=True,
    help="The app's beat_schedule, or what RedBeat has stored.",
)
@click.option("--apply", is_flag=True, help="Make the schedules. Without it, only show them.")
@click.option("--paused", is_flag=True, help="Make them paused, for `schedules resume` to start.")
@json_option
@click.pass_context
def import_(ctx: click.Context, source: str, apply: bool, paused: bool, as_json: bool) -> None:
    """Make schedules out of Celery's periodic tasks, and say what cannot be.

    Nothing is made without --apply, nothing of Celery's or RedBeat's is ever removed, and what was
    imported before is found again by its name. Both fire until you remove the old entry.
    """
    from trigger_celery.scheduler import importing  # brings RedBeat, which other commands need not

    project = project_of(ctx)
    trigger = project.bound_for_work()
    import_tasks(trigger.app)
    carried, left = importing.sort_out(trigger.app, from_redbeat=source == "redbeat")
    made: dict[str, Schedule] = {}
    if apply:
        for one in carried:
            try:
                made[one.name] = _make(one, paused)
            except (InputError, UnknownTaskError) as problem:
                left.append(importing.Left(one.name, one.task, one.cron.pattern, str(problem)))
        carried = [one for one in carried if one.name in made]
    if as_json:
        _print_json(carried, left, made, apply)
    else:
        _print(project, carried, left, made, apply)


def _make(one: Carried, paused: bool) -> Schedule:
    """Create what was not imported yet, and bring up to date what was; that stays paused, or not."""
    schedule = sdk_schedules.create(
        task=one.task,
        cron=one.cron.pattern,
        timezone=one.cron.timezone,
        deduplication_key=one.deduplication_key,
    ).sync()
    is_new = schedule.created_at == schedule.updated_at  # nobody has resumed it
    if schedule.active and is_new and (paused or not one.active):
        return sdk_schedules.deactivate(schedule).sync()
    return schedule


def _print(
    project: Project,
    carried: list[Carried],
    left: list[Left],
    made: dict[str, Schedule],
    apply: bool,
) -> None:
    if carried:
        rows = [
            (
                one.name,
                one.task,
                one.cron.pattern,
                one.cron.timezone,
                made[one.name].id if one.name in made else "",
                "; ".join(_notes(one, made)),
            )
            for one in carried
        ]
        output.print_table(("NAME", "TASK", "CRON", "TIMEZONE", "ID", "NOTE"), rows)
    for other in left:
        click.echo(f"left: {other.name}: {other.reason}")
    if not carried and not left:
        project.note("nothing to import: there are no entries")
    elif not apply and carried:
        project.note("nothing was made yet: add --apply, then remove the old entries")
    elif carried:
        project.note("remove the old entries from Celery: until then both fire")


def _notes(one: Carried, made: dict[str, Schedule]) -> list[str]:
    active = made[one.name].active if one.name in made else one.active
    return [*one.notes, *([] if active else ["paused"])]


def _print_json(
    carried: list[Carried], left: list[Left], made: dict[str, Schedule], apply: bool
) -> None:
    output.print_json(
        {
            "applied": apply,
            "schedules": [
                {
                    "name": one.name,
                    "task": one.task,
                    "cron": one.cron.pattern,
                    "timezone": one.cron.timezone,
                    "active": made[one.name].active if one.name in made else one.active,
                    "id": made[one.name].id if one.name in made else None,
                    "deduplication_key": one.deduplication_key,
                    "notes": list(one.notes),
                }
                for one in carried
            ],
            "left": [
                {
                    "name": other.name,
                    "task": other.task,
                    "schedule": other.schedule,
                    "reason": other.reason,
                }
                for other in left
            ],
        }
    )
