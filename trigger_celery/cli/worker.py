"""`worker`: Celery's worker, with the asyncio pool unless another is named."""

from __future__ import annotations

import sys

import click

from trigger_celery.bridge import project_app
from trigger_celery.bridge.worker_command import POOLS, choose_pool, run_worker
from trigger_celery.cli.failure import USAGE, Failure
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
@click.option("--dev-channel", hidden=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY OPTIONS]...")
@click.pass_context
def worker(
    ctx: click.Context,
    pool: str | None,
    concurrency: str | None,
    dev_channel: str | None,
    arguments: tuple[str, ...],
) -> None:
    """Start a worker: `celery worker` with the asyncio pool, and all of its options.

    For example: trigger-celery worker -A shop -c 200 -Q default,reports -l info -E
    """
    if {"-D", "--detach"} & set(arguments):
        raise Failure(
            "a worker started here stays in the foreground. Let systemd or a container keep it, or "
            "use `celery multi` with worker_pool = 'trigger_celery.worker.pool:TaskPool'.",
            USAGE,
        )
    project = project_of(ctx)
    if dev_channel is not None:
        project.joins_dev = False
        DevWorker(dev_channel).run(project.bound_for_work, lambda: _described(project), pool)
    trigger = project.bound_for_work()
    found = project_app.addresses(trigger)
    if found.broker_url is None and found.redis_url is not None:
        trigger.app.conf.broker_url = project_app.broker_of(found.redis_url)
    choose_pool(trigger.app, pool)
    more = [] if concurrency is None else ["--concurrency", concurrency]
    run_worker(
        trigger.app,
        [*more, *arguments],
        quiet=project.quiet,
        no_color=bool(environment_variable("NO_COLOR")) or not sys.stdout.isatty(),
    )


def _described(project: Project) -> dict[str, str]:
    return {"app": project.found_app, "how": project.how}
