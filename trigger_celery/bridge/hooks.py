"""Hooks: functions that are called at points of a run's life, with what they ask for by name.

A hook is examined once, where it is declared. What it asks for under a name of its own is bound by
position: `(payload, error)`, `(payload, output, ctx)` and so on.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Final, TypedDict

from trigger_celery.bridge.old_forms import warn_of_old_form
from trigger_celery.errors import DefinitionError, closest

Hook = Callable[..., Any]

_COMMON: Final = ("payload", "ctx", "task", "signal")

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "middleware": (*_COMMON, "next"),
    "init": _COMMON,
    "on_start": (*_COMMON, "init"),
    "on_start_attempt": _COMMON,
    "on_wait": (*_COMMON, "init", "wait"),
    "on_resume": (*_COMMON, "init", "wait"),
    "on_success": (*_COMMON, "init", "output"),
    "on_failure": (*_COMMON, "init", "error"),
    "on_complete": (*_COMMON, "init", "result"),
    "on_cancel": (*_COMMON, "init", "run_promise"),
    "catch_error": (*_COMMON, "init", "error", "retry", "retry_at", "retry_delay_in_ms"),
    "cleanup": (*_COMMON, "init"),
}
"""The hooks there are, and what each may ask for."""

_SECOND: Final = {
    "middleware": ("ctx", "next"),
    "on_wait": ("wait", "ctx"),
    "on_resume": ("wait", "ctx"),
    "on_success": ("output", "ctx"),
    "on_failure": ("error", "ctx"),
    "on_complete": ("result", "ctx"),
    "catch_error": ("error", "ctx"),
}
"""What follows the payload where parameters have names of their own; otherwise it is `ctx`."""

RENAMED: Final = {"handle_error": "catch_error"}
"""Old names of hooks, which warn."""

_SPECIAL: Final = frozenset(name for names in NAMES.values() for name in names) - {"result"}
"""What some hook may ask for: no name of one's own. Many call an output their result."""

_EXTRA: Final = "{ctx}"
_EXTRA_NAMES: Final = frozenset({"params", "options", "opts", "extra", "context_dict"})


class TaskHooks(TypedDict, total=False):
    """The hooks of a task, as options of `@task`: functions, `def` or `async def`."""

    init: Hook | None
    middleware: Hook | None
    on_start: Hook | None
    on_start_attempt: Hook | None
    on_wait: Hook | None
    on_resume: Hook | None
    on_success: Hook | None
    on_failure: Hook | None
    on_complete: Hook | None
    on_cancel: Hook | None
    catch_error: Hook | None
    handle_error: Hook | None
    cleanup: Hook | None


@dataclass(frozen=True, slots=True)
class BoundHook:
    """A hook and what it is called with."""

    function: Hook
    is_async: bool
    positional: tuple[str, ...]
    """What it gets by position, as the names of what is offered."""
    named: tuple[tuple[str, str], ...]
    """Its parameters, and what is offered for each."""

    def call(self, offer: Callable[[str], Any], given: Mapping[str, Any]) -> Any:
        """Call it: what is not *given* is asked of *offer*. Returns a value or an awaitable."""

        def find(name: str) -> Any:
            if name == _EXTRA:
                return {one: offer(one) for one in (*_COMMON, "init")} | dict(given)
            return given[name] if name in given else offer(name)

        return self.function(
            *[find(name) for name in self.positional],
            **{parameter: find(name) for parameter, name in self.named},
        )


def current_name(name: str, where: str) -> str:
    """Return the name of a hook today; an old one warns."""
    today = RENAMED.get(name)
    if today is None:
        return name
    warn_of_old_form(f"{where}: {name} is now called {today}")
    return today


