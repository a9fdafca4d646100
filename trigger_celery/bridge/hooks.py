"""Hooks of tasks: functions that are called at points of a run's life, by parameter name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from trigger_celery.errors import DefinitionError, closest

Hook = Callable[..., Any]

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "on_wait": ("payload", "ctx", "task", "wait"),
    "on_resume": ("payload", "ctx", "task", "wait"),
    "on_cancel": ("payload", "ctx", "task", "signal"),
}
"""The hooks there are, and what each may ask for."""


def check_hook(name: str, hook: Any, where: str) -> Hook:
    """Return a hook that can be called. Raises DefinitionError."""
    if not callable(hook):
        raise DefinitionError(f"{where}: {name}={hook!r} is not a function")
    for parameter in inspect.signature(hook).parameters.values():
        if parameter.name in NAMES[name] or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.default is parameter.empty:
            raise DefinitionError(
                f"{where}: {name} cannot be given {parameter.name!r}."
                f"{closest(parameter.name, NAMES[name])} It may ask for: "
                f"{', '.join(NAMES[name])}."
            )
    return hook  # type: ignore[no-any-return]


async def call_hooks(hooks: Sequence[Hook], offered: Mapping[str, Any]) -> None:
    """Call each hook with what it asks for; those that return an awaitable are awaited."""
    for hook in hooks:
        parameters = inspect.signature(hook).parameters.values()
        every = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        names = offered if every else [p.name for p in parameters if p.name in offered]
        result = hook(**{name: offered[name] for name in names})
        if inspect.isawaitable(result):
            await result
