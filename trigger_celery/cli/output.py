"""What commands print: JSON, tables (rich on a terminal, plain otherwise), short values."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from trigger_celery.model.run import Run, RunStatus
from trigger_celery.settings import environment_variable

STYLES = {
    RunStatus.COMPLETED: "green",
    RunStatus.EXECUTING: "cyan",
    RunStatus.WAITING: "yellow",
    RunStatus.DELAYED: "yellow",
    RunStatus.CANCELED: "dim",
    RunStatus.FAILED: "red",
    RunStatus.CRASHED: "red",
    RunStatus.SYSTEM_FAILURE: "red",
    RunStatus.EXPIRED: "red",
    RunStatus.TIMED_OUT: "red",
}


def print_json(value: Any) -> None:
    """Print a value as JSON, indented on a terminal and on one line otherwise."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns."""
    if fancy():
        _print_rich(columns, rows)
        return
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for cells in (columns, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        click.echo(line.rstrip())


def fancy() -> bool:
    """Tell whether stdout is a terminal that gets colour, and rich is installed."""
    return (
        sys.stdout.isatty()
        and not environment_variable("NO_COLOR")
        and environment_variable("TERM") != "dumb"
        and importlib.util.find_spec("rich") is not None
    )


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "ID")
    for cells in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in cells))  # type: ignore[call-overload]
    Console().print(table)


def fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, a line each; further lines of a value stand under its first."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        first, *rest = value.splitlines() or [""]
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {first}")
        for line in rest:
            click.echo(f"{' ' * width}  {line}")


def instant(value: datetime | None) -> str:
    """Return a time as the reader's clock shows it."""
    return "" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def moment(value: datetime) -> str:
    """Return the time of the day, with milliseconds, as the reader's clock shows it."""
    return value.astimezone().strftime("%H:%M:%S.%f")[:-3]


def length(value: timedelta | float | None) -> str:
    """Return a length of time (seconds, or a timedelta) in the unit that suits it."""
    if value is None:
        return ""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 99.5 else f"{minutes / 60:.1f} h"


def took(run: Run) -> str:
    """Return how long a final run took."""
    return length(run.duration_ms / 1000) if run.is_completed and run.started_at else ""


def value_text(value: Any) -> str:
    """Return a payload or output as text: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def short(text: str, room: int | None = None) -> str:
    """Return text on one line, cut to the room there is."""
    room = room or max(20, shutil.get_terminal_size().columns - 60)
    line = " ".join(text.split())
    return line if len(line) <= room else line[: room - 1] + "…"
