"""What frameworks put around the code of runs: an application context, connections of a database.

A surrounding is entered where the code is executed, around each attempt and around each hook that
is called apart from one, and told when a run rests. Nothing of it may fail an attempt: that is for
the surrounding to see to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Surrounding(Protocol):
    """What one framework puts around the code of runs."""

    def around(self) -> AbstractContextManager[object]:
        """Return what is entered before, and left after, in the same thread and context.

        On an event loop other code goes on meanwhile: context variables belong to the attempt.
        """
        ...

    def rest(self) -> None:
        """The run begins to wait, or goes on after a wait; where its code is executed."""
        ...


SURROUNDINGS: list[Surrounding] = []
"""Those of this process, the outermost first."""


@contextmanager
def surrounded() -> Iterator[None]:
    """Put everything around the code inside."""
    with ExitStack() as stack:
        for one in SURROUNDINGS:
            stack.enter_context(one.around())
        yield


def in_surroundings(function: Callable[..., T]) -> Callable[..., T]:
    """Return a function that puts everything around a call of *function*."""
    if not SURROUNDINGS:
        return function

    def call(*args: object) -> T:
        with surrounded():
            return function(*args)

    return call


def rest() -> None:
    """Tell the surroundings that the run begins to wait, or goes on."""
    for one in SURROUNDINGS:
        one.rest()
