"""`trigger TASK [PAYLOAD]`: makes a run, and with `--wait` prints its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trigger_celery.cli import output
from trigger_celery.cli.failure import Failure, Misuse
from trigger_celery.cli.options import ProjectCommand, json_option, project_of
from trigger_celery.cli.payload import parse_json, read_payload
from trigger_celery.cli.project import Project
from trigger_celery.engine.querying import list_workers
from trigger_celery.errors import DefinitionError, PollTimeoutError, closest
from trigger_celery.model.duration import parse_duration
from trigger_celery.model.run import Run
from trigger_celery.model.run_error import error_line
from trigger_celery.model.task_options import check_task_id
from trigger_celery.sdk import runs, tasks


@click.command("trigger", cls=ProjectCommand)
@click.argument("task", metavar="TASK")
@click.argument("payload", metavar="[PAYLOAD]", required=False)
@click.option("--file", "file", type=click.Path(path_type=Path), help="Read the payload from here.")
@click.option("--delay", help="Start later: 30s, 2h30m, or an ISO date.")
@click.option("--priority", type=float, help="Seconds of head start in the queue.")
@click.option("--queue", help="The queue to use instead of the task's own.")
@click.option("--concurrency-key", help="The queue's limit counts for each key by itself.")
@click.option("--max-attempts", type=int, help="How often to try, the first time included.")
@click.option("--max-duration", help="How long an attempt may be active: 300, 5m.")
@click.option("--tag", "tags", multiple=True, help="Tag the run (repeat for several).")
@click.option("--metadata", help="Metadata, a JSON object.")
@click.option("--ttl", help="EXPIRED if it is not begun in this time: 10m, 600; 0 for ever.")
@click.option("--idempotency-key", help="With a key that was used before, print that run.")
@click.option("--idempotency-key-ttl", help="How long the key counts; 30d by default.")
@click.option("--debounce-key", help="Put the run off as long as this key comes again.")
@click.option("--debounce-delay", help="For how long; required with --debounce-key.")
@click.option("--debounce-mode", help="leading (the first payload counts) or trailing (the last).")
@click.option("--debounce-max-delay", help="Put it off no longer than this in all.")
@click.option("--machine", help="The machine preset: micro, small-1x … large-2x.")
@click.option("--version", help="The version to run: 20260821.1.")
@click.option("--test", is_flag=True, default=None, help="Mark it as a test, and its children.")
@click.option("--wait", is_flag=True, help="Wait for the end and print the output; 1 if it failed.")
@click.option("--timeout", help="Wait no longer than this, for example 30s.")
@json_option
@click.pass_context
def trigger(
    ctx: click.Context,
    /,
    task: str,
    payload: str | None,
    file: Path | None,
    wait: bool,
    timeout: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a run of TASK. PAYLOAD is JSON, or - to read it from stdin."""
    value = read_payload(payload, file)
    options = {name: option for name, option in given.items() if option not in ((), None)}
    for name in ("max_duration", "ttl"):
        if name in options:
            options[name] = _number(options[name])
    _gather_debounce(options)
    if "metadata" in options:
        options["metadata"] = parse_json(options["metadata"], "--metadata")
    seconds = None if timeout is None else parse_duration(_number(timeout), name="timeout") / 1000
    project = project_of(ctx)
    _ = project.trigger
    try:
        check_task_id(task)
    except DefinitionError as problem:
        raise Misuse(str(problem)) from problem
    handle = tasks.trigger(task, value, **options).sync()
    if not project.quiet:
        _say_if_unknown(project, task)
    if wait:
        _wait(project, handle.id, seconds, as_json)
    elif as_json:
        output.print_json(
            {
                "id": handle.id,
                "task_identifier": handle.task_identifier,
                "is_cached": handle.is_cached,
            }
        )
    else:
        click.echo(handle.id)


def _gather_debounce(options: dict[str, Any]) -> None:
    """Turn the options of a debounce into one."""
    names = ("key", "delay", "mode", "max_delay")
    given = {name: options.pop(f"debounce_{name}", None) for name in names}
    debounce = {name: value for name, value in given.items() if value is not None}
    if debounce:
        options["debounce"] = debounce


def _number(text: str) -> str | float:
    if text.strip().isdigit():
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _say_if_unknown(project: Project, task: str) -> None:
    workers = [
        worker for worker in project.run(list_workers(project.trigger.scope)) if worker.alive
    ]
    known = {name for worker in workers for name in worker.tasks}
    if not workers:
        project.note("no worker is running: the run waits for one")
    elif task not in known:
        project.note(
            f"no live worker has the task {task!r}: the run waits for one.{closest(task, known)}"
        )


def _wait(project: Project, run_id: str, seconds: float | None, as_json: bool) -> None:
    project.note(run_id)
    try:
        run = runs.poll(run_id, timeout=seconds).sync()
    except PollTimeoutError as problem:
        raise Failure(str(problem)) from problem
    except KeyboardInterrupt as problem:
        raise Failure(f"no longer waiting; run {run_id} goes on") from problem
    if as_json:
        output.print_json(run.to_dict())
    elif run.is_success and run.output is not None:
        click.echo(output.value_text(run.output))
    if not run.is_success:
        raise Failure(_outcome(run))


def _outcome(run: Run) -> str:
    text = f"run {run.id} of {run.task_identifier} ended as {run.status.value}"
    if run.attempt_count > 1:
        text += f" after {run.attempt_count} attempts"
    if run.error is not None:
        text += f"\n  {error_line(run.error)}"
    return f"{text}\n  more     trigger-celery runs get {run.id}"
