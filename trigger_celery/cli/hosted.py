"""Our commands as part of another program: `manage.py trigger …`, `flask trigger …`, `celery trigger …`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click  # noqa: TC002 - for the signature of a method that click calls

from trigger_celery.cli.main import cli
from trigger_celery.cli.options import ProjectGroup, shared_options
from trigger_celery.cli.project import Project


class HostedGroup(ProjectGroup):
    """Our commands, for the app that the other program gives."""

    find_app: Callable[[], Any]
    app_name: str | None = None
    """Where the app is, for workers that `dev` starts; None: they look for it."""
    how = ""
    quiet = False

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Put a project in the place of the other program's object, for this group and below."""
        app = self.find_app()
        project = Project(
            app=self.app_name,
            given_app=app,
            found_app=str(app.main),
            how=self.how,
            quiet=self.quiet,
        )
        return super().make_context(info_name, args, parent, obj=project, **extra)


def hosted_group(
    find_app: Callable[[], Any], how: str, *, leave_out: Sequence[str] = ()
) -> HostedGroup:
    """Return the commands as a click group; *find_app* returns the Celery app they work on."""
    group = HostedGroup(
        "trigger",
        params=shared_options(),
        help="Runs, workers, queues and the state of trigger_celery.",
    )
    group.find_app, group.how = find_app, how
    for name, command in cli.commands.items():
        if name not in leave_out:
            group.add_command(command)
    return group


def run_hosted(
    program: str, arguments: Sequence[str], app: Any, app_name: str | None, *, leave: bool = True
) -> int:
    """Run a command for this app; ends the process with its exit code, or returns it."""
    group: Any = hosted_group(lambda: app, f"by {program}")
    group.app_name = app_name
    try:
        group.main(args=list(arguments), prog_name=program)
    except SystemExit as end:
        if leave:
            raise
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0
