"""Operations that make runs, and can tell their ids before they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from trigger_celery.store.op import Flow, Op, Runs

T_co = TypeVar("T_co", covariant=True)


class MakingOp(Op[T_co]):
    """An operation that makes runs: their ids are chosen here, so its answer is known ahead."""

    __slots__ = ("_place",)

    def __init__(
        self,
        store: Runs,
        flow: Flow[T_co],
        name: str,
        place: Callable[[], tuple[T_co, Callable[[], Op[T_co]]]],
    ) -> None:
        super().__init__(store, flow, name)
        self._place = place

    def later(self) -> tuple[T_co, Callable[[], Op[T_co]]]:
        """Return what it will answer, and what gives the operation once it is to happen.

        This one counts as run. In a run it has its place from now on, and is recorded when it
        happens: if it never does, a replay finds nothing that it misses.
        """
        self._take()
        return self._place()
