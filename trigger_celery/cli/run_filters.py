"""Options that say which runs are meant: those of `runs list` and of `runs bulk`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no date: write 2026-08-21, or 2026-08-21T14:30 (your clock), or with Z",
            ctx,
            param,
        ) from None


_OPTIONS = (
    click.option("--status", multiple=True, help="With this status (repeat for several)."),
    click.option("--task", multiple=True, help="Of this task."),
    click.option("--tag", multiple=True, help="With this tag; of several, any."),
    click.option("--all-tags", is_flag=True, help="With all the tags, not any of them."),
    click.option("--queue", multiple=True, help="In this queue."),
    click.option("--version", multiple=True, help="Triggered for this version."),
    click.option("--machine", multiple=True, help="Triggered for this machine preset."),
    click.option("--batch", metavar="ID", help="Of this batch."),
    click.option("--parent", metavar="ID", help="Triggered by this run."),
    click.option("--root", metavar="ID", help="Below this run, children of children included."),
    click.option("--bulk-action", metavar="ID", help="Cancelled or made by this bulk action."),
    click.option("--schedule", metavar="ID", help="Made by this schedule."),
    click.option("--test/--no-test", "is_test", default=None, help="Tests only, or none."),
    click.option("--period", help="Made within this time, for example 1h or 7d."),
    click.option("--from", "created_from", callback=_moment, help="Made at this date or later."),
    click.option("--to", "created_to", callback=_moment, help="Made at this date or before."),
)


def filter_options(command: F) -> F:
    """Give a command the options that say which runs are meant."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filters_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return those that were given, as `runs.list` takes them."""
    filters = {name: value for name, value in given.items() if value not in ((), None)}
    if filters.pop("all_tags", False):
        filters["tag_mode"] = "all"
    return filters
