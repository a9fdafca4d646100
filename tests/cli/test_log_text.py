"""Log lines in a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from tests.cli.conftest import Command
from tests.driving import Engine
from trigger_celery.cli.log_text import log_text
from trigger_celery.engine.logs import append_lines
from trigger_celery.model.ids import op_id
from trigger_celery.model.log_line import LogLine, read_line
from trigger_celery.store.op import ask

LINE = LogLine(datetime(2031, 1, 1, 12, 30, 15, 250_000, UTC), "warn", "careful", 1)


def shown(line: LogLine) -> str:
    return click.unstyle(log_text(line))


def test_a_line_has_its_time_level_and_message() -> None:
    moment = LINE.at.astimezone().strftime("%H:%M:%S")
    assert shown(LINE) == f"{moment}.250 warn  careful"


def test_later_attempts_attributes_lengths_and_tracebacks_are_shown() -> None:
    text = '{"t": 1.5, "l": "error", "m": "fetch", "a": 2, "s": "span", "u": 1500, "x": "a\\nb", "d": {"n": 1}}'
    assert (
        shown(read_line(text)).split(" ", 1)[1] == 'error #2 fetch  1.5 s  {"n": 1}\n    a\n    b'
    )


def test_nothing_in_a_line_steers_the_terminal() -> None:
    line = LogLine(LINE.at, "info", "\x1b[2Jgone\x07\x9b", 1, attributes={"a": "\x1b]0;title"})
    text = log_text(line).replace(click.style("", fg="cyan"), "")
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert "\\x1b[2Jgone\\x07" in text


def test_runs_logs_prints_what_a_run_said(command: Command, engine: Engine) -> None:
    run = command("trigger", "send").stdout.strip()
    lines = [f'{{"t": 1, "l": "{level}", "m": "{level} ☃", "a": 1}}' for level in ("info", "error")]
    engine.run(ask(append_lines(engine.scope, op_id(), run, lines, 1200)))
    everything = command("runs", "logs", run)
    assert [line.split(maxsplit=1)[1] for line in everything.stdout.splitlines()] == [
        "info  info ☃",
        "error error ☃",
    ]
    assert "1,200 more lines were not kept" in everything.stderr
    (line,) = command("runs", "logs", run, "--level", "warn", "--json").stdout.splitlines()
    assert json.loads(line) == {
        "at": "1970-01-01T00:00:01.000+00:00", "level": "error", "message": "error ☃",
        "attempt": 1, "source": "logger",
    }  # fmt: skip
    command("runs", "cancel", run)
    assert command("runs", "logs", run, "-f").stdout == everything.stdout
    wrong = command("runs", "logs", run, "--level", "loud")
    assert (wrong.exit_code, "is no log level" in wrong.stderr) == (2, True)
    assert (
        "run_00000000000000000000000000"
        in command("runs", "logs", "run_00000000000000000000000000").stderr
    )