def bind_hook(name: str, hook: Any, where: str) -> BoundHook:
    """Return a hook that can be called. Raises DefinitionError."""
    if not callable(hook) or inspect.isclass(hook):
        raise DefinitionError(f"{where}: {name}={hook!r} is not a function")
    if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
        advice = " Write `await next()` instead of yield." if name == "middleware" else ""
        raise DefinitionError(f"{where}: {name}={hook.__qualname__} is a generator.{advice}")
    is_async = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(
        getattr(hook, "__call__", None)  # noqa: B004 - an object with an async __call__
    )
    positional, named = _Binding(name, hook, where).bind()
    if name == "middleware" and "next" not in {*positional, *(offered for _, offered in named)}:
        raise DefinitionError(
            f"{where}: middleware={hook!r} does not ask for `next`, which it has to call: write "
            "async def middleware(next): await next()"
        )
    return BoundHook(hook, is_async, positional, named)


class _Binding:
    """Finds out what a hook asks for."""

    def __init__(self, name: str, hook: Hook, where: str) -> None:
        self._name = name
        self._where = where
        self._hook = hook
        self._names = NAMES[name]
        self._order = ("payload", *_SECOND.get(name, ("ctx",)))
        self._parameters = list(inspect.signature(hook).parameters.values())
        by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        self._by_position = [one for one in self._parameters if one.kind in by_position]
        # A parameter at another place than the order says: the order does not count.
        self._ordered = all(
            one.name not in self._names or one.name == offered
            for one, offered in zip(self._by_position, self._order, strict=False)
        )

    def bind(self) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        positional: list[str] = []
        named: list[tuple[str, str]] = []
        for one in self._parameters:
            if one.kind is one.VAR_POSITIONAL:
                if len(self._parameters) == 1:
                    positional += self._order
            elif one.kind is one.VAR_KEYWORD:
                taken = {*positional, *(offered for _, offered in named)}
                named += [(offered, offered) for offered in self._names if offered not in taken]
            elif (offered := self._offered_for(one)) is not None:
                if one.kind is one.POSITIONAL_ONLY:
                    positional.append(offered)
                else:
                    named.append((one.name, offered))
        return tuple(positional), tuple(named)

    def _offered_for(self, one: Parameter) -> str | None:
        """Return what is offered for a parameter, or None: it keeps its default."""
        if one.name in self._names:
            return one.name
        if one.default is not one.empty:
            return None
        place = self._by_position.index(one) if one in self._by_position else len(self._order)
        if not self._ordered or place >= len(self._order) or one.name in _SPECIAL:
            raise self._refused(one)
        offered: str = self._order[place]
        if offered == "ctx" and self._is_extra(one):
            warn_of_old_form(
                f"{self._where}: {self._name} takes a dict of the rest as {one.name!r}. Ask for "
                "what it needs by name: ctx, task, signal, init"
            )
            return _EXTRA
        meant = difflib.get_close_matches(one.name, self._names, n=1)
        if meant and meant[0] != offered:
            raise self._refused(one)
        return offered

    def _is_extra(self, one: Parameter) -> bool:
        annotated = str(getattr(one.annotation, "__name__", one.annotation))
        return one.name in _EXTRA_NAMES or annotated.partition("[")[0] in (
            "dict",
            "Dict",
            "Mapping",
        )

    def _refused(self, one: Parameter) -> DefinitionError:
        if self._name == "on_start_attempt" and one.name == "init":
            meant = " on_start gets it."
        else:
            meant = closest(one.name, self._names)
        return DefinitionError(
            f"{self._where}: {self._name} cannot be given {one.name!r}.{meant} It may ask for: "
            f"{', '.join(self._names)}; or by position for: {', '.join(self._order)}."
        )


def key_of(hook: Hook) -> object:
    """Return what a hook without a name is known by: a reloaded module defines the same once more.

    Lambdas, functions made in functions and methods of objects are each their own.
    """
    qualname = getattr(hook, "__qualname__", "<")
    owner = getattr(hook, "__self__", None)
    if "<" in qualname or owner is not None:
        return (id(owner), qualname) if owner is not None else id(hook)
    return (hook.__module__, qualname)
