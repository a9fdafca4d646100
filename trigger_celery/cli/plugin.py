"""`celery -A proj trigger …`: our commands inside Celery's own. The app is the one Celery found."""

from __future__ import annotations

from typing import Any

import click
from celery import Celery

from trigger_celery.cli.doctor import doctor
from trigger_celery.cli.options import ProjectGroup, shared_options
from trigger_celery.cli.project import Project
from trigger_celery.cli.queues import queues
from trigger_celery.cli.runs import runs
from trigger_celery.cli.tokens import tokens
from trigger_celery.cli.trigger import trigger as trigger_command
from trigger_celery.cli.version import version


class PluginGroup(ProjectGroup):
    """Takes the app from Celery's context before anything is parsed."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Put a project in the place of Celery's context object, for this group and below."""
        given = getattr(parent.obj, "app", None) if parent is not None else None
        project = Project(
            given_app=given if isinstance(given, Celery) else None,
            quiet=bool(getattr(getattr(parent, "obj", None), "quiet", False)),
            how="by celery -A",
        )
        return super().make_context(info_name, args, parent, obj=project, **extra)


@click.group("trigger", cls=PluginGroup, params=shared_options())
def trigger() -> None:
    """Runs, queues and the state of trigger_celery."""


for command in (trigger_command, runs, queues, tokens, doctor, version):
    trigger.add_command(command)
