"""`manage.py trigger …`: the commands of `trigger-celery`, with Django set up."""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from trigger_celery.cli.hosted import run_hosted


class Command(BaseCommand):  # type: ignore[misc]
    """Forwards to `trigger-celery`."""

    help = "Runs, workers, queues and the state of trigger_celery: manage.py trigger --help"
    requires_system_checks: Sequence[str] = ()

    def run_from_argv(self, argv: Sequence[str]) -> None:
        """Give everything behind the command's name to ours, --help too."""
        program = argv[0].rpartition("/")[2]
        run_hosted(f"{program} {argv[1]}", argv[2:], *self._app())

    def add_arguments(self, parser: ArgumentParser) -> None:
        """For `call_command("trigger", "runs", "list")`."""
        parser.add_argument("arguments", nargs=REMAINDER)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run a command from Python; what fails raises CommandError."""
        code = run_hosted("trigger", options["arguments"], *self._app(), leave=False)
        if code:
            raise CommandError(f"trigger {' '.join(options['arguments'])} failed", returncode=code)

    def _app(self) -> tuple[Any, str | None]:
        """Return the Celery app, and where it is if the settings say so."""
        config: Any = apps.get_app_config("trigger_celery")
        if config.binding is None or config.problem:
            raise CommandError(f"no Celery app: {config.problem}. manage.py check tells more")
        named = config.configuration.app
        return config.binding.app, named if isinstance(named, str) else None
