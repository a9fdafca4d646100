"""`version`: what is installed here, and the server if it can be reached."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

import trigger_celery
from trigger_celery.cli import output
from trigger_celery.cli.options import ProjectCommand, json_option, project_of
from trigger_celery.cli.project import Project
from trigger_celery.engine.querying import server_version
from trigger_celery.errors import TriggerError

_PACKAGES = ("celery", "kombu", "redis", "celery-redbeat")


def versions() -> dict[str, str]:
    """Return the versions of this library, of what it stands on, and of Python."""
    found = {"trigger-celery": trigger_celery.__version__}
    for package in _PACKAGES:
        try:
            found[package] = installed(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "python": platform.python_version()}


@click.command("version", cls=ProjectCommand)
@json_option
@click.pass_context
def version(ctx: click.Context, as_json: bool) -> None:
    """Show versions: ours, Celery's, Python's, the server's."""
    found = {**versions(), "server": _server(project_of(ctx))}
    if as_json:
        output.print_json(found)
    else:
        output.fields([(name, text or "not reached") for name, text in found.items()])


def _server(project: Project) -> str | None:
    try:
        project.trigger.configure(store_retry=0.5, store_timeout=1.0)
        return project.run(server_version())
    except TriggerError:
        return None
