"""Options that every command has, before or behind its name: which project, and how to speak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from trigger_celery.cli.failure import CommandGroup
from trigger_celery.cli.project import Project, no_color

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def project_of(ctx: click.Context) -> Project:
    """Return the project of this invocation."""
    return ctx.ensure_object(Project)


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value:
            setattr(project_of(ctx), name, value)

    return keep


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta["trigger_celery.debug"] = True
        project_of(ctx).debug = True


def _no_color(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        no_color()
        ctx.find_root().color = ctx.color = False


def project_options() -> list[click.Parameter]:
    """Return the options that say which project."""
    return [
        click.Option(
            ["-A", "--app"],
            metavar="APP",
            expose_value=False,
            callback=_store("app"),
            help="The Celery app: module, module:attribute, or path/to/file.py.",
        ),
        click.Option(
            ["--workdir"],
            metavar="FOLDER",
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_store("workdir"),
            help="Work in this folder.",
        ),
    ]


def shared_options() -> list[click.Parameter]:
    """Return the options that make sense wherever the app comes from."""
    return [
        click.Option(
            ["--redis-url"],
            metavar="URL",
            expose_value=False,
            callback=_store("redis_url"),
            help="Where runs are stored, instead of what is configured.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_store("quiet"),
            help="Print results and errors only.",
        ),
        click.Option(
            ["-C", "--no-color"],
            is_flag=True,
            expose_value=False,
            callback=_no_color,
            help="No colour.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_debug,
            help="Show the traceback of an error.",
        ),
    ]


class ProjectCommand(click.Command):
    """A command with the shared options, and outside `celery` those of the project."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, then the shared ones, then --help."""
        helping = self.get_help_option(ctx)
        own = [param for param in super().get_params(ctx) if param is not helping]
        inside_celery = project_of(ctx).given_app is not None
        more = [*([] if inside_celery else project_options()), *shared_options()]
        taken = {name for param in own for name in param.opts}
        shared = [param for param in more if not taken & set(param.opts)]
        return [*own, *shared, *([] if helping is None else [helping])]


class ProjectGroup(CommandGroup):
    """A group of such commands."""

    command_class = ProjectCommand


ProjectGroup.group_class = ProjectGroup
