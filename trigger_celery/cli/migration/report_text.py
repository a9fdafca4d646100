"""The report for people: grouped by file, and a verdict that fits a screen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import click

from trigger_celery.cli.migration.checker import Report
from trigger_celery.cli.migration.findings import Finding, Severity
from trigger_celery.cli.migration.rules import RULES

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "blue"}
_SKIPPED_SHOWN = 20


def lines(report: Report) -> Iterator[str]:
    """Yield the lines of the report."""
    for path, found in groupby(report.findings, lambda finding: finding.path):
        yield click.style(path, bold=True)
        yield from map(_line, found)
        yield ""
    yield from _what_to_do(report)
    yield from _left_out(report)
    yield from _verdict(report)


def _line(finding: Finding) -> str:
    rule = RULES[finding.rule]
    severity = click.style(rule.severity.word.ljust(7), fg=_COLOURS[rule.severity])
    return f"  {finding.line}:{finding.column}".ljust(11) + f"{severity}  {rule.id}  {finding.text}"


def _what_to_do(report: Report) -> Iterator[str]:
    """Yield each rule that applies somewhere once, the gravest first."""
    used = {RULES[finding.rule] for finding in report.findings}
    for rule in sorted(used, key=lambda rule: (-rule.severity, rule.id)):
        yield f"{click.style(rule.id, bold=True)}  {rule.title}"
        yield f"       {rule.why}"
        yield f"  do   {rule.fix}"
        yield f"  more {rule.link}"
        yield ""


def _left_out(report: Report) -> Iterator[str]:
    if report.unknown:
        told = ", ".join(f"{count} of {rule}" for rule, count in sorted(report.unknown.items()))
        yield f"not decided: {told}. The text does not say which broker or task it is (--broker may help)."
    if report.ignored:
        yield f"ignored: {report.ignored} by --ignore or a `# trigger: ignore` comment."
    for skipped in report.skipped[:_SKIPPED_SHOWN]:
        yield f"skipped: {skipped.path}: {skipped.why}"
    if len(report.skipped) > _SKIPPED_SHOWN:
        yield f"skipped: {len(report.skipped) - _SKIPPED_SHOWN} more"
    if report.cut:
        yield f"stopped after {report.looked_at:,} files: raise --max-files, or name smaller folders."


def _verdict(report: Report) -> Iterator[str]:
    counted = ", ".join(
        f"{report.count(severity)} {severity.word}{'' if report.count(severity) == 1 else 's'}"
        for severity in sorted(Severity, reverse=True)
    )
    yield (
        f"{report.tasks} Celery task{'' if report.tasks == 1 else 's'} in {report.looked_at:,} "
        f"file{'' if report.looked_at == 1 else 's'} looked at: {counted}."
    )
    if report.tasks or report.findings:
        yield (
            "Nothing of it stands in the way of TriggerCelery(app): the line changes no message, no queue "
            "and no result, and can be taken out again."
        )
