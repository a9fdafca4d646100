"""`trigger-celery`: the program."""

from __future__ import annotations

import click

import trigger_celery
from trigger_celery.cli.beat import beat
from trigger_celery.cli.dev import dev
from trigger_celery.cli.doctor import doctor
from trigger_celery.cli.migrate import migrate
from trigger_celery.cli.options import ProjectGroup, project_options, shared_options
from trigger_celery.cli.queues import queues
from trigger_celery.cli.runs import runs
from trigger_celery.cli.schedules import schedules
from trigger_celery.cli.tokens import tokens
from trigger_celery.cli.trigger import trigger
from trigger_celery.cli.version import version
from trigger_celery.cli.worker import worker


@click.group(
    "trigger-celery",
    cls=ProjectGroup,
    params=[*project_options(), *shared_options()],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(trigger_celery.__version__, prog_name="trigger-celery")
def cli() -> None:
    """Trigger.dev's runs, queues and retries for a Celery app.

    The app is found by -A, [tool.trigger_celery] app in pyproject.toml, CELERY_APP, manage.py,
    celery.py, celery_app.py, app.py, tasks.py or FLASK_APP, in this order.
    """


for command in (
    dev,
    worker,
    beat,
    trigger,
    runs,
    queues,
    schedules,
    tokens,
    doctor,
    migrate,
    version,
):
    cli.add_command(command)


def main() -> None:
    """Run the program."""
    cli(prog_name="trigger-celery")
