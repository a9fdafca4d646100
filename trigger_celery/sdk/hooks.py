"""Registers hooks of all tasks: `tasks.on_start(…)` and the like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

from trigger_celery.bridge.context import current_execution
from trigger_celery.bridge.hooks import bind_hook, current_name, key_of
from trigger_celery.bridge.registry import REGISTRY
from trigger_celery.errors import DefinitionError

HookT = TypeVar("HookT", bound=Callable[..., Any])


class HookRegistrar:
    """Registers hooks of one kind; as a call, or as a decorator, with a name or without.

    A hook replaces the one of the same name or, without one, that of the same function: a module
    that is imported again does not double it.
    """

    def __init__(self, name: str, doc: str) -> None:
        self.__name__ = name
        self.__doc__ = doc

    @overload
    def __call__(self, hook: HookT, /) -> HookT: ...
    @overload
    def __call__(self, name: str, hook: HookT, /) -> HookT: ...
    @overload
    def __call__(self, name: str, /) -> Callable[[HookT], HookT]: ...
    def __call__(self, first: Any, second: Any = None, /) -> Any:
        """Register the hook. Raises DefinitionError for one that asks for what there is not."""
        if isinstance(first, str):
            if second is None:
                return lambda hook: self._register(hook, ("named", first))
            return self._register(second, ("named", first))
        if second is not None:
            raise DefinitionError(
                f"tasks.{self.__name__}({first!r:.60}, …): the name comes first, and is text"
            )
        return self._register(first, None)

    def _register(self, hook: Any, key: object) -> Any:
        where = f"tasks.{self.__name__}"
        name = current_name(self.__name__, where)
        bound = bind_hook(name, hook, where)
        execution = current_execution.get() if name == "on_cancel" else None
        if execution is not None:
            execution.belongings.hooks.append(bound)
        else:
            REGISTRY.add_hook(name, key or key_of(hook), bound)
        return hook

    def __repr__(self) -> str:
        return f"<tasks.{self.__name__}>"
