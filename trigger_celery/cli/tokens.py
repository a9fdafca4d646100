"""`tokens list`, `tokens get`, `tokens create`, `tokens complete`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trigger_celery.cli import output
from trigger_celery.cli.options import ProjectGroup, json_option, project_of
from trigger_celery.cli.payload import read_payload
from trigger_celery.model.waitpoint import Token
from trigger_celery.sdk import wait


@click.group("tokens", cls=ProjectGroup)
def tokens() -> None:
    """List, show, make and complete the tokens that runs wait for."""


@tokens.command("list")
@click.option("--status", multiple=True, help="Only tokens with this status (repeat for several).")
@click.option("--tag", "tags", multiple=True, help="Only tokens with this tag.")
@click.option("--period", help="Only tokens made within this time, for example 1h or 7d.")
@click.option(
    "--limit", type=int, default=20, show_default=True, help="Tokens in a page, 1 to 100."
)
@click.option(
    "--after", "--cursor", "after", help="Go on behind the page before; it names its cursor."
)
@json_option
@click.pass_context
def list_(ctx: click.Context, /, as_json: bool, **filters: Any) -> None:
    """List tokens, newest first."""
    project = project_of(ctx)
    _ = project.trigger
    given = {name: value for name, value in filters.items() if value not in ((), None)}
    page = wait.list_tokens(**given).sync()
    if as_json:
        shown = [token.to_dict() for token in page.tokens]
        output.print_json({"tokens": shown, "next_cursor": page.next_cursor})
        return
    if not page.tokens:
        project.note("no tokens")
        return
    rows = [
        (
            token.id,
            token.status.value,
            output.instant(token.created_at),
            output.instant(token.timeout_at),
            " ".join(token.tags),
        )
        for token in page.tokens
    ]
    output.print_table(("ID", "STATUS", "CREATED", "TIMES OUT", "TAGS"), rows)
    if page.next_cursor:
        project.note(f"more: --after {page.next_cursor}")


@tokens.command("get")
@click.argument("token_id", metavar="ID")
@json_option
@click.pass_context
def get(ctx: click.Context, token_id: str, as_json: bool) -> None:
    """Show everything about a token."""
    _ = project_of(ctx).trigger
    _show(wait.retrieve_token(token_id).sync(), as_json)


@tokens.command("create")
@click.option("--timeout", help="When it times out: 10m, 2d, or an ISO date; none is a year.")
@click.option("--tag", "tags", multiple=True, help="Tag the token (repeat for several).")
@click.option("--idempotency-key", help="Find the token that was made with the same key.")
@json_option
@click.pass_context
def create(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Make a token and print its id."""
    _ = project_of(ctx).trigger
    options = {name: value for name, value in given.items() if value not in ((), None)}
    token = wait.create_token(**options).sync()
    if as_json:
        output.print_json(token.to_dict())
    else:
        click.echo(token.id)


@tokens.command("complete")
@click.argument("token_id", metavar="ID")
@click.argument("data", metavar="[DATA]", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), help="Read the data from here.")
@json_option
@click.pass_context
def complete(
    ctx: click.Context, token_id: str, data: str | None, file: Path | None, as_json: bool
) -> None:
    """Complete a token: who waits for it goes on. DATA is JSON, or - to read it from stdin.

    A token that has ended stays as it is; that is no error.
    """
    value = read_payload(data, file, "DATA")
    project = project_of(ctx)
    _ = project.trigger
    done = wait.complete_token(token_id, value).sync()
    if as_json:
        output.print_json({"id": token_id, "completed": done})
    elif done:
        click.echo(f"{token_id}  COMPLETED")
    else:
        status = wait.retrieve_token(token_id).sync().status.value
        project.note(f"nothing was changed: the token had ended as {status}")


def _show(token: Token, as_json: bool) -> None:
    if as_json:
        output.print_json(token.to_dict())
        return
    details = [
        ("id", token.id),
        ("status", token.status.value),
        ("tags", " ".join(token.tags)),
        ("idempotency key", token.idempotency_key or ""),
        ("created", output.instant(token.created_at)),
        ("times out", output.instant(token.timeout_at)),
        ("ended", output.instant(token.completed_at)),
        ("data", "" if token.output is None else output.value_text(token.output)),
    ]
    output.fields([(name, text) for name, text in details if text])
