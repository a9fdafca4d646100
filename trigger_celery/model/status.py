"""What the statuses of runs, tokens and batches have in common."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Status(StrEnum):
    """A status that is equal to its own name in any letter case.

    `run.status in ["completed", "failed"]` is true for a completed run. The hash is that of the
    upper-case text, so look it up in a set or dict by the member or by upper-case text.
    """

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self is other or str.__eq__(self, other.upper())
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        if isinstance(other, str):
            return self is not other and str.__ne__(self, other.upper())
        return NotImplemented

    __hash__ = str.__hash__

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls.__members__.get(value.upper()) if isinstance(value, str) else None
