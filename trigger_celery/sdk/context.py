"""`ctx` and `context`: the context of the run that the code belongs to."""

from __future__ import annotations

from typing import Any, cast

from trigger_celery.bridge.context import Context, current_context
from trigger_celery.errors import OutsideRunError


class _CurrentContext:
    """Stands for the context of whichever run the code is in. False outside of one."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        found = current_context()
        if found is None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise OutsideRunError(
                f"ctx.{name}: there is no run here. `ctx` can be read in a task, its middleware and "
                "hooks; context.current() is None elsewhere. A thread that you start yourself is "
                "outside: pass it what it needs."
            )
        return getattr(found, name)

    def __bool__(self) -> bool:
        return current_context() is not None

    def __repr__(self) -> str:
        return repr(current_context())


ctx: Context = cast("Context", _CurrentContext())
"""The context of the current run, wherever it is read. Attributes raise OutsideRunError elsewhere."""


def current() -> Context | None:
    """Return the context of the run that this code belongs to, or None outside of one."""
    return current_context()
