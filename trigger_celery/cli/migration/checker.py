"""Reads a tree and applies every rule: facts and candidates first, what they come to at the end."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trigger_celery.cli.migration import (
    checks_deployment,
    checks_sending,
    checks_settings,
    checks_tasks,
)
from trigger_celery.cli.migration.discovery import MAX_FILES, Source, Tree, sources
from trigger_celery.cli.migration.facts import Facts
from trigger_celery.cli.migration.findings import Candidate, Finding, Severity, Skipped
from trigger_celery.cli.migration.module import FUNCTIONS, Function, Module
from trigger_celery.cli.migration.rules import RULES
from trigger_celery.cli.migration.suppressing import Comments

_CHECKS: Final = (*checks_sending.CHECKS, *checks_tasks.CHECKS, *checks_settings.CHECKS)
_TYPES: Final[set[type[ast.AST]]] = {kind for kinds, _ in _CHECKS for kind in kinds}
_BY_TYPE: Final = {kind: tuple(one for kinds, one in _CHECKS if kind in kinds) for kind in _TYPES}
_TELLING: Final = (*checks_settings.SETTING, *FUNCTIONS)


@dataclass(slots=True)
class Report:
    """What was found in a tree."""

    findings: list[Finding] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    """Places by rule that could not be decided."""
    ignored: int = 0
    """Findings that a comment or an option takes back."""
    skipped: list[Skipped] = field(default_factory=list)
    looked_at: int = 0
    parsed: int = 0
    tasks: int = 0
    cut: bool = False

    def worst(self) -> Severity | None:
        """Return the highest severity that was found."""
        return max((RULES[finding.rule].severity for finding in self.findings), default=None)

    def count(self, severity: Severity) -> int:
        """Return how many findings are of a severity."""
        return sum(RULES[finding.rule].severity is severity for finding in self.findings)


def check(
    paths: Sequence[Path],
    *,
    ignore: Collection[str] = (),
    broker: str | None = None,
    max_files: int = MAX_FILES,
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Check every file below the paths.

    *broker* says which kind of broker there is, where the text does not: redis, sqs or amqp.
    *progress* is called with the number of files so far and the path of the present one.
    """
    tree, facts, report = Tree(), Facts(), Report()
    candidates: list[Candidate] = []
    for source in sources(list(paths), tree, max_files):
        if progress is not None:
            progress(tree.looked_at, source.path)
        try:
            found = list(_check_one(source, facts))
        except _UnreadableError as problem:
            tree.skipped.append(Skipped(source.path, str(problem)))
            continue
        report.parsed += 1
        for candidate, is_taken_back in found:
            if is_taken_back or candidate.finding.rule in ignore:
                report.ignored += 1
            else:
                candidates.append(candidate)
    if broker is not None:
        facts.brokers = {broker}
    _decide(candidates, facts, report)
    report.skipped, report.looked_at, report.cut = tree.skipped, tree.looked_at, tree.cut
    report.tasks = facts.task_count
    return report


def _decide(candidates: Sequence[Candidate], facts: Facts, report: Report) -> None:
    found: set[Finding] = set()
    for candidate in candidates:
        answer = True if candidate.decide is None else candidate.decide(facts)
        if answer is None:
            report.unknown[candidate.finding.rule] += 1
        elif answer:
            found.add(candidate.finding)
    report.findings = sorted(found)


def _lines_of(node: ast.AST, finding: Finding) -> tuple[int, int]:
    """Return the lines on which a comment counts: of a function, its decorators and its `def`."""
    if not isinstance(node, Function):
        return finding.line, finding.end_line
    first = min((one.lineno for one in node.decorator_list), default=node.lineno)
    return first, max(node.body[0].lineno - 1, node.lineno)


class _UnreadableError(Exception):
    """A file that is no Python, or no text."""


def _check_one(source: Source, facts: Facts) -> Iterator[tuple[Candidate, bool]]:
    """Yield the candidates of a file, and whether a comment takes each back."""
    text = _text_of(source)
    lines = text.splitlines()
    comments = Comments(lines)
    if not source.is_python:
        for candidate in checks_deployment.check_lines(source.path, lines):
            line = candidate.finding.line
            yield candidate, comments.cover(candidate.finding, line, line)
        return
    module = Module(source.path, _parse(text))
    for node, place in module.walk():
        if isinstance(node, _TELLING):
            checks_settings.collect(module, node, place)
        for one in _BY_TYPE.get(type(node), ()):
            for candidate in one(module, node, place):
                yield (
                    candidate,
                    comments.cover(candidate.finding, *_lines_of(node, candidate.finding)),
                )
    facts.merge(module.facts)


def _text_of(source: Source) -> str:
    try:
        if not source.is_python:
            return source.data.decode()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source.data).readline)
        return source.data.decode(encoding)
    except (UnicodeDecodeError, SyntaxError, LookupError) as problem:
        raise _UnreadableError(f"cannot be decoded: {problem}") from None


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in somebody's strings
            return ast.parse(text)
    except SyntaxError as problem:
        raise _UnreadableError(f"line {problem.lineno}: {problem.msg}") from None
    except (ValueError, RecursionError, MemoryError) as problem:
        raise _UnreadableError(f"cannot be parsed: {type(problem).__name__} {problem}") from None
