"""`dev`: an embedded server unless one is configured, a worker that reloads, a line per event."""

from __future__ import annotations

from pathlib import Path

import click

import trigger_celery
from trigger_celery.bridge.worker_command import POOLS
from trigger_celery.cli.failure import Unreachable
from trigger_celery.cli.options import ProjectCommand, json_option, project_of
from trigger_celery.dev.session import DevOptions, DevSession, UnreachableError


@click.command("dev", cls=ProjectCommand)
@click.argument("target", metavar="[FILE_OR_MODULE]", required=False)
@click.option("--embedded", is_flag=True, help="Use the embedded server even if one is configured.")
@click.option("--ephemeral", is_flag=True, help="Keep no data; otherwise it is in ./.trigger/.")
@click.option("--no-reload", is_flag=True, help="Do not follow changes of the code.")
@click.option("-P", "--pool", type=click.Choice(POOLS), help="asyncio unless configured otherwise.")
@click.option("-c", "--concurrency", type=int, help="Runs at once; 100 on the asyncio pool.")
@click.option("-Q", "--queues", help="Celery queues to serve, parted by commas.")
@click.option("-l", "--loglevel", default="warning", show_default=True, help="Of the worker.")
@json_option
@click.pass_context
def dev(
    ctx: click.Context,
    target: str | None,
    embedded: bool,
    ephemeral: bool,
    no_reload: bool,
    pool: str | None,
    concurrency: int | None,
    queues: str | None,
    loglevel: str,
    as_json: bool,
) -> None:
    """Run a project while you work on it: store, worker, and one line for each event of a run.

    FILE_OR_MODULE holds the Celery app; without it the app is found as for every command.
    """
    project = project_of(ctx)
    folder = project.enter()
    app = target or project.app
    if embedded and project.redis_url:
        raise click.UsageError("give --embedded or --redis-url, not both")
    given = {"--app": app, "--pool": pool, "--concurrency": concurrency, "--queues": queues}
    arguments = [text for name, value in given.items() if value for text in (name, str(value))]
    options = DevOptions(
        version=trigger_celery.__version__,
        folder=folder,
        watched=_watched(folder, app),
        worker_arguments=[*arguments, "--loglevel", loglevel],
        redis_url=project.redis_url,
        embedded=embedded,
        ephemeral=ephemeral,
        reload=not no_reload,
        as_json=as_json,
    )
    try:
        ctx.exit(DevSession(options).run())
    except UnreachableError as problem:
        raise Unreachable(str(problem)) from problem


def _watched(folder: Path, app: str | None) -> list[Path]:
    """Return the folders to watch: the project's, and that of a file outside of it."""
    file = Path((app or "").partition(":")[0])
    return [folder, file.resolve().parent] if file.suffix == ".py" and file.is_file() else [folder]
