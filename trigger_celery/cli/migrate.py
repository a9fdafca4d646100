"""`migrate --check`: what to look at in a Celery codebase before and after moving."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

import trigger_celery
from trigger_celery.cli import output
from trigger_celery.cli.migration import report_json, report_text
from trigger_celery.cli.migration.checker import Report, check
from trigger_celery.cli.migration.discovery import MAX_FILES
from trigger_celery.cli.migration.findings import Severity
from trigger_celery.cli.migration.rules import ALL, RULES
from trigger_celery.errors import closest

FOUND = 1
_TELL_EVERY = 0.5


def _rules(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> frozenset[str]:
    names = [name.strip().upper() for text in given for name in text.split(",") if name.strip()]
    for name in names:
        if name not in RULES:
            raise click.BadParameter(f"there is no rule {name!r}.{closest(name, RULES)}")
    return frozenset(names)


def _list_rules(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        output.print_table(
            ("RULE", "SEVERITY", "FINDS"),
            [(rule.id, rule.severity.word, rule.title) for rule in ALL],
        )
        ctx.exit()


@click.command("migrate")
@click.argument(
    "paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[PATH]..."
)
@click.option("--check", "checks", is_flag=True, help="Read and report; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print SARIF 2.1.0, for code scanning.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "note", "never"]),
    default="warning",
    show_default=True,
    help="The least that makes the exit code 1.",
)
@click.option("--ignore", multiple=True, callback=_rules, metavar="RULE,…", help="Leave rules out.")
@click.option(
    "--broker",
    type=click.Choice(["redis", "sqs", "amqp"]),
    help="The broker, where the code does not say which.",
)
@click.option(
    "--max-files",
    type=click.IntRange(1),
    default=MAX_FILES,
    show_default=True,
    help="Look at no more.",
)
@click.option(
    "--rules", is_flag=True, is_eager=True, expose_value=False, callback=_list_rules,
    help="List the rules.",
)  # fmt: skip
@click.pass_context
def migrate(
    ctx: click.Context,
    paths: tuple[Path, ...],
    checks: bool,
    as_json: bool,
    as_sarif: bool,
    fail_on: str,
    ignore: frozenset[str],
    broker: str | None,
    max_files: int,
) -> None:
    """Read a Celery codebase and say what to look at.

    Nothing of it is imported. PATH is a folder or a file; without one, the current folder. A
    `# trigger: ignore[TC101]` comment on or above a line takes a finding back. The exit code is 0 when
    nothing was found, 1 when something was, 2 for wrong usage.
    """
    if not checks:
        raise click.UsageError("Say what to do: trigger-celery migrate --check PATH")
    if as_json and as_sarif:
        raise click.UsageError("Either --json or --sarif, not both.")
    report = check(
        list(paths) or [Path()],
        ignore=ignore,
        broker=broker,
        max_files=max_files,
        progress=_progress() if sys.stderr.isatty() else None,
    )
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if as_json:
        output.print_json(report_json.as_json(report))
    elif as_sarif:
        output.print_json(report_json.as_sarif(report, trigger_celery.__version__))
    else:
        for line in report_text.lines(report):
            click.echo(line)
    ctx.exit(FOUND if _fails(report, fail_on) else 0)


def _fails(report: Report, fail_on: str) -> bool:
    worst = report.worst()
    return worst is not None and fail_on != "never" and worst >= Severity[fail_on.upper()]


def _progress() -> Callable[[int, str], None]:
    """Return what tells how far it is, in a terminal and in a large tree."""
    told = time.monotonic()

    def tell(count: int, path: str) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_EVERY:
            told = time.monotonic()
            click.echo(f"\r\033[K{count:,} files … {output.short(path)}", nl=False, err=True)

    return tell
