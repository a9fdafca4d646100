"""A log line as text for a terminal."""

from __future__ import annotations

import json
import re

import click

from trigger_celery.cli import output
from trigger_celery.model.log_line import LogLine

COLORS = {"debug": "bright_black", "info": "cyan", "warn": "yellow", "error": "red"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def log_text(line: LogLine) -> str:
    """Return the line as it is printed; what would steer a terminal is shown instead of done."""
    head = click.style(f"{line.level:5}", fg=COLORS.get(line.level))
    if line.attempt > 1:
        head += f" #{line.attempt}"
    took = "" if line.duration_ms is None else f"  {output.length(line.duration_ms / 1000)}"
    more = ""
    if line.attributes:
        shown = json.dumps(line.attributes, ensure_ascii=False)
        more = click.style(f"  {_safe(shown)}", dim=True)
    text = f"{output.moment(line.at)} {head} {_safe(line.message)}{took}{more}"
    if line.exception:
        text += "".join(f"\n    {part}" for part in _safe(line.exception).splitlines())
    return text


def _safe(text: str) -> str:
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
