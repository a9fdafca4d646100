"""`# trigger: ignore[TC101]`: comments that take findings back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from trigger_celery.cli.migration.findings import Finding

_COMMENT: Final = re.compile(r"#\s*trigger:\s*ignore(?:\[([\w\s,]*)\])?", re.IGNORECASE).search


class Comments:
    """The comments of one file, by line. Text in a string that looks like one counts as well."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules: dict[int, frozenset[str] | None] = {}
        self._alone: set[int] = set()
        """Lines with nothing but the comment: it is about the next."""
        for number, line in enumerate(lines, 1):
            found = _COMMENT(line) if "trigger" in line else None
            if found is not None:
                names = found[1]
                words = None if names is None else frozenset(re.findall(r"\w+", names.upper()))
                self._rules[number] = words
                if line.lstrip().startswith("#"):
                    self._alone.add(number)

    def cover(self, finding: Finding, first: int, last: int) -> bool:
        """Whether a comment on one of these lines, or alone on the line above, takes it back."""
        if not self._rules:
            return False
        above = first - 1 if first - 1 in self._alone else first
        for line in range(above, max(first, last) + 1):
            rules = self._rules.get(line, frozenset())
            if rules is None or finding.rule in rules:
                return True
        return False
