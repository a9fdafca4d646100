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

FAILURE = 1
USAGE = 2
UNREACHABLE = 69


class Failure(click.ClickException):
    """Ends the command with a paragraph on stderr and an exit code."""

    def __init__(self, message: str, exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file: Any = None) -> None:
        """Print `error: …` on stderr."""
        click.echo(f"{click.style('error:', fg='red', bold=True)} {self.message}", file, err=True)


def failure_of(problem: TriggerError) -> Failure:
    """Return what to say of an error of the library, and the exit code."""
    if isinstance(problem, StoreUnavailableError):
        return Failure(
            f"{problem}\n  likely   the server is not running, or redis_url leads elsewhere\n"
            "  fix      start it, or pass --redis-url; trigger-celery dev brings a server along",
            UNREACHABLE,
        )
    if isinstance(problem, (UserCodeError, ServerUnfitError, StoreAuthenticationError)):
        return Failure(str(problem), FAILURE)
    if isinstance(problem, (ConfigurationError, InputError)):
        return Failure(str(problem), USAGE)
    return Failure(str(problem), FAILURE)


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
