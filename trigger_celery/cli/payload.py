"""Values that users write on the command line: JSON, from an argument, a file or stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


def read_payload(text: str | None, file: Path | None, what: str = "the payload") -> Any:
    """Return the value given as an argument, as a file, or on stdin (`-`); None for none."""
    if text is not None and file is not None:
        raise click.UsageError(f"give {what} or --file, not both")
    if file is not None and str(file) != "-":
        try:
            return parse_json(file.read_text("utf-8"), str(file))
        except (OSError, UnicodeDecodeError) as problem:
            raise click.UsageError(f"--file cannot be read: {problem}") from problem
    if text == "-" or file is not None:
        return parse_json(sys.stdin.read(), "stdin")
    return None if text is None else parse_json(text, what)


def parse_json(text: str, where: str) -> Any:
    """Return a JSON text's value. Raises UsageError that says how to write it."""
    try:
        return json.loads(text)
    except ValueError as problem:
        raise click.UsageError(
            f"{where} is not JSON: {problem}. Objects are written '{{\"id\": 4711}}', "
            "text is written '\"hello\"', quoted against the shell."
        ) from problem
