"""Spans: named stretches of a run's work, with their length and how they ended."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from trigger_celery.bridge.context import OpenSpan, current_execution, current_span
from trigger_celery.bridge.run_log import current_log
from trigger_celery.model.log_line import RANKS

if TYPE_CHECKING:
    from trigger_celery.telemetry.recorder import Part

T = TypeVar("T")


class Span:
    """A named stretch of work. Logged when it ends: at info, or at error when it failed.

    Made by `logger.trace` and `logger.start_span`. `with` ends it; so does `end()`.
    """

    __slots__ = (
        "_attributes", "_began", "_ended", "_error", "_name", "_parent", "_part", "_token", "id",
    )  # fmt: skip

    def __init__(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        self.id = secrets.token_hex(8)
        self._name = name
        self._attributes = dict(attributes or {})
        around = current_span.get()
        self._parent = None if around is None else around.id
        self._began = time.perf_counter()
        self._ended = False
        self._error: str | None = None
        self._token: Token[OpenSpan | None] | None = None
        self._part = _part(name)

    def set_attribute(self, name: str, value: object) -> None:
        """Add an attribute to the line that the span leaves."""
        self._attributes[name] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Add several."""
        self._attributes.update(attributes)

    def record_exception(self, problem: BaseException) -> None:
        """Note that the span failed."""
        self._error = f"{type(problem).__name__}: {problem}"

    def end(self) -> None:
        """End the span and log it; once."""
        if self._ended:
            return
        self._ended = True
        log = current_log()
        if self._part is not None:
            known = log.attributes(self._attributes) if log is not None else {}
            self._part.end(known, self._error)
        level = "info" if self._error is None else "error"
        if log is None or RANKS[level] < log.rank:
            return
        log.add(
            level,
            self._name,
            log.attributes(self._attributes) if self._attributes else None,
            source="span",
            exception=self._error,
            span_id=self.id,
            parent=self._parent or "",
            took=round((time.perf_counter() - self._began) * 1000, 3),
        )

    def enter(self) -> None:
        """Let what is logged from now on belong to it."""
        self._token = current_span.set(self)
        if self._part is not None:
            self._part.enter()

    def leave(self) -> None:
        """No longer."""
        if self._part is not None:
            self._part.leave()
        if self._token is not None:
            with suppress(ValueError):  # an async generator may be closed from elsewhere
                current_span.reset(self._token)
            self._token = None

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()
        if problem is not None:
            self.record_exception(problem)
        self.end()


def _part(name: str) -> Part | None:
    """Return the span of OpenTelemetry, where the run is traced. A replay makes none again."""
    execution: Any = current_execution.get()
    if execution is None or execution.durable.telemetry is None or execution.durable.replaying:
        return None
    part: Part = execution.durable.telemetry.part(name)
    return part


async def until_done(span: Span, awaitable: Awaitable[T]) -> T:
    """Await in the span."""
    with span:
        return await awaitable
