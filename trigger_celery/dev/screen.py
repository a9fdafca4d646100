"""What `dev` prints: a banner, then a line for each event. Or each event as a line of JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from trigger_celery.dev.events import RunEvent
from trigger_celery.model.run import Run
from trigger_celery.model.run_error import error_line

Piece = tuple[str, str]
"""Text and the style it has on a terminal."""

_LONGEST = 60
_MOST_LINES = 100


class Screen:
    """Prints for people. Lines of several threads do not mix."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 12
        self._console: Any = None
        if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True)

    def line(self, *pieces: Piece) -> None:
        """Print one line."""
        with self._lock:
            if self._console is None:
                print("".join(text for text, _ in pieces).rstrip(), flush=True)
            else:
                from rich.text import Text

                self._console.print(Text.assemble(*pieces))

    def banner(self, version: str, facts: Sequence[tuple[str, str, str]], hint: str) -> None:
        """Print what runs: name, value and remark of each part, and how others join."""
        self.line((f" trigger-celery {version}", "bold"), ("   dev", "dim"))
        self.line()
        width = max(len(value) for _, value, _ in facts)
        for name, value, remark in facts:
            self.line((f"  {name:<8}", "dim"), (value.ljust(width + 3), ""), (remark, "dim"))
        self.line()
        if hint:
            self.line(("  Your other processes:  ", "dim"), (hint, ""))
            self.line()

    def ready(self, seconds: float) -> None:
        """Say that work can begin."""
        self.line((f"  ready in {seconds:.1f} s", "green"), ("   Ctrl-C stops", "dim"))

    def note(self, text: str, remark: str = "", style: str = "dim") -> None:
        """Say what `dev` itself does."""
        self.line(
            (f" {_clock()}  ", "dim"), (text, style), (f"   {remark}" if remark else "", "dim")
        )

    def problem(self, message: str) -> None:
        """Show an error of the project's code."""
        first, *rest = message.splitlines()
        self.line((f" {_clock()}  ", "dim"), ("error: ", "bold red"), (first, ""))
        for line in rest:
            self.line((f"           {line}", ""))

    def events(self, events: Sequence[RunEvent]) -> None:
        """Print a line for each event; of very many at once the number of each kind."""
        if len(events) > _MOST_LINES:
            counts: dict[str, int] = {}
            for event in events[:-_MOST_LINES]:
                counts[event.what] = counts.get(event.what, 0) + 1
            listing = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
            self.note(f"… {listing}")
            events = events[-_MOST_LINES:]
        for event in events:
            self._event(event)

    def _event(self, event: RunEvent) -> None:
        run = event.run
        self._width = max(self._width, min(40, len(run.task_identifier)))
        words, style, remark = described(event)
        self.line(
            (f" {_clock(event.at)}  ", "dim"),
            (f"{run.task_identifier:<{self._width}}  ", ""),
            (f"{run.id if run.is_failed else short_id(run.id)}  ", "dim"),
            (f"{words:<12}  ", style),
            (remark, ""),
        )


class JsonScreen(Screen):
    """Prints one JSON object a line."""

    def _put(self, value: dict[str, Any]) -> None:
        with self._lock:
            print(json.dumps(value, ensure_ascii=False), flush=True)

    def banner(self, version: str, facts: Sequence[tuple[str, str, str]], hint: str) -> None:
        """Print what runs."""
        parts = {name: {"value": value, "remark": remark} for name, value, remark in facts}
        self._put({"event": "banner", "version": version, **parts, "hint": hint})

    def ready(self, seconds: float) -> None:
        """Say that work can begin."""
        self._put({"event": "ready", "seconds": round(seconds, 3)})

    def note(self, text: str, remark: str = "", style: str = "dim") -> None:
        """Say what `dev` itself does."""
        self._put({"event": "note", "text": text, "remark": remark})

    def problem(self, message: str) -> None:
        """Show an error of the project's code."""
        self._put({"event": "error", "message": message})

    def events(self, events: Sequence[RunEvent]) -> None:
        """Print each event."""
        for event in events:
            self._put(event.to_dict())


def short_id(run_id: str) -> str:
    """Return an id that the eye can follow: its beginning sorts, its end tells runs apart."""
    return f"{run_id[:8]}…{run_id[-5:]}"


def described(event: RunEvent) -> tuple[str, str, str]:
    """Return the words for an event, their style, and a remark."""
    run, what = event.run, event.what
    if what == "queued":
        return "queued", "dim", "" if run.queue == f"task/{run.task_identifier}" else run.queue
    if what == "delayed":
        until = run.delayed_until
        return "delayed", "yellow", f"until {_clock(until)}" if until else ""
    if what == "started":
        waited = run.queue_wait
        remark = "" if waited is None else f"waited {_length(waited.total_seconds() * 1000)}"
        return "started", "cyan", remark
    if what in ("retry", "requeued"):
        return _again(event)
    if what == "completed":
        remark = "" if run.output is None else f"→ {_json(run.output)}"
        return f"✓ {_length(run.duration_ms)}", "green", remark
    if what == "canceled":
        return "canceled", "dim", ""
    if what == "pending_version":
        return "parked", "yellow", "the worker has no such task; waits for one that has it"
    if run.is_completed:
        return f"✗ {what.replace('_', ' ')}", "red", _error(run)
    return what.replace("_", " "), "yellow", ""


def _again(event: RunEvent) -> tuple[str, str, str]:
    """Word a further attempt with the error that made it necessary."""
    most = f"/{event.run.max_attempts}" if event.run.max_attempts else ""
    failed = [attempt for attempt in event.run.attempts if attempt.error is not None]
    wanted = event.attempt - 1 if event.what == "retry" else event.attempt
    error = next((one.error for one in failed if one.number == wanted), None)
    remark = "" if error is None else error_line(error, _cut(error.message))
    words = f"try {event.attempt}{most}" if event.what == "retry" else "queued again"
    return words, "yellow", remark


def _error(run: Run) -> str:
    if run.error is None:
        return ""
    return error_line(run.error, _cut(run.error.message))


def _json(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _length(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 999.5 else f"{ms / 1000:.1f} s"


def _clock(at: datetime | None = None) -> str:
    return (at or datetime.now(UTC)).astimezone().strftime("%H:%M:%S")
