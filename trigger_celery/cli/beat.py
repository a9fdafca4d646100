"""`beat`: Celery's beat, which fires schedules and `beat_schedule`."""

from __future__ import annotations

import sys

import click

from trigger_celery.bridge import project_app
from trigger_celery.bridge.beat_command import run_beat
from trigger_celery.cli.failure import Misuse
from trigger_celery.cli.options import ProjectCommand, project_of
from trigger_celery.settings import environment_variable


@click.command(
    "beat",
    cls=ProjectCommand,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY OPTIONS]...")
@click.pass_context
def beat(ctx: click.Context, /, arguments: tuple[str, ...]) -> None:
    """Fire schedules: `celery beat` with all of its options. Run one, or several for safety.

    For example: trigger-celery beat -A shop -l info
    """
    if {"-D", "--detach"} & set(arguments):
        raise Misuse(
            "a beat started here stays in the foreground. Let systemd or a container keep it, or "
            "use `celery beat --detach`."
        )
    project = project_of(ctx)
    trigger = project.bound_for_work()
    found = project_app.addresses(trigger)
    if found.broker_url is None and found.redis_url is not None:
        trigger.app.conf.update(broker_url=project_app.broker_of(found.redis_url))
    run_beat(
        trigger.app,
        arguments,
        quiet=project.quiet,
        no_color=bool(environment_variable("NO_COLOR")) or not sys.stdout.isatty(),
    )
