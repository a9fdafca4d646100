"""`worker`: Celery's worker, with the asyncio pool unless another is named."""

from __future__ import annotations

import sys

import click

from trigger_celery.bridge import project_app
from trigger_celery.bridge.binding import SCHEDULER
from trigger_celery.bridge.worker_command import POOLS, choose_pool, run_worker
from trigger_celery.bridge.worker_options import MACHINES_HELP
from trigger_celery.cli.failure import Misuse
from trigger_celery.cli.options import ProjectCommand, project_of
from trigger_celery.cli.project import Project
from trigger_celery.dev.handshake import Worker as DevWorker
from trigger_celery.settings import environment_variable


@click.command(
    "worker",
    cls=ProjectCommand,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": True},
)
@click.option("-P", "--pool", type=click.Choice(POOLS), help="asyncio unless configured otherwise.")
@click.option("-c", "--concurrency", help="Runs at once; 100 on the asyncio pool.")
@click.option("-Q", "--queues", help="Celery queues to serve, parted by commas.")
@click.option("-l", "--loglevel", help="debug, info, warning (the default), error or critical.")
@click.option("-E", "--task-events", is_flag=True, help="Send events, for Flower.")
@click.option("-n", "--hostname", help="The worker's name, such as w1@%h.")
@click.option("-B", "--beat", is_flag=True, help="Fire schedules too, in a process beside.")
@click.option("--machines", metavar="PRESETS", help=MACHINES_HELP)
@click.option("--dev-channel", hidden=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY OPTIONS]...")
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    pool: str | None,
    dev_channel: str | None,
    arguments: tuple[str, ...],
    **given: str | bool | None,
) -> None:
    """Start a worker: `celery worker` with the asyncio pool, and all of its options.

    For example: trigger-celery worker -A shop -c 200 -Q default,reports -l info -E
    """
    if {"-D", "--detach"} & set(arguments):
        raise Misuse(
            "a worker started here stays in the foreground. Let systemd or a container keep it, or "
            "use `celery multi` with worker_pool = 'trigger_celery.worker.pool:TaskPool'."
        )
    project = project_of(ctx)
    if dev_channel is not None:
        project.joins_dev = False
        DevWorker(dev_channel).run(project.bound_for_work, lambda: _described(project), pool)
    trigger = project.bound_for_work()
    found = project_app.addresses(trigger)
    if found.broker_url is None and found.redis_url is not None:
        trigger.app.conf.update(broker_url=project_app.broker_of(found.redis_url))
    used = choose_pool(trigger.app, pool)
    run_worker(
        trigger.app,
        [*_celery_options(given), *(_beat_of_dev(used) if dev_channel else ()), *arguments],
        quiet=project.quiet,
        no_color=bool(environment_variable("NO_COLOR")) or not sys.stdout.isatty(),
    )


def _beat_of_dev(pool: str) -> tuple[str, ...]:
    """Return the options for `dev`, whose worker fires schedules: not on pools that cannot fork one."""
    if "gevent" in pool or "eventlet" in pool:
        return ()
    return ("--beat", "--scheduler", SCHEDULER)


def _celery_options(given: dict[str, str | bool | None]) -> list[str]:
    """Return the options that were given as Celery's command takes them."""
    found = []
    for name, value in given.items():
        if value is not None and value is not False:
            found.append(f"--{name.replace('_', '-')}")
            found += [value] if isinstance(value, str) else []
    return found


def _described(project: Project) -> dict[str, str]:
    return {"app": project.found_app, "how": project.how}
