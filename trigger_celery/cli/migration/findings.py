"""What a check finds: a rule, a place, and what is the case there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trigger_celery.cli.migration.facts import Facts


class Severity(IntEnum):
    """How much a finding matters."""

    NOTE = 1  # there is something better; nothing is wrong
    WARNING = 2  # works until it does not: look at it
    ERROR = 3  # loses or doubles work, or blocks

    @property
    def word(self) -> str:
        """The name as it is written: note, warning, error."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it finds, why that matters, and what to do about it."""

    id: str
    name: str
    severity: Severity
    title: str
    why: str
    fix: str

    @property
    def link(self) -> str:
        """Where the documentation has more."""
        return f"docs/reference/migration-rules.md#{self.id.lower()}"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A rule that applies at a place. `line` and `column` count from 1."""

    path: str
    line: int
    column: int
    rule: str
    text: str
    end_line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding whose last condition is known when every file has been read.

    *decide* answers whether it is one; None: that cannot be decided.
    """

    finding: Finding
    decide: Callable[[Facts], bool | None] | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not read, and why."""

    path: str
    why: str
