"""`queues list`."""

from __future__ import annotations

from dataclasses import asdict

import click

from trigger_celery.cli import output
from trigger_celery.cli.options import ProjectGroup, json_option, project_of
from trigger_celery.sdk import queues as sdk_queues


@click.group("queues", cls=ProjectGroup)
def queues() -> None:
    """Show queues."""


@queues.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List queues with their limits, and how many runs execute and wait in them."""
    project = project_of(ctx)
    _ = project.trigger
    found = sdk_queues.list().sync()
    if as_json:
        output.print_json({"queues": [asdict(queue) for queue in found]})
        return
    if not found:
        project.note("no queues")
        return
    rows = [
        (
            queue.name,
            "none" if queue.concurrency_limit is None else str(queue.concurrency_limit),
            str(queue.running),
            str(queue.queued),
            "paused" if queue.paused else "",
        )
        for queue in found
    ]
    output.print_table(("QUEUE", "LIMIT", "RUNNING", "QUEUED", ""), rows)
