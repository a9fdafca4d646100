"""`doctor`: says what is configured, what it reaches, and what is wrong."""

from __future__ import annotations

import click

from trigger_celery.cli import output
from trigger_celery.cli.examination import Examination, examine
from trigger_celery.cli.failure import UNREACHABLE
from trigger_celery.cli.options import ProjectCommand, json_option, project_of
from trigger_celery.cli.version import versions
from trigger_celery.engine.querying import WorkerState

_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command("doctor", cls=ProjectCommand)
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check settings, server, workers and routing. Exit code 1 when there are errors."""
    project = project_of(ctx)
    trigger = project.trigger
    found = examine(trigger, project.settings or trigger.settings)
    if as_json:
        app = {"name": project.found_app, "found": project.how}
        output.print_json({"app": app, **found.to_dict(), "versions": versions()})
    else:
        _print(found, project.found_app, project.how)
    if found.unreachable:
        ctx.exit(UNREACHABLE)
    ctx.exit(0 if found.is_fine else 1)


def _print(found: Examination, app: str, how: str) -> None:
    if app:
        _heading("App")
        click.echo(f"{app}   found {how}")
    _heading("Settings")
    rows = [(one.name, one.value, one.unit, one.source) for one in found.settings]
    output.print_table(("NAME", "VALUE", "UNIT", "FROM"), rows)
    if found.server:
        _heading("Server")
        slowest = f"slowest of 20 {found.server['slowest_round_trip_ms']:.2f} ms"
        output.fields(
            [
                ("version", found.server["version"]),
                ("address", found.server["address"]),
                ("keys", f"{found.server['scope']}:…"),
                ("round trip", f"{found.server['round_trip_ms']:.2f} ms ({slowest})"),
            ]
        )
    if found.workers:
        _heading("Workers")
        columns = ("WORKER", "POOL", "SLOTS", "RUNS", "SERVES", "TASKS")
        output.print_table(columns, [_worker(worker) for worker in found.workers])
    _heading("Versions")
    output.fields(list(versions().items()))
    _heading("Findings")
    for finding in found.findings:
        level = click.style(f"{finding.level:<8}", fg=_COLORS.get(finding.level))
        click.echo(f"{level} {finding.name}: {finding.message}")
        if finding.fix:
            click.echo(f"         fix: {finding.fix}")


def _heading(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _worker(worker: WorkerState) -> tuple[str, ...]:
    tasks = ", ".join(worker.tasks[:5])
    if len(worker.tasks) > 5:
        tasks += f" and {len(worker.tasks) - 5} more"
    name = worker.hostname or worker.session
    return (
        name if worker.alive else f"{name} (silent)",
        worker.pool,
        str(worker.concurrency or ""),
        str(worker.busy),
        ", ".join(worker.worker_queues),
        tasks,
    )
