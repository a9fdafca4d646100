"""How the command line says that something went wrong, and with which exit code it ends."""

from __future__ import annotations

from typing import Any

import click

from trigger_celery.bridge.project_app import UserCodeError
from trigger_celery.errors import (
    ConfigurationError,
    InputError,
    ServerUnfitError,
    StoreAuthenticationError,
    StoreUnavailableError,
    TriggerError,
)

UNREACHABLE = 69


class Failure(click.ClickException):
    """Ends the command with a paragraph on stderr. Exit code 1: something did not go well."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print `error: …` on stderr."""
        click.echo(f"{click.style('error:', fg='red', bold=True)} {self.message}", file, err=True)


class Misuse(Failure):
    """Exit code 2: the command, its input or the configuration is wrong."""

    exit_code = 2


class Unreachable(Failure):
    """Exit code 69: the store cannot be reached."""

    exit_code = UNREACHABLE


def failure_of(problem: TriggerError) -> Failure:
    """Return what to say of an error of the library."""
    if isinstance(problem, StoreUnavailableError):
        return Unreachable(
            f"{problem}\n  likely   the server is not running, or redis_url leads elsewhere\n"
            "  fix      start it, or pass --redis-url; trigger-celery dev brings a server along"
        )
    if isinstance(problem, (UserCodeError, ServerUnfitError, StoreAuthenticationError)):
        return Failure(str(problem))
    if isinstance(problem, (ConfigurationError, InputError)):
        return Misuse(str(problem))
    return Failure(str(problem))


class CommandGroup(click.Group):
    """A group whose commands may raise the library's errors; `--debug` shows their traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and turn errors into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except TriggerError as problem:
            if ctx.meta.get("trigger_celery.debug"):
                raise
            raise failure_of(problem) from problem
