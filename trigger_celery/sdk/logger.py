"""`logger`: structured logging for tasks."""

from __future__ import annotations

import inspect
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, overload

from trigger_celery.bridge import context
from trigger_celery.bridge.run_log import RunLog, log_of
from trigger_celery.errors import InvalidOptionError
from trigger_celery.model.log_line import RANKS
from trigger_celery.model.redaction import Redaction
from trigger_celery.sdk.spans import Span, until_done

P = ParamSpec("P")
T = TypeVar("T")

ExcInfo = (
    bool
    | BaseException
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | None
)
Level = Literal["debug", "info", "warn", "error"]

_log = logging.getLogger("trigger_celery.task")
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_REDACTION = Redaction()


class TaskLogger:
    """Writes to the log of the run, and to the standard library's logger `trigger_celery.task`.

    `extra` takes any keys; a mapping as the second argument is the same. Further arguments are put
    into the message with `%`, as `logging` does. Values under names such as `password`, `token` or
    `api_key` are not stored. Never raises for what it is given.

    The run's log keeps lines from the setting `log_level` on, sends them in the background, and
    has them all when the run ends. A run that is executed again after a wait is silent until the
    place where it waited. Outside of a run only the standard library's logger is written to.
    """

    def debug(
        self,
        message: object,
        *args: object,
        extra: Mapping[str, Any] | None = None,
        exc_info: ExcInfo = None,
    ) -> None:
        """Log at debug."""
        self._write("debug", message, args, extra, exc_info)

    def info(
        self,
        message: object,
        *args: object,
        extra: Mapping[str, Any] | None = None,
        exc_info: ExcInfo = None,
    ) -> None:
        """Log at info."""
        self._write("info", message, args, extra, exc_info)

    log = info

    def warning(
        self,
        message: object,
        *args: object,
        extra: Mapping[str, Any] | None = None,
        exc_info: ExcInfo = None,
    ) -> None:
        """Log at warn."""
        self._write("warn", message, args, extra, exc_info)

    warn = warning

    def error(
        self,
        message: object,
        *args: object,
        extra: Mapping[str, Any] | None = None,
        exc_info: ExcInfo = None,
    ) -> None:
        """Log at error; `exc_info=True` adds the traceback of the exception being handled."""
        self._write("error", message, args, extra, exc_info)

    def exception(
        self,
        message: object,
        *args: object,
        extra: Mapping[str, Any] | None = None,
        exc_info: ExcInfo = True,
    ) -> None:
        """Log at error with the traceback of the exception being handled."""
        self._write("error", message, args, extra, exc_info)

    @overload
    def trace(
        self, name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[T]: ...
    @overload
    def trace(
        self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    def trace(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call *function* in a span and return what it returns; for an async one, await the result.

        The span is logged at its end with its length; what the function logs belongs to it. An
        exception is noted and raised again. A function with a parameter called `span` gets the
        `Span`, to add attributes. Works outside of a run, too: then nothing is logged.
        """
        if not callable(function):
            raise InvalidOptionError(
                f"logger.trace({name!r}, {function!r:.60}): pass the function and its arguments, "
                f"logger.trace({name!r}, fetch, url), not the result of calling it"
            )
        span = Span(name)
        if "span" not in kwargs and _takes_span(function):
            kwargs["span"] = span
        if inspect.iscoroutinefunction(function):
            return until_done(span, function(*args, **kwargs))
        span.enter()
        try:
            result = function(*args, **kwargs)
        except BaseException as problem:
            span.leave()
            span.record_exception(problem)
            span.end()
            raise
        span.leave()
        if inspect.isawaitable(result):
            return until_done(span, result)
        span.end()
        return result

    def start_span(self, name: str, attributes: Mapping[str, Any] | None = None) -> Span:
        """Return a span that begins now: for a `with` block, or to `end()` by hand."""
        return Span(name, attributes)

    def _write(
        self, level: Level, message: object, args: tuple[object, ...], extra: object, exc_info: Any
    ) -> None:
        execution: Any = context.current_execution.get()
        log: RunLog | None = None
        if execution is not None:
            if execution.durable.had_before(said=True):
                return  # it was said before the run waited
            log = log_of(execution)
            if log is not None and RANKS[level] < log.rank:
                log = None
        heard = _log.isEnabledFor(RANKS[level])
        if log is None and not heard:
            return
        named = isinstance(message, str) and "%(" in message
        if len(args) == 1 and isinstance(args[0], Mapping) and not named:
            extra, args = {**args[0], **extra} if isinstance(extra, Mapping) else args[0], ()
        text = message if type(message) is str and not args else _text(message, args)
        attributes: dict[str, Any] = {}
        if extra:
            attributes = _REDACTION.attributes(extra) if log is None else log.attributes(extra)
        problem = _triple(exc_info) if exc_info else None
        if log is not None:
            log.add(
                level,
                text,
                attributes,
                exception=None
                if problem is None
                else "".join(traceback.format_exception(*problem)),
                decided=True,
            )
        if heard:
            _pass_on(level, text, attributes, problem, execution)


def _takes_span(function: Callable[..., Any]) -> bool:
    try:
        return "span" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some of C have none
        return False


def _text(message: object, args: tuple[object, ...]) -> str:
    try:
        text = str(message)
    except Exception:
        text = f"<unprintable {type(message).__name__}>"
    if not args:
        return text
    try:
        return text % (args[0] if len(args) == 1 and isinstance(args[0], Mapping) else args)
    except Exception:
        return f"{text} {' '.join(_text(value, ()) for value in args)}"


def _triple(exc_info: Any) -> tuple[Any, Any, Any] | None:
    """Return type, value and traceback of what was passed, as `logging` understands it."""
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, exc_info.__traceback__
    found = exc_info if isinstance(exc_info, tuple) and len(exc_info) == 3 else sys.exc_info()
    return None if found[0] is None else found


def _pass_on(
    level: Level,
    text: str,
    attributes: Mapping[str, Any],
    problem: tuple[Any, Any, Any] | None,
    execution: Any,
) -> None:
    """Tell the standard library's logger; keys that a record has itself get a `_` behind."""
    fields = {
        (f"{name}_" if name in _RESERVED else name): item for name, item in attributes.items()
    }
    if execution is not None:
        ctx = execution.ctx
        fields.setdefault("run_id", ctx.run.id)
        fields.setdefault("task_id", ctx.task.id)
    _log.log(RANKS[level], "%s", text, extra=fields, exc_info=problem, stacklevel=4)


logger = TaskLogger()
"""The task logger."""
