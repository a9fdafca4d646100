"""What is kept of an exception: bounded in size, safe to store, free of local variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from traceback import FrameSummary, TracebackException
from typing import Any, Final

BUILT_IN_ERROR: Final = "BUILT_IN_ERROR"  # an exception
STRING_ERROR: Final = "STRING_ERROR"  # bare text
CUSTOM_ERROR: Final = "CUSTOM_ERROR"  # some other value, as JSON text
INTERNAL_ERROR: Final = "INTERNAL_ERROR"  # raised by the engine, with a code

MAX_MESSAGE: Final = 1000
MAX_NAME: Final = 255
MAX_FRAMES: Final = 50
KEPT_INNERMOST: Final = 5
MAX_LINE: Final = 1024
MAX_LINES: Final = 400


@dataclass(frozen=True, slots=True)
class RunError:
    """Why an attempt or a run failed, as it is stored and shown."""

    name: str | None
    message: str
    stack_trace: str | None = None
    type: str = BUILT_IN_ERROR
    code: str | None = None

    @property
    def kind(self) -> str:
        """The same as `type`."""
        return self.type

    @classmethod
    def of(cls, exc: BaseException) -> RunError:
        """Describe an exception. Never raises, whatever the exception's own methods do.

        The message is cut at 1000 characters. The stack trace shows causes and groups, at most 50
        frames of each (the outermost 45 and the 5 nearest the raise), and no local variables.
        """
        return cls(_name(exc), clean(_message(exc), MAX_MESSAGE), _stack_trace(exc))

    @classmethod
    def internal(cls, code: str, message: str = "") -> RunError:
        """Describe a failure that the engine itself found, named by *code*."""
        return cls(None, clean(message, MAX_MESSAGE), type=INTERNAL_ERROR, code=code)

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are set, JSON-ready."""
        names = ("type", "name", "message", "stack_trace", "code")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RunError:
        """Return the error of a `to_dict()`. Unknown fields are ignored, missing ones defaulted."""
        return cls(
            stored.get("name"),
            stored.get("message") or "",
            stored.get("stack_trace"),
            stored.get("type") or BUILT_IN_ERROR,
            stored.get("code"),
        )


def error_line(error: RunError, message: str | None = None) -> str:
    """Return the error for people: `ValueError: no luck`, or the bare text of one without a name.

    *message* stands for the error's own, where that is too long.
    """
    name = error.name or error.code
    text = error.message if message is None else message
    return f"{name}: {text}" if name else text


def clean(text: str, limit: int) -> str:
    """Cut *text* and take out what cannot be stored: NUL characters and lone surrogates."""
    text = text[:limit].replace("\0", "")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _name(exc: BaseException) -> str:
    try:
        return clean(str(type(exc).__name__), MAX_NAME)
    except Exception:
        return "Exception"


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as broken:
        if isinstance(broken, (KeyboardInterrupt, SystemExit)):
            raise
        return f"<str() of the {_name(exc)} failed with {_name(broken)}>"


def _stack_trace(exc: BaseException) -> str | None:
    try:
        trace = TracebackException.from_exception(exc, compact=True)
        _cut_frames(trace)
        return _bounded("".join(trace.format()))
    except Exception:
        return None


def _cut_frames(trace: TracebackException) -> None:
    """Keep at most 50 frames of each exception in the tree."""
    pending = [trace]
    while pending:
        one = pending.pop()
        if len(one.stack) > MAX_FRAMES:
            hidden = len(one.stack) - MAX_FRAMES
            gap = FrameSummary(f"{hidden} frames left out", 0, "…", lookup_line=False, line="")
            one.stack[MAX_FRAMES - KEPT_INNERMOST : -KEPT_INNERMOST] = [gap]
        linked = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        pending += [other for other in linked if other is not None]


def _bounded(text: str) -> str:
    lines = [clean(line, MAX_LINE) for line in text.rstrip("\n").split("\n")]
    if len(lines) > MAX_LINES:
        half = MAX_LINES // 2
        lines[half:-half] = [f"… {len(lines) - MAX_LINES} lines left out …"]
    return "\n".join(lines)
