"""`queues list`, `get`, `pause`, `resume`, `limit` and `reset`; the environment with --environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from trigger_celery.cli import output
from trigger_celery.cli.options import ProjectGroup, json_option, project_of
from trigger_celery.engine.queueing import Concurrency, EnvironmentState, QueueState
from trigger_celery.sdk import queues as sdk_queues
from trigger_celery.store.op import Op

State = QueueState | EnvironmentState


def environment_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--environment`, and the name that it stands for."""
    command = click.option(
        "--environment", is_flag=True, help="The whole environment instead of one queue."
    )(command)
    return click.argument("name", metavar="[QUEUE]", required=False)(command)


@click.group("queues", cls=ProjectGroup)
def queues() -> None:
    """Show, pause and limit queues."""


@queues.command("list")
@click.option("--page", type=int, default=1, show_default=True, help="Which page.")
@click.option("--per-page", type=int, default=100, show_default=True, help="Queues in a page.")
@json_option
@click.pass_context
def list_(ctx: click.Context, page: int, per_page: int, as_json: bool) -> None:
    """List queues with their limits, and how many runs execute and wait in them."""
    project = project_of(ctx)
    _ = project.trigger
    found = sdk_queues.list(page=page, per_page=per_page).sync()
    if as_json:
        output.print_json(asdict(found))
        return
    if not found.queues:
        project.note("no queues")
        return
    rows = [
        (
            queue.name,
            _limit(queue.concurrency),
            queue.rate_limit or "",
            str(queue.running),
            str(queue.queued),
            "paused" if queue.paused else "",
        )
        for queue in found
    ]
    output.print_table(("QUEUE", "LIMIT", "RATE", "RUNNING", "QUEUED", ""), rows)
    if sdk_queues.retrieve_environment().sync().paused:
        project.note("the environment is paused: trigger-celery queues resume --environment")
    if page < found.pages:
        project.note(f"page {page} of {found.pages}: --page {page + 1}")


@queues.command("get")
@environment_option
@json_option
@click.pass_context
def get(ctx: click.Context, name: str | None, environment: bool, as_json: bool) -> None:
    """Show everything about a queue, or about the environment."""
    _do(ctx, as_json, name, environment, sdk_queues.retrieve, sdk_queues.retrieve_environment)


@queues.command("pause")
@environment_option
@json_option
@click.pass_context
def pause(ctx: click.Context, name: str | None, environment: bool, as_json: bool) -> None:
    """Start no more runs until it is resumed. Those that execute go on."""
    _do(ctx, as_json, name, environment, sdk_queues.pause, sdk_queues.pause_environment)


@queues.command("resume")
@environment_option
@json_option
@click.pass_context
def resume(ctx: click.Context, name: str | None, environment: bool, as_json: bool) -> None:
    """Let a paused queue, or environment, start runs again."""
    _do(ctx, as_json, name, environment, sdk_queues.resume, sdk_queues.resume_environment)


@queues.command("limit")
@environment_option
@click.option("--to", "limit", type=int, required=True, metavar="N", help="The limit, from 0.")
@click.option("--by", default="", help="A note of who does it.")
@json_option
@click.pass_context
def limit_(
    ctx: click.Context, name: str | None, environment: bool, limit: int, by: str, as_json: bool
) -> None:
    """Override a limit, whatever the code says, until it is reset."""
    _do(
        ctx,
        as_json,
        name,
        environment,
        lambda queue: sdk_queues.override_concurrency_limit(queue, limit, by=by),
        lambda: sdk_queues.override_environment_limit(limit, by=by),
    )


@queues.command("reset")
@environment_option
@json_option
@click.pass_context
def reset(ctx: click.Context, name: str | None, environment: bool, as_json: bool) -> None:
    """Go back to the limit in the code, or in the settings."""
    _do(
        ctx,
        as_json,
        name,
        environment,
        sdk_queues.reset_concurrency_limit,
        sdk_queues.reset_environment_limit,
    )


def _do(
    ctx: click.Context,
    as_json: bool,
    name: str | None,
    environment: bool,
    of_queue: Callable[[str], Op[QueueState]],
    of_environment: Callable[[], Op[EnvironmentState]],
) -> None:
    if environment is (name is not None):
        raise click.UsageError("Name one queue, or pass --environment.")
    _ = project_of(ctx).trigger
    state: State = of_environment().sync() if name is None else of_queue(name).sync()
    if as_json:
        output.print_json(asdict(state))
    else:
        output.fields([(label, text) for label, text in _details(state) if text])


def _limit(concurrency: Concurrency) -> str:
    current, base = (
        "none" if value is None else str(value) for value in (concurrency.current, concurrency.base)
    )
    return current if concurrency.override is None else f"{current} (code: {base})"


def _details(state: State) -> list[tuple[str, str]]:
    by, at = state.concurrency.overridden_by, output.instant(state.concurrency.overridden_at)
    details = [
        ("queue", state.name if isinstance(state, QueueState) else "(the environment)"),
        ("state", "paused" if state.paused else "active"),
        ("running", str(state.running)),
        ("queued", str(state.queued)),
        ("limit", _limit(state.concurrency)),
        ("overridden", f"{at} by {by}" if by else at),
    ]
    if isinstance(state, EnvironmentState):
        factor = state.burst_factor
        return [*details, ("burst factor", "" if factor == 1 else f"{factor:g}")]
    total, size = state.total_concurrency_limit, state.size_limit
    return [
        *details,
        ("limit over all keys", "" if total is None else str(total)),
        ("rate", state.rate_limit or ""),
        ("rate per key", state.rate_limit_per_key or ""),
        ("size limit", "" if size is None else str(size)),
        ("declared", "" if state.declared else "by no worker"),
    ]
