"""`celery -A proj trigger …`: our commands inside Celery's own. The app is the one Celery found.

Celery imports its plugins at each start, of workers too. So the commands are imported when one is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trigger_celery.cli.hosted import HostedGroup


class PluginGroup(click.Group):
    """Stands for our group of commands until it is needed."""

    def hosted(self, parent: click.Context | None = None) -> HostedGroup:
        """Return our commands, for the app of Celery's context."""
        from trigger_celery.cli.hosted import hosted_group

        outer = getattr(parent, "obj", None)
        group = hosted_group(lambda: getattr(outer, "app", None), "by celery -A")
        group.quiet = bool(getattr(outer, "quiet", False))
        named = parent.params.get("app") if parent is not None else None
        group.app_name = named if isinstance(named, str) else None
        group.params += self.params  # the app's own options, which Celery adds to each command
        group.callback = self.callback
        return group

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Hand over to our commands."""
        return self.hosted(parent).make_context(info_name, args, parent, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of our commands."""
        return self.hosted().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of our commands."""
        return self.hosted().get_command(ctx, cmd_name)


@click.group("trigger", cls=PluginGroup)
def trigger() -> None:
    """Runs, workers, queues and the state of trigger_celery."""
